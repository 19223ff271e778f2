"""Which result belongs to which instance, where a job gives back the instance and not its number.

Two instances are equal when their JSON values are: ``1`` and ``1.0``, whatever the white space and the order
of the fields. Equal instances take their results in turn, for none can be told from another; apart from
that nothing is guessed. Knows neither jobs nor files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

__all__ = ["DIGEST_BYTES", "DigestIndex", "digest", "key_digest", "value_digest"]

DIGEST_BYTES: Final = 16
_EXACT: Final = 2.0**53
"""From here on a float may stand for several integers."""
_NUMBER: Final = re.compile(r"-?\d{1,19}(?:\.\d{0,17}[1-9])?", re.ASCII)


def digest(text: bytes) -> bytes:
    """What stands for an instance as it is written."""
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def value_digest(value: Any) -> bytes:
    """What stands for an instance as a JSON value, however it is written."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    _feed(state, value)
    return state.digest()


def key_digest(value: Any) -> bytes:
    """What stands for a key, which some formats give back as text, others as a number."""
    # Only the one way in which a number is written: "007", "1e3" and "1_000" are names, each of its own.
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value) if "." in value else int(value)
        if repr(number) == value:
            return value_digest(number)
    return value_digest(value)


class DigestIndex:
    """Entries by what stands for their instances; about 40 bytes of memory for each.

    Args:
        digests: What stands for the instance of each entry, one after another.
        taken: For each entry, whether it has its instance already; changed here, and shared with other
            indexes of the same entries.
    """

    def __init__(self, digests: bytes | bytearray, taken: bytearray) -> None:
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        self._order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: equal ones stay in their order
        self._first, self._second = halves[self._order, 0], halves[self._order, 1]
        self._taken = taken
        self._next = np.zeros(len(self._order), dtype=np.int64)
        """By the place of the first of equals, how many of them are known to be taken."""

    def take(self, digests: Sequence[bytes], *, only: bytearray | None = None) -> list[int]:
        """An entry that nobody has taken for each of these instances; -1 where there is none.

        Args:
            digests: What stands for the instances.
            only: For each entry, whether it may be one; None for any.
        """
        if not digests:
            return []
        wanted = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
        starts = np.searchsorted(self._first, wanted[:, 0], "left").tolist()
        stops = np.searchsorted(self._first, wanted[:, 0], "right").tolist()
        seconds = wanted[:, 1].tolist()
        return [
            self._take(start, stop, second, only) if start < stop else -1
            for start, stop, second in zip(starts, stops, seconds, strict=True)
        ]

    def _take(self, start: int, stop: int, second: int, only: bytearray | None) -> int:
        # All but never does the first half alone leave more than one to choose from.
        start, stop = (
            start + int(np.searchsorted(self._second[start:stop], second, side)) for side in ("left", "right")
        )
        if start == stop:
            return -1
        place = start + int(self._next[start])
        while place < stop and self._taken[self._order[place]]:
            place += 1
        self._next[start] = place - start
        while only is not None and place < stop and not self._is(only, place):
            place += 1
        if place == stop:
            return -1
        entry = int(self._order[place])
        self._taken[entry] = 1
        return entry

    def _is(self, only: bytearray, place: int) -> bool:
        entry = self._order[place]
        return bool(only[entry]) and not self._taken[entry]

    def all_of(self, digest: bytes) -> list[int]:
        """The entries of an instance, taken or not."""
        first, second = np.frombuffer(digest, dtype="<u8")
        start, stop = (int(np.searchsorted(self._first, first, side)) for side in ("left", "right"))
        return [int(self._order[place]) for place in range(start, stop) if self._second[place] == second]

    def repeated(self) -> Iterable[list[int]]:
        """The entries that have their digest with others, group by group."""
        same = (self._first[1:] == self._first[:-1]) & (self._second[1:] == self._second[:-1])
        group: list[int] = []
        for place in np.flatnonzero(same).tolist():
            entry, following = int(self._order[place]), int(self._order[place + 1])
            if group and group[-1] == entry:
                group.append(following)
                continue
            if group:
                yield group
            group = [entry, following]
        if group:
            yield group


def _feed(state: Any, value: Any) -> None:
    """Add a value so that equal values add the same bytes, and others others."""
    if isinstance(value, list):
        array = _numbers(value)
        if array is not None:
            state.update(b"n%d:" % array.ndim + repr(array.shape).encode())
            # Adding 0 makes 0 of -0.
            state.update((array + 0.0).tobytes())
            return
        state.update(b"[%d:" % len(value))
        for item in value:
            _feed(state, item)
    elif isinstance(value, Mapping):
        state.update(b"{%d:" % len(value))
        for name in sorted(value):
            _feed(state, name)
            _feed(state, value[name])
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        state.update(b"s%d:" % len(text) + text)
    elif isinstance(value, bool) or value is None:
        state.update(b"c" + repr(value).encode())
    else:
        whole = isinstance(value, int) or value.is_integer()
        state.update(b"i%d;" % int(value) if whole else b"f" + repr(float(value)).encode() + b";")


def _numbers(value: list[Any]) -> np.ndarray[Any, Any] | None:
    """A list of numbers, or of equal lists of numbers, at the speed of numpy; None for any other."""
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, bool) or not isinstance(first, int | float):
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if array.dtype.kind not in "iuf":
        return None
    numbers = array.astype(np.float64, copy=False)  # first, for the least integer has no absolute value
    if not np.all(np.abs(numbers) < _EXACT):
        return None
    written = orjson.dumps(value)  # numpy takes a truth value among numbers for a number
    if b"true" in written or b"false" in written:
        return None
    return numbers
