"""What the batch engine is given in its tests: objects that are bytes, and a model that is a function."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tf_records import record

from vertexkit.emulator.batch.asking import Patience
from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import (
    Answer,
    BatchEnd,
    BatchSpec,
    InputFormat,
    InputMissing,
    NoAnswer,
)

A, B = "gs://bucket/a.jsonl", "gs://bucket/b.jsonl"
JSON = st.recursive(
    st.none()
    | st.booleans()
    # No tensor holds a larger one, and no model server answers with it.
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ANY_FOLDER = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
IMPATIENT = Patience(delays=(0.0, 0.0), unanswered=1000)


class _Short(io.RawIOBase):
    """Gives fewer bytes at a time than are asked for."""

    def __init__(self, content: bytes, most: int) -> None:
        self._file, self._most = io.BytesIO(content), most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(min(len(buffer), self._most))
        buffer[: len(content)] = content
        return len(content)


class Objects:
    """Sources in memory; counts what is open."""

    def __init__(self, objects: Mapping[str, bytes], *, most: int = 2**30) -> None:
        self.objects = dict(objects)
        self.opened: list[_Short] = []
        self._most = most

    def open(self, uri: str) -> BinaryIO:
        if uri not in self.objects:
            raise InputMissing(f"{uri} is not there")
        file = _Short(self.objects[uri], self._most)
        self.opened.append(file)
        return file  # type: ignore[return-value]

    def size(self, uri: str) -> int:
        if uri not in self.objects:
            raise InputMissing(f"{uri} is not there")
        return len(self.objects[uri])


class Model:
    """Answers every instance with itself in a list; refuses requests that are no JSON, as the real one does.

    Args:
        refuses: Says of an instance whether a request that holds it is answered with 400.
    """

    def __init__(self, refuses: Callable[[Any], bool] = lambda instance: False) -> None:
        self._refuses = refuses
        self._lock = threading.Lock()
        self.bodies: list[bytes] = []

    def __call__(self, body: bytes) -> Answer:
        with self._lock:
            self.bodies.append(body)
        try:
            document = json.loads(body.decode(), parse_constant=_refuse)
        except ValueError as error:
            return Answer(422, json.dumps({"error": f"Invalid JSON: {error}"}).encode())
        if not isinstance(document, dict) or not isinstance(document.get("instances"), list):
            return Answer(422, b'{"error":"no instances"}')
        for instance in document["instances"]:
            if self._refuses(instance):
                return Answer(400, json.dumps({"error": f"The model refuses {instance!r:.40}"}).encode())
        predictions = [[instance] for instance in document["instances"]]
        return Answer(200, json.dumps({"predictions": predictions}, separators=(",", ":")).encode())


class Flaky:
    """A model whose every so many requests go wrong first."""

    def __init__(self, model: Model, every: int, what: Answer | NoAnswer) -> None:
        self._model, self._every, self._what = model, every, what
        self._asked = 0

    def __call__(self, body: bytes) -> Answer:
        self._asked += 1
        if self._asked % self._every == 0:
            if isinstance(self._what, NoAnswer):
                raise self._what
            return self._what
        return self._model(body)


def spec(uris: Sequence[str], input_format: InputFormat = InputFormat.JSONL, **changes: Any) -> BatchSpec:
    """A job over these objects."""
    return BatchSpec(input_format, tuple(uris), **changes)


def answer(
    what: BatchSpec,
    sources: Objects,
    folder: Path,
    predict: Callable[[bytes], Answer] | None = None,
    patience: Patience = IMPATIENT,
) -> BatchEnd:
    """Do a whole job."""
    run = BatchRun(what, sources, predict or Model(), folder, patience=patience)
    end = run.run(threading.Event())
    assert end.complete
    assert all(file.closed for file in sources.opened)
    return end


def results(end: BatchEnd) -> list[Any]:
    """The lines of all results, shard by shard."""
    return [json.loads(line) for path in end.results for line in path.read_bytes().splitlines()]


def errors(end: BatchEnd) -> list[Any]:
    """The lines of all errors, shard by shard."""
    return [json.loads(line) for path in end.errors for line in path.read_bytes().splitlines()]


def bytes_of(instances: list[Any], end: bytes = b"\n") -> bytes:
    """Instances as JSON, one a line."""
    return end.join(json.dumps(instance).encode() for instance in instances)


def fresh(folder: Path) -> Path:
    """A folder for every example: hypothesis gives them all the same tmp_path."""
    return folder / str(len(list(folder.iterdir())))


def tf_record(*contents: bytes) -> bytes:
    """A TFRecord file."""
    return b"".join(map(record, contents))


def _refuse(name: str) -> None:
    raise ValueError(name)
