"""How many predictions one replica serves, over REST, the clients on the same cores."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.deployed import ROOT, deployed, images
from tests.bench.no_model import PREDICT_ROUTE
from tests.bench.report import Row, in_turn
from vertexkit.codec import encode

_SECONDS = 4
_CLIENTS, _CONNECTIONS = 2, 8


def run() -> list[Row]:
    """Measure single images, and batches against the same round trip without a model."""
    place = deployed()
    path = f"/v1/{place.endpoint.resource_name}:predict"
    port = urlsplit(place.emulator.rest).port or 0
    with tempfile.TemporaryDirectory() as folder, _no_model() as other_port:
        # A thousand images, and what vertexkit makes of them: requests below the service's limit.
        single, *batches = [
            _written(Path(folder) / str(number), request.body)
            for number, request in enumerate([*encode(images()[:1]), *encode(images())])
        ]
        # Until the fast path has been checked, which a deploy does not wait for.
        _load(port, path, [single] * _CLIENTS, _CONNECTIONS)
        one = _load(port, path, [single] * _CLIENTS, _CONNECTIONS)
        with_model, without = in_turn(
            lambda: _load(port, path, batches, 1), lambda: _load(other_port, PREDICT_ROUTE, batches, 1), 3
        )
    thousands = len(batches)
    return [
        Row(
            f"one replica, single images, {_CLIENTS * _CONNECTIONS} connections",
            f"{one:,.0f} requests/s",
            "",
            one,
            target=2000,
            unit="requests/s",
        ),
        Row(
            "one replica, batches of 1,000 images",
            f"{with_model / thousands * 1000:,.0f} images/s",
            f"no model {without / thousands * 1000:,.0f} images/s",
            with_model / without,
            target=0.5,
        ),
    ]


def _load(port: int, path: str, bodies: list[Path], connections: int) -> float:
    """Requests per second of one client process for each body, all at the same time."""
    program = [sys.executable, "-m", "tests.bench.load", "127.0.0.1", str(port), path]
    clients = [
        subprocess.Popen(
            [*program, str(body), str(connections), str(_SECONDS)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for body in bodies
    ]
    outputs = [client.communicate()[0] for client in clients]
    if any(client.returncode for client in clients):
        raise RuntimeError("a client of the bench failed; its words are above")
    return sum(map(float, outputs))


def _written(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


@contextmanager
def _no_model() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.bench.no_model"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()
