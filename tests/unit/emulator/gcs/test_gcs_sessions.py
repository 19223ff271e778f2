"""Resumable and multipart uploads over their life: many at once, restarts, and the end of them."""

import asyncio
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.emulator.gcs.gcs_requests import Answer, ask
from vertexkit.emulator.gcs import expiry, staging, times, uploads
from vertexkit.emulator.gcs.app import StorageApp, storage_app
from vertexkit.emulator.gcs.staging import Staged
from vertexkit.emulator.gcs.store import ObjectStore

QUANTUM = 1 << 18
WEEK_US = 7 * 24 * 3600 * 1_000_000


async def started(app: StorageApp, name: str) -> str:
    answer = await ask(app, "POST", f"/upload/storage/v1/b/bucket/o?uploadType=resumable&name={name}", {})
    location = urlsplit(answer.headers[b"location"].decode())
    return f"{location.path}?{location.query}"


async def put(app: StorageApp, session: str, content: bytes, span: str) -> Answer:
    return await ask(app, "PUT", session, content, {"content-range": f"bytes {span}"})


def waiting_files(store: ObjectStore) -> list[Path]:
    return [path for path in store.uploads_dir.rglob("*") if path.is_file()]


def test_many_sessions_take_turns_and_none_is_read_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_OPEN_SESSIONS", 2)
    monkeypatch.setattr(Staged, "resumed", None)

    async def run() -> None:
        app = storage_app(store)
        names = [f"{number}" for number in range(6)]
        sessions = [await started(app, name) for name in names]
        for turn in range(2):
            span = f"{turn * QUANTUM}-{(turn + 1) * QUANTUM - 1}/*"
            answers = await asyncio.gather(
                *(
                    put(app, session, name.encode() * QUANTUM, span)
                    for session, name in zip(sessions, names, strict=True)
                )
            )
            assert {answer.status for answer in answers} == {308}
        for session, name in zip(sessions, names, strict=True):
            answer = await put(app, session, b"end", f"{2 * QUANTUM}-{2 * QUANTUM + 2}/{2 * QUANTUM + 3}")
            assert answer.status == 200
            assert store.read("bucket", name) == name.encode() * 2 * QUANTUM + b"end"

    asyncio.run(run())


def test_a_session_that_a_request_waits_for_stays_open(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_OPEN_SESSIONS", 1)

    async def run() -> None:
        app = storage_app(store)
        session = await started(app, "a")
        first = put(app, session, b"a" * QUANTUM, f"0-{QUANTUM - 1}/*")
        second = put(app, session, b"end", f"{QUANTUM}-{QUANTUM + 2}/{QUANTUM + 3}")
        others = [started(app, f"other{number}") for number in range(5)]
        answers: list[Any] = await asyncio.gather(first, second, *others)
        assert [answer.status for answer in answers[:2]] == [308, 200]
        assert store.read("bucket", "a") == b"a" * QUANTUM + b"end"

    asyncio.run(run())


def test_a_restarted_server_reads_a_session_once_and_answers_others_meanwhile(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read: list[str] = []
    resumed = staging.Staged.resumed

    def slowly(path: str) -> Staged:
        read.append(path)
        reading.set()
        assert go_on.wait(30)
        return resumed(path)

    async def run() -> None:
        session = await started(storage_app(store), "a")
        await put(storage_app(store), session, b"a" * QUANTUM, f"0-{QUANTUM - 1}/*")
        app = storage_app(store)
        monkeypatch.setattr(uploads.Staged, "resumed", slowly)
        asking = [asyncio.create_task(put(app, session, b"", "*/*")) for _ in range(3)]
        await asyncio.to_thread(reading.wait, 30)
        assert (await ask(app, "GET", "/storage/v1/b/bucket")).status == 200
        assert not any(task.done() for task in asking)
        go_on.set()
        answers = await asyncio.gather(*asking)
        assert {answer.headers[b"range"] for answer in answers} == {b"bytes=0-%d" % (QUANTUM - 1)}
        assert len(read) == 1

    try:
        asyncio.run(run())
    finally:
        go_on.set()


def test_uploads_that_nobody_goes_on_with_end_after_a_week(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = times.now_us()
    monkeypatch.setattr(expiry.times, "now_us", lambda: now)

    async def run() -> None:
        nonlocal now
        app = storage_app(store)
        idle = await started(app, "idle")
        await put(app, idle, b"x" * QUANTUM, f"0-{QUANTUM - 1}/*")
        done = await started(app, "done")
        assert (await put(app, done, b"end", "0-2/3")).status == 200
        made = (await ask(app, "POST", "/bucket/parts?uploads")).body.decode()
        upload_id = made.partition("<UploadId>")[2].partition("<")[0]
        part = f"/bucket/parts?uploadId={upload_id}&partNumber="
        assert (await ask(app, "PUT", f"{part}1", b"x")).status == 200
        now += WEEK_US - 1_000_000
        assert (await ask(app, "PUT", f"{part}2", b"x")).status == 200
        now += 2_000_000
        await started(app, "new")
        await ask(app, "POST", "/bucket/new?uploads")
        assert (await put(app, idle, b"", "*/*")).status == 404
        assert (await put(app, done, b"", "*/3")).status == 404
        assert store.read("bucket", "done") == b"end"
        # Its second part came less than a week ago.
        assert (await ask(app, "GET", f"/bucket/parts?uploadId={upload_id}")).status == 200
        now += WEEK_US + 1
        await started(app, "newer")
        await ask(app, "POST", "/bucket/newer?uploads")
        assert (await ask(app, "GET", f"/bucket/parts?uploadId={upload_id}")).status == 404
        (left,) = waiting_files(store)  # of the session that has just been started
        assert left.stat().st_size == 0

    asyncio.run(run())


def test_a_listing_of_files_from_outside_hashes_them_off_the_loop(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.uploads_dir.parent / "gcs" / "bucket"
    for number in range(5):
        (folder / f"{number}").write_bytes(b"x" * 1000)
    hashed_in: list[threading.Thread] = []
    real = store.with_crc32c

    def recording(info: Any) -> Any:
        hashed_in.append(threading.current_thread())
        return real(info)

    monkeypatch.setattr(store, "with_crc32c", recording)
    listed = asyncio.run(ask(storage_app(store), "GET", "/storage/v1/b/bucket/o")).json["items"]
    assert all(item["crc32c"] for item in listed)
    assert len(hashed_in) == 5
    assert threading.main_thread() not in hashed_in
