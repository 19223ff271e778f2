"""The loopback ports of a running emulator, the same after a restart where that can be had."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Mapping
from pathlib import Path

from vertexkit.emulator.certificates import write_private
from vertexkit.errors import EmulatorFailed

LOOPBACK = "127.0.0.1"

_FILE = "ports.json"


def remembered(data_dir: Path) -> Mapping[str, int]:
    """The ports that the last emulator on this folder had, by name; empty if there was none."""
    try:
        found = json.loads((data_dir / _FILE).read_bytes())
        return {str(name): int(port) for name, port in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        # None yet, or not ours: any free ports will do.
        return {}


def remember(data_dir: Path, ports: Mapping[str, int]) -> None:
    """Keep the ports for the next emulator on this folder."""
    write_private(data_dir / _FILE, json.dumps(dict(ports)).encode())


def listen(name: str, port: int, *, rather: int = 0) -> socket.socket:
    """A listening socket on a loopback port.

    Args:
        name: What the port is for, for the error.
        port: The port; 0 for any free one.
        rather: The one to have when any free one will do, if it is free. Who has the address of an
            emulator then reaches it after a restart too.

    Raises:
        EmulatorFailed: The port is taken, or not for this user.
    """
    if port == 0 and 0 < rather < 65536:
        with contextlib.suppress(OSError):
            return _bound(rather)
    try:
        return _bound(port)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise EmulatorFailed(
            f"port {port} ({name}) {why}", remedy=f"Give another --{name}-port, or none for any free one."
        ) from error


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # So that a port can be had again at once after a restart.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        # Now, because two sockets with SO_REUSEADDR may bind one port as long as neither listens.
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
