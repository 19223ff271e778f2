"""What a batch prediction job has answered, in the order of its input.

The results lie on the disk (`Spool`); which of them belongs to which instance is found out once, and told
apart from what it is about: 8 bytes an instance.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final

import numpy as np

from vertexkit.batch_files import Origin
from vertexkit.batch_matching import DigestIndex, digest, key_digest, value_digest
from vertexkit.batch_records import NO_KEY, Record
from vertexkit.batch_spool import Spool, prediction_of
from vertexkit.errors import BatchPredictionFailed
from vertexkit.json_text import dumps, loads

__all__ = [
    "BatchFailure",
    "BatchResults",
    "BatchRow",
    "located_by_instance",
    "located_by_position",
    "unordered",
]

_CHUNK: Final = 4096
_REASONS: Final = 3
_LEFT: Final = -1
"""Where nothing was written of an instance."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One instance of a batch prediction job, and what became of it."""

    index: int
    """Its position in the input, from 0; -1 in rows that are not in order."""
    instance: Any
    """The instance as JSON has it, without a key; of tf-record its bytes, of csv its cells by column, of
    file-list its ``gs://`` URI, or its path on the machine that it was sent from."""
    prediction: Any
    """What the model answered, as JSON has it: a value, or values by output. None if it failed."""
    error: str | None
    """Why there is no prediction; None if there is one. Of what was in a file on the machine that it was sent
    from, first where: ``in.csv, line 4: ...``."""
    key: Any = None
    """The instance's own key (see ``key_field``); None if it has none."""


@dataclass(frozen=True, slots=True)
class BatchFailure:
    """An instance without a prediction."""

    index: int
    """Its position in the input, from 0."""
    instance: Any
    """See `BatchRow`."""
    reason: str
    """Why, in the service's words; see `BatchRow.error`."""
    key: Any = None
    """See `BatchRow`."""

    def __str__(self) -> str:
        """``instance 17: ...``."""
        return f"instance {self.index}: {self.reason}"


