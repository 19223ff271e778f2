"""Kills on either side in the middle of transfers: what was acknowledged stays, nothing torn ever shows."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

import vertexkit as vk
from tests.conftest import Launch, RunningEmulator
from vertexkit import errors
from vertexkit._transfer import patience
from vertexkit.session import Session
from vertexkit.storage import Bucket

MIB = 1024 * 1024
SECONDS = 60
FILES = 400


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of many small files."""
    folder = tmp_path / "small"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:05}").write_bytes(f"{number}".encode() * 500)
    return folder


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of 64 MiB in which no two blocks are the same."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for number in range(64):
            file.write(number.to_bytes(4, "big") * (MIB // 4))
    return path


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to it"
        time.sleep(0.005)


def slowed(emulator: RunningEmulator, *patterns: str, latency: float = 0.1) -> None:
    """Make the calls take long enough to be interrupted."""
    rules = [{"storage": pattern, "latency": latency} for pattern in patterns]
    requests.put(f"{emulator.rest}/emulator/faults", json={"rules": rules}, timeout=10).raise_for_status()


def files_of(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    return {item.name.removeprefix(prefix): bucket.read(item.name) for item in bucket.list(prefix)}


# -- the server --------------------------------------------------------------------------------


@contextlib.contextmanager
def restartable(launch: Launch, data: Path) -> Iterator[tuple[RunningEmulator, Callable[[], Any]]]:
    """An emulator, and what starts it again at the same addresses over the same data."""
    with launch("--data-dir", str(data), "--allow-faults") as emulator:
        ports = {
            "--rest-port": urlsplit(emulator.rest).port,
            "--storage-port": urlsplit(emulator.storage).port,
            "--grpc-port": emulator.grpc.rpartition(":")[2],
        }
        arguments = [str(word) for pair in ports.items() for word in pair]
        yield emulator, lambda: launch("--data-dir", str(data), *arguments)


def test_an_upload_goes_on_through_a_killed_and_restarted_server(
    launch_emulator: Launch, tmp_path: Path, small: Path, large: Path
) -> None:
    large.rename(small / "large.bin")
    with (
        restartable(launch_emulator, tmp_path / "data") as (emulator, restart),
        vk.connect(project="killed-project", emulator=emulator.rest, progress=False) as session,
    ):
        bucket = session.buckets.create("killed-bucket")
        slowed(emulator, "PUT *")
        reports: list[Any] = []
        sending = threading.Thread(target=lambda: reports.append(bucket.upload_dir(small, "m")))
        sending.start()
        eventually(lambda: len(list((tmp_path / "data" / "gcs" / bucket.name).rglob("*"))) > 30)
        emulator.process.kill()
        emulator.process.wait()
        assert sending.is_alive()
        with restart():
            sending.join(SECONDS)
            (report,) = reports
            assert (report.files, report.uploaded) == (FILES + 1, FILES + 1)
            assert files_of(bucket, "m/") == {path.name: path.read_bytes() for path in small.iterdir()}


@pytest.mark.slow
def test_what_was_acknowledged_before_the_kill_is_there_and_only_the_rest_is_sent(
    launch_emulator: Launch, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SECONDS_WITHOUT_SUCCESS", 0.5)
    with (
        restartable(launch_emulator, tmp_path / "data") as (emulator, restart),
        vk.connect(project="killed-project", emulator=emulator.rest, progress=False) as session,
    ):
        bucket = session.buckets.create("killed-bucket")
        slowed(emulator, "PUT *")
        objects = tmp_path / "data" / "gcs" / bucket.name

        def kill() -> None:
            eventually(lambda: len(list(objects.rglob("*"))) > 50)
            emulator.process.kill()

        killing = threading.Thread(target=kill)
        killing.start()
        with pytest.raises(errors.TransferFailed) as caught:
            bucket.upload_dir(small, "m")
        killing.join()
        # Those sent before the kill cannot be checked any more, and so are not said to be there.
        assert set(caught.value.failures) == {str(path) for path in small.iterdir()}
        sent = {name for name, why in caught.value.failures.items() if "could not be checked" in why}
        assert len(sent) > 10
        with restart():
            there = {item.name.removeprefix("m/") for item in bucket.list("m/")}
            assert {Path(path).name for path in sent} <= there
            assert len(there) < FILES
            assert all(data == (small / name).read_bytes() for name, data in files_of(bucket, "m/").items())
            report = bucket.upload_dir(small, "m")
            assert (report.uploaded, report.skipped) == (FILES - len(there), len(there))


# -- the client --------------------------------------------------------------------------------


@pytest.fixture
def session(emulator: RunningEmulator, project: str) -> Iterator[Session]:
    with vk.connect(project=project, emulator=emulator.rest, progress=False) as session:
        yield session


@pytest.fixture
def bucket(session: Session, project: str) -> Bucket:
    return session.buckets.create(f"{project}-bucket")


@contextlib.contextmanager
def client(emulator: RunningEmulator, bucket: Bucket, project: str, body: str) -> Iterator[Any]:
    """A process that runs ``body`` with the bucket, a megabyte of a large file each 20 ms."""
    program = f"""
import time
import vertexkit as vk
from vertexkit._transfer.patience import Patience
check = Patience.check
def slowly(self):
    time.sleep(0.02)
    check(self)
Patience.check = slowly
with vk.connect(project={project!r}, emulator={emulator.rest!r}, progress=False) as session:
    bucket = session.buckets.get({bucket.name!r})
    {textwrap.dedent(body)}
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def spans(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The ranges that this process's requests are about: verb, and ``Content-Range`` or ``Range``."""
    seen: list[tuple[str, str]] = []
    http = session._context.clients.http
    real = http.request

    def request(verb: str, url: str, **options: Any) -> Any:
        headers = options.get("headers") or {}
        seen.append((verb, headers.get("Content-Range") or headers.get("Range") or ""))
        return real(verb, url, **options)

    monkeypatch.setattr(http, "request", request)
    return seen


def test_a_large_upload_that_was_killed_goes_on_where_it_was(
    emulator: RunningEmulator, bucket: Bucket, project: str, large: Path, spans: list[tuple[str, str]]
) -> None:
    held = Path(emulator.ca).parent / "gcs-uploads"
    before = set(held.rglob("*")) if held.exists() else set()

    def arrived() -> int:
        new = [path for path in held.rglob("*") if path not in before and path.is_file()]
        return max((path.stat().st_size for path in new), default=0)

    with client(emulator, bucket, project, f"bucket.upload_file({str(large)!r})") as process:
        eventually(lambda: arrived() > 8 * MIB)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert bucket.list() == []
    bucket.upload_file(large)
    (asked, sent) = [span for verb, span in spans if verb == "PUT"]
    size = 64 * MIB
    assert asked == f"bytes */{size}"
    first = int(sent.removeprefix("bytes ").partition("-")[0])
    assert 8 * MIB <= first < size
    assert bucket.read(large.name) == large.read_bytes()


def test_a_large_download_that_was_killed_goes_on_where_it_was(
    emulator: RunningEmulator, bucket: Bucket, project: str, large: Path, tmp_path: Path,
    spans: list[tuple[str, str]],
) -> None:  # fmt: skip
    bucket.upload_file(large, "p/large.bin")
    out = tmp_path / "out"

    def arrived() -> int:
        return sum(path.stat().st_size for path in out.iterdir()) if out.exists() else 0

    with client(emulator, bucket, project, f"bucket.download_dir('p', {str(out)!r})") as process:
        eventually(lambda: arrived() > 8 * MIB)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in out.iterdir()] != ["large.bin"]
    spans.clear()
    assert bucket.download_dir("p", out).downloaded == 1
    (span,) = [span for verb, span in spans if span]
    assert int(span.removeprefix("bytes=").rstrip("-")) >= 8 * MIB
    assert [path.name for path in out.iterdir()] == ["large.bin"]
    assert (out / "large.bin").read_bytes() == large.read_bytes()


def test_ctrl_c_stops_promptly_and_the_next_call_sends_the_rest(
    emulator: RunningEmulator, bucket: Bucket, project: str, small: Path, large: Path, inject: Any
) -> None:
    large.rename(small / "large.bin")
    inject({"storage": f"PUT /{bucket.name}/*", "latency": 0.2})
    with client(emulator, bucket, project, f"bucket.upload_dir({str(small)!r}, 'm')") as process:
        eventually(lambda: len(bucket.list("m/")) > 20)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
        assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    there = {item.name.removeprefix("m/") for item in bucket.list("m/")}
    assert 20 < len(there) < FILES
    inject()
    report = bucket.upload_dir(small, "m")
    assert (report.uploaded, report.skipped) == (FILES + 1 - len(there), len(there))
    assert files_of(bucket, "m/") == {path.name: path.read_bytes() for path in small.iterdir()}


def test_ctrl_c_during_a_download_leaves_whole_files_only(
    emulator: RunningEmulator, bucket: Bucket, project: str, small: Path, tmp_path: Path, inject: Any
) -> None:
    bucket.upload_dir(small, "m")
    inject({"storage": f"GET /{bucket.name}/*", "latency": 0.2})
    out = tmp_path / "out"
    with client(emulator, bucket, project, f"bucket.download_dir('m', {str(out)!r})") as process:
        eventually(lambda: out.exists() and len(list(out.iterdir())) > 20)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    there = {path.name: path.read_bytes() for path in out.iterdir()}
    assert 20 < len(there) < FILES
    assert all(data == (small / name).read_bytes() for name, data in there.items())
    inject()
    report = bucket.download_dir("m", out)
    assert (report.downloaded, report.skipped) == (FILES - len(there), len(there))
