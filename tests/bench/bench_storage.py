"""Uploads: many small files, and one large one, against what a user would otherwise write."""

from __future__ import annotations

import http.client
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import obstore
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from obstore.store import GCSStore

import vertexkit as vk
from tests.bench.report import Row, in_turn
from tests.conftest import launched
from vertexkit.storage import Bucket

FILES, FILE_BYTES = 2000, 10_000
LARGE_BYTES = 512 * 1024 * 1024
PROJECT = "bench-storage"
_TURNS = 5
_BLOCK = 1024 * 1024


def run() -> list[Row]:
    """Measure every client on one server, in turn."""
    with tempfile.TemporaryDirectory(prefix="vertexkit-bench-") as folder, launched() as emulator:
        # The uploads must not go on from those of an earlier run.
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        client = storage.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=emulator.storage),
        )
        with vk.connect(project=PROJECT, emulator=emulator.rest, progress=False) as session:
            bucket = session.buckets.create("bench-storage")
            google = client.bucket(bucket.name)
            return [
                _small(Path(folder), bucket, google),
                _large(Path(folder), bucket, google, emulator.storage),
            ]


def _small(folder: Path, bucket: Bucket, google: storage.Bucket) -> Row:
    files = folder / "small"
    files.mkdir()
    for number in range(FILES):
        (files / f"{number:05}").write_bytes(os.urandom(FILE_BYTES))
    numbers = itertools.count()

    def ours() -> float:
        return _seconds(lambda: bucket.upload_dir(files, f"ours-{next(numbers)}"))

    def loop() -> float:
        prefix = f"loop-{next(numbers)}"

        def send(path: Path) -> None:
            google.blob(f"{prefix}/{path.name}").upload_from_filename(str(path))

        def all_of_them() -> None:
            with ThreadPoolExecutor(50) as pool:
                list(pool.map(send, files.iterdir()))

        return _seconds(all_of_them)

    ours(), loop()
    quick, slow = in_turn(ours, loop, _TURNS)
    return Row(
        f"upload_dir, {FILES:,} files of {FILE_BYTES // 1000} kB",
        f"{FILES / quick:,.0f} files/s",
        f"50 threads, upload_from_filename {FILES / slow:,.0f} files/s",
        slow / quick,
        target=3,
    )


def _large(folder: Path, bucket: Bucket, google: storage.Bucket, url: str) -> Row:
    path = folder / "large.bin"
    with path.open("wb") as file:
        for _ in range(LARGE_BYTES // _BLOCK):
            file.write(os.urandom(_BLOCK))
    store = GCSStore(
        bucket.name,
        config={"base_url": url},
        client_options={"allow_http": True},
        credential_provider=lambda: {"token": "local", "expires_at": None},
    )
    host = urlsplit(url)

    def put() -> None:
        connection = http.client.HTTPConnection(host.hostname or "", host.port, blocksize=_BLOCK)
        with path.open("rb", buffering=0) as body:
            headers = {"Content-Length": str(LARGE_BYTES)}
            connection.request("PUT", f"/{bucket.name}/put", body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
        connection.close()
        assert answer.status == 200

    others: dict[str, Callable[[], object]] = {
        "one PUT": put,
        "obstore": lambda: obstore.put(store, "obstore", path),
        "google-cloud-storage": lambda: google.blob("google").upload_from_filename(str(path)),
    }
    times: dict[str, list[float]] = {name: [] for name in ("ours", *others)}
    for _ in range(_TURNS):
        times["ours"].append(_seconds(lambda: bucket.upload_file(path)))
        for name, send in others.items():
            times[name].append(_seconds(send))
    medians = {name: median(taken) for name, taken in times.items()}
    ours = medians.pop("ours")
    quickest = min(medians, key=lambda name: medians[name])
    return Row(
        f"upload_file, {LARGE_BYTES // 1024**2} MB",
        f"{LARGE_BYTES / ours / 1e6:,.0f} MB/s",
        f"the quickest client ({quickest}) {LARGE_BYTES / medians[quickest] / 1e6:,.0f} MB/s",
        medians[quickest] / ours,
        target=0.8,
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