class BatchResults:
    """The results of one job that is over.

    Args:
        spool: Its lines.
        entries: By position in the input, the entry of the spool; -1 for none.
        records: Reads the input again.
        otherwise: What to say of an instance of which nothing was written.
        key_field: What the instances' own keys are called; None if they have none.
        origins: Reads where they were on the machine that they were sent from.
        kind: The format of the input.
    """

    def __init__(
        self,
        spool: Spool,
        entries: np.ndarray[Any, np.dtype[np.int64]],
        records: Callable[[], Iterator[Record]],
        *,
        otherwise: str,
        key_field: str | None = None,
        origins: Callable[[], Iterator[Origin]] = lambda: iter(()),
        kind: str = "jsonl",
    ) -> None:
        self._spool = spool
        self._entries = entries
        self._records = records
        self._otherwise = otherwise
        self.key_field = key_field
        self._origins = origins
        self._kind = kind

    def __len__(self) -> int:
        return len(self._entries)

    @cached_property
    def failed(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The positions of the instances that have no prediction."""
        is_error = np.frombuffer(self._spool.is_error, dtype=np.bool_)
        lost = self._entries == _LEFT
        if len(is_error):
            lost |= is_error[self._entries]  # those of -1 are lost anyway
        return np.flatnonzero(lost)

    def rows(self) -> Iterator[BatchRow]:
        """Every instance with its prediction, in order; little of it is in memory at a time."""
        records, where = self._records(), self._where()
        for index in range(len(self)):
            record = next(records, None)
            prediction, error = self._answer(index)
            told = None if error is None else where.told(index, error)
            yield BatchRow(index, self._instance(index, record, where), prediction, told, self._key(record))

    def failures(self) -> Iterator[BatchFailure]:
        """The instances that have no prediction, in order."""
        failed = self.failed.tolist()
        if not failed:
            return
        records, where, at = self._records(), self._where(), 0
        for index in failed:
            record = next(islice(records, index - at, None), None)
            at = index + 1
            why = where.told(index, self._answer(index)[1] or self._otherwise)
            yield BatchFailure(index, self._instance(index, record, where), why, self._key(record))

    def reasons(self, most: int) -> dict[int, str]:
        """Why the first few failed, by position, without reading the input."""
        where = self._where()
        return {
            index: where.told(index, self._answer(index)[1] or "") for index in self.failed[:most].tolist()
        }

    def predictions(self) -> Iterator[list[Any]]:
        """The predictions that there are, in order, some thousands at a time."""
        there = np.ones(len(self), dtype=np.bool_)
        there[self.failed] = False
        entries = self._entries[there]
        line = self._spool.line
        for start in range(0, len(entries), _CHUNK):
            yield [prediction_of(line(entry)) for entry in entries[start : start + _CHUNK].tolist()]

    def _where(self) -> _Where:
        return _Where(self._origins, "record" if self._kind == "tf-record" else "line")

    def _instance(self, index: int, record: Record | None, where: _Where) -> Any:
        name = where.file(index) if self._kind == "file-list" else None
        return name or (None if record is None else record.read())

    def _key(self, record: Record | None) -> Any:
        known = record is not None and record.key is not NO_KEY and self.key_field is not None
        return record.key if known and record is not None else None

    def _answer(self, index: int) -> tuple[Any, str | None]:
        """The prediction, or why there is none."""
        entry = int(self._entries[index])
        if entry == _LEFT:
            return None, self._unexplained
        if self._spool.is_error[entry]:
            return None, self._spool.failure(entry)
        return prediction_of(self._spool.line(entry)), None

    @cached_property
    def _unexplained(self) -> str:
        reasons = [*self._spool.reasons]
        if len(reasons) == 1:
            return reasons[0]
        if reasons:
            more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
            return f"the service does not say which of these: {'; '.join(reasons[:_REASONS])}{more}"
        return self._otherwise


class _Where:
    """Where instances were on the machine that they were sent from; asked in their order.

    Args:
        origins: Reads that; only when something is asked.
        unit: What files are made of: ``"line"``.
    """

    def __init__(self, origins: Callable[[], Iterator[Origin]], unit: str) -> None:
        self._read = origins
        self._unit = unit
        self._here: Origin | None = None

    @cached_property
    def _origins(self) -> deque[Origin]:
        """The next one, if there is one."""
        self._rest = self._read()
        return deque(islice(self._rest, 1))

    def _at(self, index: int) -> Origin | None:
        while self._origins and self._origins[0].index <= index:
            self._here = self._origins.popleft()
            self._origins.extend(islice(self._rest, 1))
        return self._here

    def file(self, index: int) -> str | None:
        """The file that is itself the instance."""
        here = self._at(index)
        return here.file if here is not None and here.number is None else None

    def told(self, index: int, why: str) -> str:
        """What is wrong with an instance, and where that is."""
        here = self._at(index)
        if here is None:
            return why
        if here.number is None:
            return f"{here.file}: {why}"
        return f"{here.file}, {self._unit} {here.number + index - here.index}: {why}"


def unordered(spool: Spool) -> Iterator[BatchRow]:
    """The lines as they lie in the files."""
    for entry in range(len(spool)):
        value = loads(spool.line(entry))
        error = spool.failure(entry) if spool.is_error[entry] else None
        yield BatchRow(-1, value.get("instance"), value.get("prediction"), error, value.get("key"))


def located_by_position(spool: Spool, count: int | None, *, job: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """By position, the entry of each instance whose key is its position.

    Args:
        spool: The lines.
        count: How many instances there were; None for as many as are told of.
        job: Resource name of the job, for errors.

    Raises:
        BatchPredictionFailed: One has several predictions.
    """
    positions = np.frombuffer(spool.positions, dtype=np.int64) if len(spool) else np.zeros(0, np.int64)
    told = int(positions.max()) + 1 if len(positions) else 0
    if count is not None and told > count:
        raise BatchPredictionFailed(
            f"there is a result for instance {told - 1}, and there were {count} instances", job=job
        )
    entries = np.full(told if count is None else count, _LEFT, dtype=np.int64)
    numbers = np.arange(len(positions))
    is_error = np.frombuffer(spool.is_error, dtype=np.bool_) if len(spool) else np.zeros(0, np.bool_)
    # A prediction counts more than an error of an attempt before it.
    entries[positions[is_error]] = numbers[is_error]
    entries[positions[~is_error]] = numbers[~is_error]
    good = positions[~is_error]
    if len(good) > np.count_nonzero(np.bincount(good, minlength=1)):
        _refuse_two_answers(spool, entries, numbers[~is_error].tolist(), job)
    return entries


def located_by_instance(
    spool: Spool, records: Iterator[Record], *, keyed: bool, job: str
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """By position, the entry of each instance, which is found by its key or by itself.

    Args:
        spool: The lines.
        records: The instances, in order.
        keyed: Whether instances are found by their keys.
        job: Resource name of the job, for errors.

    Raises:
        BatchPredictionFailed: What belongs to what cannot be told for certain.
    """
    taken = bytearray(len(spool))
    index = DigestIndex(spool.digests, taken)
    by_value: DigestIndex | None = None
    if keyed:
        _fail_shared_keys(spool, index)
    entries = array("q")
    left = len(spool)
    while chunk := list(islice(records, _CHUNK)):
        found = index.take([_written(record) for record in chunk])
        left -= sum(entry != _LEFT for entry in found)
        if keyed:
            _fail_lost_keys(spool, index, chunk, found)
        missed = [place for place, entry in enumerate(found) if entry == _LEFT]
        for place in missed if left else ():
            found[place] = _as_text(index, chunk[place], spool.is_error)
            if found[place] == _LEFT:
                by_value = by_value or DigestIndex(spool.value_digests(), taken)
                found[place] = _by_value(by_value, chunk[place], spool.is_error)
            left -= found[place] != _LEFT
        entries.extend(found)
    if left:
        _refuse_left_over(spool, taken, keyed=keyed, job=job)
    spool.forget_digests()
    return np.frombuffer(entries, dtype=np.int64) if entries else np.zeros(0, np.int64)


def _written(record: Record) -> bytes:
    return digest(record.text) if record.key is NO_KEY else key_digest(record.key)


def _as_text(index: DigestIndex, record: Record, is_error: bytearray) -> int:
    """What is no instance fails under its text: that saves a look at the value of every result."""
    if record.key is not NO_KEY:
        return _LEFT
    texts = [digest(dumps(text)) for text in record.texts()]
    return next((entry for text in texts if (entry := index.take([text], only=is_error)[0]) != _LEFT), _LEFT)


def _by_value(index: DigestIndex, record: Record, is_error: bytearray) -> int:
    if record.key is not NO_KEY:
        return _LEFT  # a key has been looked for by its value already
    for value in record.values():
        (entry,) = index.take([value_digest(value)])
        if entry != _LEFT:
            return entry
    texts = map(value_digest, record.texts())
    return next((entry for text in texts if (entry := index.take([text], only=is_error)[0]) != _LEFT), _LEFT)


def _refuse_two_answers(
    spool: Spool, entries: np.ndarray[Any, np.dtype[np.int64]], numbers: list[int], job: str
) -> None:
    for entry in numbers:
        position = spool.positions[entry]
        other = int(entries[position])
        if other != entry and spool.line(other) != spool.line(entry):
            raise BatchPredictionFailed(
                f"there are two predictions for instance {position}, and they differ", job=job
            )


def _fail_shared_keys(spool: Spool, index: DigestIndex) -> None:
    """Of instances with one key, and results that differ, none is known to have one of these."""
    for group in index.repeated():
        first, *others = (spool.line(entry) for entry in group)
        if any(other != first for other in others):
            _fail(spool, group, loads(first).get("key"))


def _fail_lost_keys(spool: Spool, index: DigestIndex, chunk: list[Record], found: list[int]) -> None:
    """The same, of instances of which one has no result: it is not known which."""
    for place, record in enumerate(chunk):
        if found[place] == _LEFT and record.key is not NO_KEY:
            group = index.all_of(key_digest(record.key))
            if group:
                _fail(spool, group, record.key)
                found[place] = group[0]


def _fail(spool: Spool, group: list[int], key: Any) -> None:
    for entry in group:
        spool.fail(
            entry,
            f"several instances have the key {key!r}, and which of them has which result is not to be told: "
            "give every instance a key of its own, or see rows(in_order=False)",
        )


def _refuse_left_over(spool: Spool, taken: bytearray, *, keyed: bool, job: str) -> None:
    """Refuse results that belong to no instance; errors that do become reasons."""
    over = 0
    example = b""
    for entry, is_taken in enumerate(taken):
        if is_taken:
            continue
        if spool.is_error[entry]:
            spool.reasons.setdefault(spool.failure(entry))
            continue
        over += 1
        example = example or spool.line(entry)
    if over:
        what = "keys" if keyed else "instances"
        text = example[:200].decode("utf-8", "replace")
        raise BatchPredictionFailed(
            f"{over} of {len(spool)} results fit none of the {what} in the input, so that no order can be "
            f"told; the first of them is {text}",
            job=job,
            remedy="see whether the input has changed since; give instances a key (key_field=) in another "
            "job, or read rows(in_order=False)",
        )
