"""A local Vertex AI of one's own: starts the process, learns its addresses, stops it.

The process keeps reading its standard input, whose other end this process holds. However this
process ends, SIGKILL included, the pipe closes and the local Vertex AI goes, with its data.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from vertexkit.errors import EmulatorFailed

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES = 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class EmulatorAddresses:
    """Where a local Vertex AI listens."""

    grpc: str
    """``localhost:PORT``, TLS."""
    rest: str
    """``http://127.0.0.1:PORT``."""
    storage: str
    """``http://127.0.0.1:PORT``."""
    ca: Path
    """The CA certificate to trust for ``grpc``."""
    project: str
    """The project that it suggests; it accepts any."""
    location: str
    pid: int

    @classmethod
    def parse(cls, answer: Any, source: str) -> EmulatorAddresses:
        """Check and take over the JSON object that a local Vertex AI describes itself with.

        Raises:
            EmulatorFailed: It is not such an object.
        """
        try:
            return cls(
                grpc=str(answer["grpc"]),
                rest=str(answer["rest"]).rstrip("/"),
                storage=str(answer["storage"]).rstrip("/"),
                ca=Path(answer["ca"]),
                project=str(answer["project"]),
                location=str(answer["location"]),
                pid=int(answer["pid"]),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise EmulatorFailed(
                f"{source} does not describe a local Vertex AI: {answer!r} ({error!r})",
                remedy="give the `rest` address that `vertexkit emulator start` prints",
            ) from error


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def describe(url: str) -> EmulatorAddresses:
    """Ask a running local Vertex AI for its addresses.

    Args:
        url: Its ``rest`` address.

    Raises:
        EmulatorFailed: None answers there.
    """
    url = url.rstrip("/")
    return EmulatorAddresses.parse(_told(url, "/emulator"), f"{url}/emulator")


def environment(url: str, *, project: str | None = None, location: str | None = None) -> dict[str, str]:
    """Ask a running local Vertex AI for the environment that leads programs to it.

    Args:
        url: Its ``rest`` address.
        project: Project for them to work in; the one that it suggests by default.
        location: Region for them to work in; the one that it suggests by default.

    Raises:
        EmulatorFailed: None answers there.
    """
    answer = _told(url.rstrip("/"), "/emulator/environment", project=project, location=location)
    if not isinstance(answer, dict):
        raise EmulatorFailed(f"{url}/emulator/environment is no environment: {answer!r}")
    return {str(name): str(value) for name, value in answer.items()}


def _told(url: str, path: str, **query: str | None) -> Any:
    """What a running local Vertex AI says of itself."""
    import requests

    try:
        with requests.Session() as session:
            # A proxy that the environment names for the Internet does not lead to this machine.
            session.trust_env = False
            reply = session.get(f"{url}{path}", params=query, timeout=10)
            reply.raise_for_status()
            return reply.json()
    except (requests.RequestException, ValueError) as error:
        raise EmulatorFailed(
            f"no local Vertex AI answers at {url}: {error}",
            remedy="start one with `vertexkit emulator start`, and give the `rest` address that it prints",
        ) from error


class EmulatorProcess:
    """A local Vertex AI started by this process, in a process of its own.

    It has a session of its own, so that Ctrl-C in the terminal reaches only us, and what was
    deployed can still be cleaned up.
    """

    def __init__(
        self, arguments: Sequence[str] = (), *, pass_through: bool = True, timeout: float = _START_SECONDS
    ) -> None:
        """Start it and wait until it is ready.

        Args:
            arguments: More arguments for ``vertexkit emulator start``.
            pass_through: Whether training jobs, and whoever else is given its proxy, may reach other hosts
                than Google Cloud's by it, as jobs can in the cloud.
            timeout: Seconds to wait for it.

        Raises:
            EmulatorFailed: It did not start; the message ends with the last lines of its log.
        """
        # An anonymous file: it goes with the last process that has it open, however that ends.
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="vertexkit-emulator-")  # noqa: SIM115
        command = [sys.executable, "-m", "vertexkit", "emulator", "start", "--json", "--exit-with-stdin"]
        command += ["--pass-through"] * pass_through
        try:
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise EmulatorFailed(f"cannot start the local Vertex AI: {error}") from error
        self._finalizer = weakref.finalize(self, _stop, self._process, self._log, os.getpid())
        try:
            self.addresses = self._await_addresses(timeout)
        except BaseException:  # Ctrl-C while it starts must not leave it running either
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def log_tail(self, lines: int = _LOG_LINES) -> list[str]:
        """The last lines of its log."""
        if self._log.closed:
            return []
        size = os.fstat(self._log.fileno()).st_size
        # pread leaves the offset alone, which the child shares and writes at.
        start = max(0, size - 64 * 1024)
        text = os.pread(self._log.fileno(), size - start, start).decode("utf-8", "replace")
        return text.splitlines()[-lines:]

    def stop(self) -> None:
        """Stop it, waiting until it has gone. May be called twice."""
        self._finalizer()

    def _await_addresses(self, timeout: float) -> EmulatorAddresses:
        deadline = time.monotonic() + timeout
        output = self._process.stdout
        assert output is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._failure(f"was not ready after {timeout:g} s")
            chunk = os.read(output.fileno(), 65536)
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=5)
                raise self._failure(f"ended at once, with exit status {self._process.poll()}")
            line += chunk
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise self._failure(f"said {line[:200]!r} instead of its addresses") from error
        return EmulatorAddresses.parse(answer, "`vertexkit emulator start --json`")

    def _failure(self, problem: str) -> EmulatorFailed:
        lines = [f"the local Vertex AI {problem}", *(f"  | {line}" for line in self.log_tail())]
        return EmulatorFailed("\n".join(lines))


def _stop(process: subprocess.Popen[bytes], log: IO[bytes], owner: int) -> None:
    """Ask by closing its input, then by SIGTERM, and end it by SIGKILL."""
    if os.getpid() != owner:
        return  # a forked child inherits the finalizer, but not the local Vertex AI
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        if not _ended(process, _STOP_SECONDS):
            process.terminate()
            _ended(process, _STOP_SECONDS / 2)
    finally:
        # The group holds its model servers too, should it have gone without stopping them.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        log.close()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
