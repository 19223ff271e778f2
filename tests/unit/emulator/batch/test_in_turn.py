"""Lots worked on by several threads: kept in the order in which they were taken, and few held at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch.in_turn import InTurn


def counting(to: int) -> Callable[[], int | None]:
    """Takes 0, 1, 2, ..."""
    numbers = iter(range(to))
    return lambda: next(numbers, None)


@settings(deadline=None, max_examples=60)
@given(count=st.integers(0, 30), threads=st.integers(1, 5), room=st.integers(1, 8), slow=st.integers(0, 29))
def test_lots_are_kept_in_order_and_few_are_held(count: int, threads: int, room: int, slow: int) -> None:
    kept: list[tuple[int, int]] = []
    ahead = []

    def work(number: int) -> int:
        ahead.append(number - len(kept))
        if number == slow:
            time.sleep(0.002)
        return number * number

    lots = InTurn(counting(count), work, lambda lot, done: kept.append((lot, done)), room)
    assert lots.run(threads, threading.Event())
    assert kept == [(number, number * number) for number in range(count)]
    assert max(ahead, default=0) < room


@pytest.mark.parametrize("where", ["take", "work", "keep"])
def test_what_goes_wrong_is_raised_and_nothing_is_kept_after_it(where: str) -> None:
    kept: list[int] = []
    numbers = counting(100)

    def take() -> int | None:
        number = numbers()
        if where == "take" and number == 10:
            raise OSError("broken")
        return number

    def work(number: int) -> int:
        if where == "work" and number == 10:
            raise OSError("broken")
        return number

    def keep(number: int, done: int) -> None:
        if where == "keep" and number == 10:
            raise OSError("broken")
        kept.append(number)

    with pytest.raises(OSError, match="broken"):
        InTurn(take, work, keep, 4).run(3, threading.Event())
    assert kept == list(range(len(kept)))
    assert len(kept) <= 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch-")]


def test_cancelled_it_keeps_what_is_in_work() -> None:
    cancelled, kept = threading.Event(), []

    def work(number: int) -> int:
        if number == 5:
            cancelled.set()
        time.sleep(0.01)
        return number

    lots = InTurn(counting(10_000), work, lambda lot, done: kept.append(lot), 4)
    assert not lots.run(2, cancelled)
    assert 5 <= len(kept) < 100
    assert kept == list(range(len(kept)))
    assert lots.stopped()
