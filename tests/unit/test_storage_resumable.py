"""Large files: what is sent, what is not sent twice, and what becomes of interruptions."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import google_crc32c
import pytest
import requests

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit._transfer.content import FileChanged
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience, Stopped
from vertexkit._transfer.resumable import ResumableUpload
from vertexkit._transfer.upload_sessions import UploadSessions
from vertexkit.cleanup import Created

SERVICE = "https://storage.test"
MIB = 1024 * 1024
DATA = os.urandom(5 * MIB + 321)


class Service:
    """Resumable uploads, as Cloud Storage does them; ``breaks_at`` are offsets at which connections break."""

    def __init__(self) -> None:
        self.sessions: dict[str, bytearray] = {}
        self.objects: dict[str, bytes] = {}
        self.finished: dict[str, str] = {}
        self.sent: list[str] = []
        self.received = 0
        self.deleted: list[dict[str, str]] = []
        self.breaks_at: list[int] = []
        self.loses_last_answer = False
        self.status_of_status: list[int] = []
        self.damage: Callable[[bytes], bytes] = lambda data: data

    def request(self, verb: str, url: str, **options: Any) -> requests.Response:
        params, headers = options.get("params") or {}, options.get("headers") or {}
        if verb == "POST":
            session = f"{SERVICE}/session/{len(self.sessions)}"
            self.sessions[session] = bytearray()
            self.started = (params, headers)
            return reply(200, headers={"Location": session})
        if verb == "DELETE":
            self.deleted.append(params)
            return reply(204)
        self.sent.append(headers["Content-Range"])
        if url not in self.sessions:
            return reply(404)
        held = self.sessions[url]
        asked = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", headers["Content-Range"])
        assert asked is not None
        size = int(asked[3])
        if asked[1] is None:
            if self.status_of_status:
                return reply(self.status_of_status.pop(0))
        else:
            assert int(asked[1]) == len(held), "the service takes only what follows"
            body = options["data"]
            assert len(body) == size - len(held)
            for block in body:
                self.received += len(block)
                held += block
                if self.breaks_at and len(held) >= self.breaks_at[0]:
                    del held[self.breaks_at.pop(0) :]
                    raise requests.ConnectionError("connection reset")
            if len(held) == size and self.loses_last_answer:
                self.loses_last_answer = False
                raise requests.ConnectionError("connection reset")
        if len(held) < size:
            return reply(308, headers={"Range": f"bytes=0-{len(held) - 1}"} if held else {})
        data = self.damage(bytes(held))
        self.objects["big"] = data
        return reply(200, {"name": "big", "size": str(size), "crc32c": checksum(data), "generation": "5"})


def reply(status: int, body: object = None, headers: dict[str, str] | None = None) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = b"" if body is None else json.dumps(body).encode()
    made.headers.update(headers or {})
    return made


def checksum(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def api(service: Service) -> ObjectsApi:
    clients = create_autospec(Clients, instance=True)
    clients.http = create_autospec(requests.Session, instance=True)
    clients.http.request.side_effect = service.request
    target = Target("p", "us-central1", "https://rest", "grpc:443", SERVICE)
    return ObjectsApi(Context(target, clients, Created(), {}, "b"), "bucket")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "big.bin"
    made.write_bytes(DATA)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "uploads"


def upload(
    api: ObjectsApi, path: Path, folder: Path, *, patience: Patience | None = None, service: str = SERVICE
) -> list[int]:
    """Upload it; what the progress was told."""
    told: list[int] = []
    resumable = ResumableUpload(
        api, path, "big", "x/y", patience=patience or Patience(), progress=told.append
    )
    stored = resumable.run(UploadSessions(service, folder))
    assert (stored.size, stored.crc32c, stored.generation) == (len(DATA), checksum(DATA), 5)
    return told


def interrupted(api: ObjectsApi, path: Path, folder: Path, service: Service, at: int) -> None:
    """Upload it as a process does that is killed when the service has ``at`` bytes."""

    class Killed(BaseException):
        pass

    real = api._clients.http.request.side_effect  # type: ignore[attr-defined] # an autospec

    def request(verb: str, url: str, **options: Any) -> requests.Response:
        service.breaks_at = [at]
        try:
            return service.request(verb, url, **options)
        except requests.ConnectionError:
            raise Killed from None

    api._clients.http.request.side_effect = request  # type: ignore[attr-defined] # an autospec
    with pytest.raises(Killed):
        upload(api, path, folder)
    api._clients.http.request.side_effect = real  # type: ignore[attr-defined] # an autospec
    service.breaks_at = []
    service.sent.clear()
    service.received = 0


def test_a_file_goes_in_one_request_and_nothing_is_remembered_of_it(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    told = upload(api, path, folder)
    assert service.objects == {"big": DATA}
    assert service.sent == [f"bytes 0-{len(DATA) - 1}/{len(DATA)}"]
    params, headers = service.started
    assert (params["name"], params["uploadType"]) == ("big", "resumable")
    assert headers == {"X-Upload-Content-Type": "x/y", "X-Upload-Content-Length": str(len(DATA))}
    assert sum(told) == len(DATA)
    assert list(folder.iterdir()) == []


def test_a_broken_connection_is_gone_on_from_where_the_service_is(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    # The service keeps less than was sent: what it says counts, not what we think.
    service.breaks_at = [MIB, 3 * MIB - 7]
    told = upload(api, path, folder)
    assert service.objects == {"big": DATA}
    assert [span.split("-")[0] for span in service.sent] == [
        "bytes 0", f"bytes */{len(DATA)}", f"bytes {MIB}", f"bytes */{len(DATA)}", f"bytes {3 * MIB - 7}",
    ]  # fmt: skip
    assert sum(told) == len(DATA)


def test_a_service_that_kept_nothing_gets_everything_again(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.breaks_at = [0]
    upload(api, path, folder)
    assert service.sent[-1].startswith("bytes 0-")
    assert service.objects == {"big": DATA}


def test_a_lost_last_answer_does_not_send_the_file_again(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.loses_last_answer = True
    upload(api, path, folder)
    assert service.received == len(DATA)


def test_errors_while_asking_how_much_has_arrived_are_tried_again(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.breaks_at = [MIB]
    service.status_of_status = [503, 429, 500]
    upload(api, path, folder)
    assert service.objects == {"big": DATA}


def test_a_killed_upload_goes_on_in_the_next_process(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=3 * MIB)
    (kept,) = folder.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    told = upload(api, path, folder)
    assert len(service.sessions) == 1
    assert service.received == len(DATA) - 3 * MIB
    assert service.objects == {"big": DATA}
    assert sum(told) == len(DATA)
    assert list(folder.iterdir()) == []


def test_an_upload_that_was_complete_when_it_was_killed_sends_nothing(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=len(DATA))
    upload(api, path, folder)
    assert service.received == 0
    assert service.sent == [f"bytes */{len(DATA)}"]


def test_a_session_that_the_service_has_forgotten_is_begun_anew(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=3 * MIB)
    service.sessions.clear()
    upload(api, path, folder)
    assert service.objects == {"big": DATA}
    assert service.received == len(DATA)


def test_a_session_that_can_no_longer_succeed_is_begun_anew_and_remembered(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=3 * MIB)
    service.status_of_status = [400]
    interrupted(api, path, folder, service, at=2 * MIB)
    upload(api, path, folder)
    assert len(service.sessions) == 2
    assert service.received == len(DATA) - 2 * MIB


def test_a_new_session_that_is_refused_is_an_error_and_not_remembered(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.breaks_at = [MIB]
    service.status_of_status = [412]
    with pytest.raises(errors.FailedPrecondition):
        upload(api, path, folder)
    assert list(folder.iterdir()) == []


def test_a_service_that_forgets_every_session_is_given_up(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.breaks_at = [MIB] * 10
    service.status_of_status = [410] * 10
    with pytest.raises(errors.Unavailable, match="forgets"):
        upload(api, path, folder)
    assert len(service.sessions) == 3


@pytest.mark.parametrize("change", ["content", "service", "week", "damage"])
def test_what_is_remembered_of_something_else_is_not_gone_on_from(
    api: ObjectsApi, service: Service, path: Path, folder: Path, change: str
) -> None:
    interrupted(api, path, folder, service, at=3 * MIB)
    (kept,) = folder.iterdir()
    if change == "content":
        # Of the same size, and even the same bytes: only its time tells.
        os.utime(path, ns=(1, 1))
    elif change == "week":
        kept.write_text(json.dumps({**json.loads(kept.read_text()), "started": time.time() - 8 * 86400}))
    elif change == "damage":
        kept.write_text('{"url": 7')
    upload(api, path, folder, service="https://other.test" if change == "service" else SERVICE)
    assert len(service.sessions) == 2
    assert service.received == len(DATA)


def test_what_is_remembered_of_long_ago_is_dropped(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=MIB)
    (kept,) = folder.iterdir()
    os.utime(kept, (0, 0))
    os.utime(path, ns=(1, 1))
    upload(api, path, folder)
    assert list(folder.iterdir()) == []


def test_two_processes_never_feed_one_session(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    interrupted(api, path, folder, service, at=MIB)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
    with UploadSessions(SERVICE, folder).open("gs://bucket/big", path, status) as other:
        assert other.url is not None
        upload(api, path, folder)
        assert len(service.sessions) == 2
    # The first one's session is still there for it.
    assert len(list(folder.iterdir())) == 1


def test_uploads_work_without_a_cache(api: ObjectsApi, service: Service, path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    service.breaks_at = [MIB]
    upload(api, path, tmp_path / "file" / "no folder")
    assert service.objects == {"big": DATA}


def test_a_file_that_changes_while_it_is_sent_never_becomes_an_object(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    def progress(done: int) -> None:
        with path.open("r+b") as file:
            file.write(b"other")
        os.utime(path, ns=(1, 1))

    resumable = ResumableUpload(api, path, "big", "x/y", patience=Patience(), progress=progress)
    with pytest.raises(FileChanged):
        resumable.run(UploadSessions(SERVICE, folder))
    assert service.objects == {}


def test_a_file_that_shrinks_while_it_is_sent_never_becomes_an_object(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    resumable = ResumableUpload(
        api, path, "big", "x/y", patience=Patience(), progress=lambda done: os.truncate(path, 2 * MIB)
    )
    with pytest.raises(FileChanged):
        resumable.run(UploadSessions(SERVICE, folder))
    assert service.objects == {}


def test_a_damaged_object_is_deleted_in_that_generation(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    service.damage = lambda data: b"X" + data[1:]
    with pytest.raises(errors.ChecksumMismatch, match="gs://bucket/big"):
        upload(api, path, folder)
    assert service.deleted == [{"ifGenerationMatch": "5"}]
    assert list(folder.iterdir()) == []


def test_an_interruption_ends_it_between_two_blocks_and_it_can_go_on(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    patience = Patience()
    resumable = ResumableUpload(
        api, path, "big", "x/y", patience=patience, progress=lambda done: patience.stop.set()
    )
    with pytest.raises(Stopped):
        resumable.run(UploadSessions(SERVICE, folder))
    assert service.objects == {}
    assert service.received <= 2 * MIB
    upload(api, path, folder)
    assert len(service.sessions) == 1


def test_a_service_that_stays_away_is_given_up(
    api: ObjectsApi, service: Service, path: Path, folder: Path
) -> None:
    api._clients.http.request.side_effect = requests.ConnectionError("refused")  # type: ignore[attr-defined] # an autospec
    with pytest.raises(errors.Unavailable, match="refused"):
        ResumableUpload(
            api, path, "big", "x/y", patience=Patience(seconds=0.2), progress=lambda done: None
        ).run(UploadSessions(SERVICE, folder))
