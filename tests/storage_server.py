"""The Cloud Storage server alone, for the tests of it: in a thread, or in a process that can be killed."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from vertexkit.emulator.gcs.app import storage_app
from vertexkit.emulator.gcs.public import PublicBuckets
from vertexkit.emulator.gcs.store import ObjectStore

Wrap = Callable[[Any], Any]
READY_SECONDS = 30


@dataclass
class StorageServer:
    """A running server."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str] | None = None

    def client(self, project: str = "storage-tests") -> Any:
        """Google's own client, pointed at it."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url},
        )

    def folder(self, bucket: str) -> Path:
        """Where the objects of a bucket lie."""
        return self.data_dir / "gcs" / bucket

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _config(
    store: ObjectStore, public: PublicBuckets | None = None, wrap: Wrap | None = None
) -> uvicorn.Config:
    application: Any = storage_app(store, public)
    if wrap is not None:
        application = wrap(application)
    return uvicorn.Config(application, http="httptools", loop="uvloop", access_log=False, log_level="warning")


@contextlib.contextmanager
def in_thread(
    data_dir: Path, *, public: PublicBuckets | None = None, wrap: Wrap | None = None
) -> Iterator[StorageServer]:
    """Serve a data directory from a thread of this process; ``wrap`` puts something before the server."""
    store = ObjectStore(data_dir)
    server = uvicorn.Server(_config(store, public, wrap))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        ready = threading.Event()
        thread = threading.Thread(target=_serve, args=(server, listener, ready))
        thread.start()
        try:
            assert ready.wait(READY_SECONDS)
            yield StorageServer(f"http://127.0.0.1:{listener.getsockname()[1]}", data_dir)
        finally:
            server.should_exit = True
            thread.join()
            store.close()


def _serve(server: uvicorn.Server, listener: socket.socket, ready: threading.Event) -> None:
    # The socket listens already, so that a request waits for the server rather than failing.
    ready.set()
    server.run(sockets=[listener])


@contextlib.contextmanager
def in_process(data_dir: Path) -> Iterator[StorageServer]:
    """Serve a data directory from a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield StorageServer(f"http://127.0.0.1:{port}", data_dir, process)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as own:
        print(own.getsockname()[1], flush=True)
        uvicorn.Server(_config(ObjectStore(Path(sys.argv[1])))).run(sockets=[own])
