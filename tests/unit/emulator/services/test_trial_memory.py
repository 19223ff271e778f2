"""How many trials are let run, by the memory that there is."""

from __future__ import annotations

from vertexkit.emulator.services.trial_memory import TrialMemory

GIB = 2**30


class Machine:
    """Memory and time that a test sets."""

    def __init__(self, available: int | None, cores: int = 2) -> None:
        self.available = available
        self.taken: dict[str, int] = {}
        self.now = 0.0
        self.memory = TrialMemory(
            lambda: self.taken, available=lambda: self.available, cores=cores, now=lambda: self.now
        )

    def fill(self, most: int = 20, search: str = "s", first: int = 0) -> int:
        """Start as many trials as may be; how many."""
        for number in range(first, first + most):
            if self.memory.refusal(search):
                return number - first
            self.memory.started(search, f"{search}{number}")
        return most

    def look(self, seconds: float = 1.0, **taken: int) -> None:
        self.now += seconds
        self.taken.update(taken)
        self.memory.look()


def test_a_few_are_started_before_it_is_known_what_one_takes() -> None:
    assert Machine(1000 * GIB, cores=2).fill() == 4
    assert Machine(1000 * GIB, cores=16).fill() == 16
    machine = Machine(1000 * GIB)
    machine.fill()
    assert "4 trials run, and no more until it is known" in machine.memory.refusal("s")


def test_what_is_guessed_of_a_trial_has_to_be_there() -> None:
    assert Machine(7 * GIB).fill() == 3
    assert Machine(1 * GIB).fill() == 1, "one may always run"


def test_once_one_has_ended_there_are_as_many_as_there_is_room_for() -> None:
    machine = Machine(22 * GIB)
    machine.fill()
    machine.look(s0=3 * GIB, s1=1 * GIB, s2=1 * GIB, s3=1 * GIB)
    machine.available = 16 * GIB
    machine.memory.ended("s", "s0", succeeded=True)
    del machine.taken["s0"]
    machine.available = 19 * GIB
    # 3 run that will grow to 3.3 GiB each, which leaves 12.1 GiB: room for 3 more.
    machine.look()
    assert machine.fill(first=4) == 3
    assert "6 run, one takes up to 3.3 GiB" in machine.memory.refusal("s")


def test_looking_takes_a_small_share_of_the_time() -> None:
    times, spent = [], [0.0]

    def take() -> dict[str, int]:
        times.append(now[0])
        spent[0] += 0.1
        return {}

    now = [0.0]
    memory = TrialMemory(take, available=lambda: None, now=lambda: now[0], spent=lambda: spent[0])
    memory.look()
    assert not times, "nothing runs"
    memory.started("s", "s0")
    for tenth in range(120):
        now[0] = tenth / 10
        memory.look()
    assert times == [0.0, 5.0, 10.0]


def test_one_that_ended_before_it_was_looked_at_is_a_small_one() -> None:
    machine = Machine(22 * GIB)
    machine.fill()
    machine.memory.ended("s", "s0", succeeded=True)
    assert machine.fill(first=4) == 20


def test_one_that_failed_shows_no_more_than_what_it_took() -> None:
    machine = Machine(22 * GIB)
    machine.fill()
    machine.look(s0=GIB // 20)
    machine.memory.ended("s", "s0", succeeded=False)
    assert machine.fill(first=4) == 1, "the rest are as unknown as before"
    machine.look(s1=8 * GIB)
    machine.memory.ended("s", "s1", succeeded=False)
    machine.available = 20 * GIB
    assert machine.fill(first=5) == 0, "one of 8 GiB may have been killed for it"


def test_small_trials_run_as_many_as_are_asked_for() -> None:
    machine = Machine(22 * GIB)
    machine.fill()
    machine.look(s0=GIB // 20, s1=GIB // 20, s2=GIB // 20, s3=GIB // 20)
    machine.memory.ended("s", "s0", succeeded=True)
    assert machine.fill(first=4) == 20


def test_a_trial_that_runs_for_long_shows_what_it_takes() -> None:
    machine = Machine(22 * GIB)
    assert machine.fill() == 4
    machine.look(s0=GIB, s1=GIB, s2=GIB, s3=GIB)
    assert machine.fill(first=4) == 0
    machine.look(31.0)
    machine.available = 18 * GIB
    assert machine.fill(first=4) > 8


def test_a_trial_larger_than_the_guess_counts_at_once() -> None:
    machine = Machine(22 * GIB)
    machine.fill(2)
    machine.look(s0=9 * GIB, s1=1 * GIB)
    machine.available = 12 * GIB
    assert machine.fill(first=2) == 0
    assert "Memory holds trials back" in machine.memory.refusal("s")


def test_two_searches_share_the_machine() -> None:
    machine = Machine(9 * GIB)
    assert machine.fill(search="a") == 4
    assert machine.fill(search="b") == 1, "the memory is promised to the trials of the other"
    machine.memory.forget("a")
    assert machine.fill(search="b", first=1) == 3


def test_nothing_is_held_back_where_memory_is_not_known_but_the_first_few() -> None:
    machine = Machine(None)
    assert machine.fill() == 4
    machine.memory.ended("s", "s0", succeeded=True)
    machine.look(s1=GIB)
    machine.memory.ended("s", "s1", succeeded=True)
    assert machine.fill(first=4) == 20


def test_memory_is_looked_at_once_a_second() -> None:
    machine = Machine(22 * GIB)
    machine.fill(1)
    looked = []
    machine.memory = TrialMemory(
        lambda: looked.append(1) or {},
        available=lambda: GIB,
        now=lambda: machine.now,  # type: ignore[func-returns-value]
    )
    machine.memory.started("s", "1")
    for _ in range(30):
        machine.now += 0.1
        machine.memory.look()
    assert len(looked) in (3, 4)
