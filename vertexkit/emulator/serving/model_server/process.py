"""The life of one replica's process: arguments, environment, start and end."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_logger = logging.getLogger("model_server")
_GRACE_SECONDS = 10
_BACKLOG = 1024
# Longer than any pool keeps a connection idle, so that it is the client who closes it.
_KEEP_ALIVE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ServingEnvironment:
    """What Vertex AI tells a serving container.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables
    """

    storage: Path
    """``AIP_STORAGE_URI``: the folder with a copy of the model."""
    health_route: str
    """``AIP_HEALTH_ROUTE``."""
    predict_route: str
    """``AIP_PREDICT_ROUTE``."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> ServingEnvironment:
        """Read it from environment variables.

        Raises:
            KeyError: A variable is missing.
        """
        return cls(
            Path(environ["AIP_STORAGE_URI"].removeprefix("file://")),
            environ["AIP_HEALTH_ROUTE"],
            environ["AIP_PREDICT_ROUTE"],
        )


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or the end of standard input.

    Returns:
        The exit status: 0 after an orderly end, 1 where the model could not be loaded.
    """
    parser = argparse.ArgumentParser(prog="model_server")
    parser.add_argument("--socket", required=True, type=Path, help="the Unix socket to listen on")
    parser.add_argument("--scratch", required=True, type=Path, help="a folder that all replicas share")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    from vertexkit.emulator.serving.model_server.errors import LoadError
    from vertexkit.emulator.serving.model_server.loading import load
    from vertexkit.emulator.serving.model_server.tensorflow_core import (
        StandInFailed,
        start_again_with_whole_tensorflow,
    )

    try:
        environment = ServingEnvironment.read(os.environ)
        model = load(environment.storage, options.scratch)
    except KeyError as error:
        _logger.error("The environment variable %s is not set", error.args[0])
        return 1
    except StandInFailed as error:
        _logger.warning("%s. All of it is loaded instead, which takes longer.", error)
        start_again_with_whole_tensorflow()
    except LoadError as error:
        # On a line of its own and last: it is what the deployer is shown.
        _logger.error("%s", error)
        return 1

    import uvicorn

    from vertexkit.emulator.serving.model_server.app import model_app

    app = model_app(model, health_route=environment.health_route, predict_route=environment.predict_route)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[_listen(options.socket)])
    return 0


def _listen(path: Path) -> socket.socket:
    """A socket listening at ``path``, which comes into being when the model can be asked, not earlier."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _end_with_stdin() -> None:
    """End this process, and what it has started, when nobody holds the other end of its standard input."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(0)
