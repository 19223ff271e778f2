"""The lines that a batch prediction job has written, on the disk, and where each of them is.

A million results need not be in memory to be put in order: 21 bytes of each are, and while they are matched
with their instances another 50.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from vertexkit.batch_input import KEY_FIELD
from vertexkit.batch_job_state import without_place
from vertexkit.batch_matching import digest, key_digest, value_digest
from vertexkit.json_text import dumps, loads

__all__ = ["Spool", "lines_of", "prediction_of"]

_NAME = re.compile(rb'\s*\{\s*"(key|instance)"\s*:\s*')
_OWN_LINE = re.compile(rf'\{{"{KEY_FIELD}\d*":"(\d+)"')
_BLOCK: Final = 1 << 20
_NO_INSTANCE: Final = b"\0" * 16


class Spool:
    """Result lines and error lines, each an *entry* with a number; on the disk for as long as this is there.

    Args:
        positions: Whether the keys are positions in the input, as vertexkit writes them.
        written: Where the input is, if vertexkit has written it.
    """

    def __init__(self, *, positions: bool, written: tuple[str, ...] = ()) -> None:
        self._file = tempfile.TemporaryFile(prefix="vertexkit-")  # noqa: SIM115 - for as long as this
        self._at = 0
        self._offsets = array("q")
        self._lengths = array("q")
        weakref.finalize(self, self._file.close)
        self._positions = positions
        self._written = written
        self._failed: dict[int, str] = {}
        self.is_error = bytearray()
        """By entry, whether it says why its instance has no prediction."""
        self.positions = array("q")
        """By entry, its position in the input; empty where keys are no positions."""
        self.digests = bytearray()
        """By entry, what stands for its key, or for its instance as it is written; empty where keys are
        positions."""
        self.reasons: dict[str, None] = {}
        """What went wrong that names no instance, each once, in the order in which it came."""

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, lines: Iterable[bytes], *, errors: bool) -> None:
        """Take the lines of a file of results, or of errors."""
        pending: list[bytes] = []
        size = 0
        for raw in lines:
            line = raw.strip()
            if not line or not self._take(line, errors):
                continue
            self._offsets.append(self._at)
            self._lengths.append(len(line))
            self.is_error.append(errors)
            self._at += len(line)
            pending.append(line)
            size += len(line)
            if size >= _BLOCK:
                self._file.writelines(pending)
                pending, size = [], 0
        self._file.writelines(pending)
        self._file.flush()

    def line(self, entry: int) -> bytes:
        """The line of an entry. Thread-safe."""
        return os.pread(self._file.fileno(), self._lengths[entry], self._offsets[entry])

    def fail(self, entry: int, why: str) -> None:
        """Take an entry for an error, whatever it says."""
        self.is_error[entry] = 1
        self._failed[entry] = why

    @property
    def has_shared_keys(self) -> bool:
        """Whether predictions were taken for errors, since it is not to be told whose they are."""
        return bool(self._failed)

    def failure(self, entry: int) -> str:
        """Why the instance of an error line has no prediction."""
        if entry in self._failed:
            return self._failed[entry]
        return without_place(_message(loads(self.line(entry)).get("error")), self._written)

    def value_digests(self) -> bytearray:
        """As `digests`, but of instances as JSON values, however they are written."""
        found = bytearray()
        for entry in range(len(self)):
            value = loads(self.line(entry))
            found += key_digest(value["key"]) if "key" in value else value_digest(value.get("instance"))
        return found

    def forget_digests(self) -> None:
        """Give their memory back, once every entry has its instance."""
        self.digests = bytearray()

    def _take(self, line: bytes, errors: bool) -> bool:
        """Note what a line is about; False for one that names no instance."""
        found = _NAME.match(line)
        end = line.rfind(b'"error"' if errors else b'"prediction"')
        if found is None or end < found.end():
            return self._take_parsed(line, errors)
        is_key, text = found[1] == b"key", line[found.end() : end].rstrip(b" \t,")
        if self._positions:
            bare = text.strip(b'"')
            if not is_key or not bare.isdigit():
                return self._take_parsed(line, errors)
            self.positions.append(int(bare))
        elif is_key:
            try:
                self.digests += key_digest(loads(text))
            except ValueError:
                return self._take_parsed(line, errors)
        else:
            # Should the last "prediction" of the line be one inside the prediction, this is the digest of
            # nothing that was sent, and the instance is found by its value.
            self.digests += digest(text)
        return True

    def _take_parsed(self, line: bytes, errors: bool) -> bool:
        try:
            value = loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict) or not ("key" in value or "instance" in value):
            self.reasons.setdefault(_reason(line, value))
            return False
        if self._positions:
            key = value.get("key")
            if key is None and (cut := _OWN_LINE.match(str(value.get("instance")))) is not None:
                key = cut[1]  # of a line that the service has not read to its end
            if not isinstance(key, str | int) or not str(key).isdecimal():
                self.reasons.setdefault(_reason(line, value))
                return False
            self.positions.append(int(key))
        else:
            self.digests += key_digest(value["key"]) if "key" in value else digest(dumps(value["instance"]))
        return True


def prediction_of(line: bytes) -> Any:
    """The prediction of a result line."""
    # Most of a line is its instance, which need not be read to read what comes last.
    start = line.rfind(b'"prediction"') + len(b'"prediction"')
    tail = line[start:].lstrip()
    if tail.startswith(b":") and tail.endswith(b"}"):
        try:
            return orjson.loads(tail[1:-1])
        except orjson.JSONDecodeError:
            pass
    return loads(line).get("prediction")


def _reason(line: bytes, value: Any) -> str:
    if isinstance(value, dict):
        named = value.get("instance")
        message = _message(value.get("error", value))
        return f"{named}: {message}" if isinstance(named, str) else message
    # Vertex AI writes a Python tuple here: the message, and of how many instances.
    text = line.decode("utf-8", "replace")
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return str(parsed[0]) if isinstance(parsed, tuple) and parsed else text


def _message(error: Any) -> str:
    if isinstance(error, dict) and "message" in error:
        return str(error["message"])
    return error if isinstance(error, str) else dumps(error).decode()


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file."""
    with path.open("rb") as file:
        yield from file
