"""Instances on their way to a real Cloud Storage API, and found there again."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tf_records import record

import vertexkit as vk
from tests.conftest import RunningEmulator
from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._transfer import shards
from vertexkit.batch_about import origins, refused
from vertexkit.batch_input import BatchInput, InstanceConfig
from vertexkit.batch_source import understand_source
from vertexkit.batch_uris import expanded, head
from vertexkit.session import Session
from vertexkit.types import Signature, TensorSpec

OUT = {"y": TensorSpec("y", "float32", (None, 2))}
NUMBERS = Signature({"x": TensorSpec("x", "float32", (None, 2))}, OUT)
ENCODED = Signature({"image": TensorSpec("image", "string", (None,))}, OUT)


@pytest.fixture
def session(emulator: RunningEmulator, project: str) -> Iterator[Session]:
    with vk.connect(project=project, emulator=emulator.rest, progress=False) as connected:
        yield connected


@pytest.fixture
def context(session: Session) -> Context:
    return session._context


def content(session: Session, given: BatchInput) -> list[bytes]:
    return [session.bucket.read(found.name) for found in expanded(session._context, given.uris)]


def test_shards_are_read_in_the_order_in_which_they_were_written(
    session: Session, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    monkeypatch.setattr("vertexkit.batch_rows._BLOCK_BYTES", 100)
    values = np.arange(4000, dtype=np.float32).reshape(-1, 2)
    given = understand_source(context, values, signature=NUMBERS).stage(context, "p/input")
    parts = content(session, given)
    assert len(parts) > 20
    lines = b"".join(parts).splitlines()
    assert lines[1999] == b'{"vertexkit_key":"1999","x":[3998.0,3999.0]}'
    assert len(lines) == 2000
    assert given.count == 2000
    # What was written is a source like any other.
    config = InstanceConfig(key_field="vertexkit_key")
    for source in (given.uris[0], f"{session.bucket.uri}/p/input"):
        again = understand_source(context, source, signature=NUMBERS, config=config)
        assert again.findings == ()
        assert again.ready is not None
        assert len(list(expanded(context, again.ready.uris))) == len(parts)
    given.undo()
    assert session.bucket.list() == []


def test_images_are_sent_with_a_list_of_them(session: Session, context: Context, tmp_path: Path) -> None:
    for name in ("1 [a].png", "2.png", "sub/ü.jpg", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    understood = understand_source(context, tmp_path, signature=ENCODED)
    assert understood.findings == ()
    given = understood.stage(context, "p")
    (listed,) = content(session, given)
    uris = listed.decode().splitlines()
    folder = f"{session.bucket.uri}/p/files"
    assert uris == [f"{folder}/1 [a].png", f"{folder}/2.png", f"{folder}/sub/ü.jpg"]
    assert [session.bucket.read(uri) for uri in uris] == [
        name.encode() for name in ("1 [a].png", "2.png", "sub/ü.jpg")
    ]
    assert (given.format, given.count) == ("file-list", 3)
    paths = [tmp_path / "sub/ü.jpg", tmp_path / "2.png"]
    given = understand_source(context, paths, signature=ENCODED).stage(context, "q")
    assert [(one.index, one.file, one.number) for one in origins(context, given.uris)] == [
        (0, str(paths[0]), None),
        (1, str(paths[1]), None),
    ]
    session.cleanup()
    assert not session.bucket.exists() or session.bucket.list() == []


def test_files_of_records_go_as_they_are_in_the_callers_order(
    session: Session, context: Context, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("b[1].tfrecord", "a.tfrecord")]
    for path in paths:
        path.write_bytes(record(path.name.encode()))
    understood = understand_source(context, paths, signature=ENCODED)
    assert understood.findings == ()
    given = understood.stage(context, "p")
    assert content(session, given) == [path.read_bytes() for path in paths]
    assert given.format == "tf-record"
    packed = tmp_path / "c.tfrecord.gz"
    packed.write_bytes(gzip.compress(record(b"c")))
    given = understand_source(context, packed, signature=ENCODED).stage(context, "q")
    assert given.format == "tf-record-gzip"
    assert content(session, given) == [packed.read_bytes()]


def test_refused_lines_are_found_again(session: Session, context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"[1, 2]\n" + b"oops\n" * 100)
    given = understand_source(context, path, signature=NUMBERS).stage(context, "p")
    assert [one.index for one in refused(context, given.uris)] == list(range(1, 101))
    assert content(session, given) == [b'{"vertexkit_key":"0","x":[1, 2]}\n']


def test_only_the_head_of_an_object_is_read(session: Session, context: Context) -> None:
    session.bucket.write("a.jsonl", b"[1, 2]\n" * 1_000_000)
    (found,) = expanded(context, [f"{session.bucket.uri}/a.jsonl"])
    assert head(context, found, 100) == ((b"[1, 2]\n" * 15)[:100], False)
    assert understand_source(context, found.uri, signature=NUMBERS).findings == ()


def test_a_bucket_that_refuses_is_told_and_left_as_it_was(
    session: Session,
    context: Context,
    inject: Callable[..., Callable[[], list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    monkeypatch.setattr("vertexkit.batch_rows._BLOCK_BYTES", 100)
    session.bucket.write("mine", b"")
    understood = understand_source(context, np.zeros((500, 2), np.float32), signature=NUMBERS)
    struck = inject({"storage": "POST /upload/*", "status": 403, "skip": 3})
    with pytest.raises(errors.PermissionDenied):
        understood.stage(context, "p")
    assert struck()[0] > 0
    assert [one.name for one in session.bucket.list()] == ["mine"]


@pytest.mark.parametrize("fault", [{"status": 503}, {"reset": True, "after_work": True}])
def test_what_fails_in_passing_is_sent_again(
    fault: dict[str, Any],
    session: Session,
    context: Context,
    inject: Callable[..., Callable[[], list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    monkeypatch.setattr("vertexkit.batch_rows._BLOCK_BYTES", 100)
    understood = understand_source(context, np.zeros((500, 2), np.float32), signature=NUMBERS)
    struck = inject({"storage": "POST /upload/*", "skip": 2, "times": 3, **fault})
    given = understood.stage(context, "p")
    assert struck() == [3]
    lines = b"".join(content(session, given)).splitlines()
    assert len(lines) == 500
    assert [line.split(b'"')[3] for line in lines] == [b"%d" % index for index in range(500)]
