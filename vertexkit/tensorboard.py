"""Opens TensorBoard on what a training job logs, while it is running and afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from html import escape
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.patience import Patience
from vertexkit.errors import ConfigurationError, InvalidArgument, VertexkitError
from vertexkit.logs_copy import LogsCopy

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["TensorBoard", "open_tensorboard"]

_log = logging.getLogger("vertexkit")

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
_UPDATE_SECONDS: Final = 3.0
_LINES: Final = 20
_ADDRESS: Final = re.compile(rb" at (http://[^ ]+)")


def open_tensorboard(context: Context, logs_uri: str) -> TensorBoard:
    """Start TensorBoard on the logs of a job.

    Args:
        context: The session's parts.
        logs_uri: The folder of the event files: the job's ``AIP_TENSORBOARD_LOG_DIR``. There need be nothing
            in it yet.

    Returns:
        TensorBoard, ready to be looked at; it ends with `TensorBoard.stop`, the session, or this process.

    Raises:
        InvalidArgument: It is no ``gs://`` URI.
        NotFound: There is no such bucket.
        ConfigurationError: TensorBoard does not start; the message ends with what it said.
    """
    try:
        found = parse_gcs_uri(logs_uri)
    except ValueError as error:
        raise InvalidArgument("logs_uri", logs_uri, str(error)) from None
    name = f"{found.name.rstrip('/')}/" if found.name.strip("/") else ""
    return TensorBoard(context, GcsUri(found.bucket, name))


class TensorBoard:
    """A running TensorBoard, at `url`; use it as a context manager, or stop it.

    Shown in a notebook, it is TensorBoard itself.

    Args:
        context: The session's parts.
        source: Where the event files are; the name is empty, or ends in ``/``.
    """

    def __init__(self, context: Context, source: GcsUri) -> None:
        self._source = source
        self._context = context
        folder = tempfile.TemporaryDirectory(prefix="vertexkit-tensorboard-", ignore_cleanup_errors=True)
        try:
            copy = LogsCopy(context, source, Path(folder.name))
            attempted(copy.update, Patience())
            self._server = _Server(Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        self.url: str = self._server.url
        """Where a browser finds it: ``http://127.0.0.1:PORT/``."""
        ending = threading.Event()
        follower = threading.Thread(
            target=_follow, args=(copy, ending), name="vertexkit-tensorboard", daemon=True
        )
        follower.start()
        # Called when the process ends, too.
        self._finalizer = weakref.finalize(self, _end, ending, follower, self._server, folder, os.getpid())
        # The session holds it: it goes on when its user keeps no more than its address.
        context.at_close.append(self.stop)

    @property
    def running(self) -> bool:
        """Whether it is there to be looked at."""
        return self._server.running

    def stop(self) -> None:
        """End it, and delete its copy of the logs. May be called twice."""
        self._finalizer()
        with contextlib.suppress(ValueError):
            self._context.at_close.remove(self.stop)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "" if self.running else ", stopped"
        return f"<TensorBoard {self.url} on {self._source}{state}>"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        if not self.running:
            return f"TensorBoard on {escape(str(self._source))} has been stopped."
        return (
            f'<a href="{url}" target="_blank">TensorBoard on {escape(str(self._source))}</a>'
            f'<iframe src="{url}" width="100%" height="800" frameborder="0"></iframe>'
        )


class _Server:
    """The process of TensorBoard.

    Args:
        folder: The folder with the logs, which is deleted when the process ends.

    Raises:
        ConfigurationError: It did not start.
    """

    def __init__(self, folder: Path) -> None:
        # An anonymous file: it goes with the last process that has it open.
        self._said: IO[bytes] = tempfile.TemporaryFile(prefix="vertexkit-tensorboard-")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vertexkit.tensorboard_process", str(folder)],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            # Ctrl-C in the terminal is for the program that opened it.
            start_new_session=True,
        )
        try:
            self.url = self._await_address()
        except BaseException:
            self.stop()
            raise

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and wait until it has gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _await_address(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            is_running = self.running
            said = self._output()
            found = _ADDRESS.search(said)
            if found is not None:
                return found[1].decode()
            if not is_running or time.monotonic() > deadline:
                lines = said.decode("utf-8", "replace").splitlines()[-_LINES:]
                problem = "did not start in time" if is_running else f"ended with {self._process.returncode}"
                raise ConfigurationError(
                    "\n".join([f"TensorBoard {problem}; it said last:", *(f"  | {line}" for line in lines)]),
                    remedy="see that `python -m tensorboard.main --logdir .` works",
                )
            time.sleep(0.05)

    def _output(self) -> bytes:
        # pread leaves the offset alone, which the process shares and writes at.
        return os.pread(self._said.fileno(), 256 * 1024, 0)


def _follow(copy: LogsCopy, ending: threading.Event) -> None:
    """Bring what a job goes on to log, until it is told to end or the session has been closed."""
    told = False
    while not ending.wait(_UPDATE_SECONDS):
        try:
            copy.update()
        except ConfigurationError:  # the session is closed
            return
        except (VertexkitError, OSError) as error:
            if not ending.is_set() and not told:
                _log.warning("TensorBoard shows what was there: new logs cannot be fetched: %s", error)
                told = True
        else:
            told = False


def _end(
    ending: threading.Event,
    follower: threading.Thread,
    server: _Server,
    folder: tempfile.TemporaryDirectory[str],
    owner: int,
) -> None:
    if os.getpid() != owner:
        return  # a forked child inherits the finalizer, but not TensorBoard
    ending.set()
    server.stop()
    # What it still writes would be left behind.
    follower.join(_STOP_SECONDS)
    folder.cleanup()
