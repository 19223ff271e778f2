"""Loads an HTTP server from several connections, as lightly as Python can: ``python -m tests.bench.load``.

Every round it writes one whole request to each connection, then reads one reply from each, so that
the process spends its time in a few system calls. It prints the requests per second.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path


def main() -> None:
    """Arguments: host, port, path, file of the body, connections, seconds."""
    host, port, path, body_file, connections, seconds = sys.argv[1:]
    body = Path(body_file).read_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    sockets = [socket.create_connection((host, int(port)), timeout=60) for _ in range(int(connections))]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _round(sockets, request)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < float(seconds):
        _round(sockets, request)
        count += len(sockets)
    print(count / (time.perf_counter() - started))


def _round(sockets: list[socket.socket], request: bytes) -> None:
    for connection in sockets:
        connection.sendall(request)
    for connection in sockets:
        _read_reply(connection)


def _read_reply(connection: socket.socket) -> None:
    data = connection.recv(1 << 16)
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{head[:200]!r} {body[:300]!r}")
    lower = head.lower()
    at = lower.index(b"content-length:") + len(b"content-length:")
    missing = int(lower[at:].split(b"\r\n", 1)[0]) - len(body)
    while missing > 0:
        missing -= len(_more(connection))


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise RuntimeError("the server closed the connection in the middle of a reply")
    return data


if __name__ == "__main__":
    main()
