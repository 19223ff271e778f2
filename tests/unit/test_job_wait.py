"""Waiting for a job: the order of things, what Ctrl-C comes to, and what is printed."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import create_autospec

import pytest
from doubles import Clock

from vertexkit import job_wait
from vertexkit.errors import Cancelled, DeadlineExceeded, NotFound, Unavailable
from vertexkit.job_logs import LogFollower, LogLine
from vertexkit.job_state import JobState, job_state
from vertexkit.job_wait import followed, wait_for


class Job:
    """A job that goes through states, one a look."""

    description = "Training mnist"
    found_again = 'session.training.get("7")'

    def __init__(self, *states: JobState, lines: int = 0, error: Exception | None = None) -> None:
        self._states = itertools.chain(states, itertools.repeat(states[-1]))
        self.state_as_read = JobState.QUEUED
        self.looks: list[float] = []
        self.cancelled = 0
        self.error = error
        self.clock: Clock | None = None
        self._lines: Iterator[LogLine] = (line(f"line {number}") for number in range(lines))
        self.raising: BaseException | None = None

    def poll(self, timeout: float) -> JobState:
        assert timeout > 0
        if self.raising is not None:
            raise self.raising
        self.looks.append(self.clock.now if self.clock else 0.0)
        self.state_as_read = next(self._states)
        return self.state_as_read

    def follower(self) -> LogFollower | None:
        if self.state_as_read in (JobState.QUEUED, JobState.PENDING):
            return None
        made = create_autospec(LogFollower, instance=True)
        made.poll.side_effect = lambda: list(itertools.islice(self._lines, 1))
        made.finish.side_effect = lambda: self._lines
        return made  # type: ignore[no-any-return]

    def settle(self) -> None:
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        self.cancelled += 1


def line(text: str, replica: str = "workerpool0-0") -> LogLine:
    return LogLine(datetime(2026, 1, 2, tzinfo=UTC), replica, "INFO", text)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(clock, "sleep", lambda seconds: setattr(clock, "now", clock.now + max(seconds, 0.01)))
    monkeypatch.setattr(job_wait, "time", clock)
    return clock


RUNNING, SUCCEEDED = JobState.RUNNING, JobState.SUCCEEDED


def test_every_line_is_printed_once_in_order_with_its_replica(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(JobState.PENDING, *[RUNNING] * 4, SUCCEEDED, lines=100)
    wait_for(job, stream="stdout", log_seconds=0.1, progress=False)
    assert capsys.readouterr() == ("".join(f"workerpool0-0  line {n}\n" for n in range(100)), "")


def test_a_log_goes_to_standard_error_or_nowhere_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    wait_for(Job(RUNNING, SUCCEEDED, lines=3), stream="stderr", log_seconds=0.1, progress=False)
    assert capsys.readouterr() == ("", "".join(f"workerpool0-0  line {n}\n" for n in range(3)))
    wait_for(Job(RUNNING, SUCCEEDED, lines=3), stream=None, log_seconds=0.1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_job_that_is_over_already_gives_its_whole_log_after_one_look(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = Job(SUCCEEDED, lines=3)
    wait_for(job, stream="stdout", log_seconds=5.0, progress=False)
    assert len(job.looks) == 1
    assert capsys.readouterr().out.count("\n") == 3


@pytest.mark.parametrize(
    ("log_seconds", "longest"), [(5.0, 5.0), (0.1, 0.2)], ids=["where a quota counts", "locally"]
)
def test_looks_become_rarer_but_never_rarer_than_logs_may_be_asked_for(
    clock: Clock, log_seconds: float, longest: float
) -> None:
    job = Job(*[RUNNING] * 40, SUCCEEDED)
    job.clock = clock
    wait_for(job, log_seconds=log_seconds, progress=False)
    between = [later - sooner for sooner, later in itertools.pairwise(job.looks)]
    assert between[0] == pytest.approx(0.1, abs=0.02)
    assert max(between) == pytest.approx(longest, abs=0.02)
    assert min(between[-5:]) == pytest.approx(longest, abs=0.02)


def test_what_ended_badly_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(RUNNING, JobState.CANCELLED, lines=2, error=Cancelled("was cancelled"))
    with pytest.raises(Cancelled):
        wait_for(job, stream="stdout", log_seconds=0.1, progress=False)
    assert capsys.readouterr().out.count("\n") == 2


def test_time_that_is_over_says_how_to_find_the_job_and_leaves_it_alone(clock: Clock) -> None:
    job = Job(RUNNING)
    with pytest.raises(DeadlineExceeded, match=r'(?s)3 s; it goes on.*session\.training\.get\("7"\)'):
        wait_for(job, timeout=3.0, log_seconds=0.1, progress=False)
    assert clock.now == pytest.approx(3.0, abs=0.1)
    assert job.cancelled == 0


def test_a_job_that_ends_as_the_time_does_has_ended() -> None:
    job = Job(RUNNING, SUCCEEDED)
    wait_for(job, timeout=0.01, log_seconds=0.1, progress=False)
    assert len(job.looks) == 2


def test_nobody_at_a_terminal_ctrl_c_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    job = Job(RUNNING)
    job.raising = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as raised:
        wait_for(job, log_seconds=0.1, progress=False)
    assert job.cancelled == 1
    assert "asked to stop" in raised.value.__notes__[0]
    assert 'session.training.get("7")' in raised.value.__notes__[0]


class Terminal(io.StringIO):
    """Somebody at a terminal, who types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "cancelled", "said"),
    [("l\n", 0, "goes on"), ("what\nLEAVE\n", 0, "goes on"), ("c\n", 1, "asked to stop"), ("", 1, "asked")],
)
def test_at_a_terminal_ctrl_c_asks(
    typed: str, cancelled: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", shown)
    job = Job(RUNNING)
    job.raising = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as raised:
        wait_for(job, log_seconds=0.1, progress=False)
    assert "Leave the job running (l) or cancel it (c)?" in shown.getvalue()
    assert job.cancelled == cancelled
    assert said in raised.value.__notes__[0]


def test_a_job_that_cannot_go_on_alone_is_not_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal("l\n"))
    monkeypatch.setattr(sys, "stderr", shown)
    job = Job(RUNNING)
    job.raising = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as raised:
        wait_for(job, log_seconds=0.1, progress=False, lasting=False)
    assert "Leave the job running until this session ends (l) or cancel it (c)?" in shown.getvalue()
    assert "goes on until this session ends" in raised.value.__notes__[0]


def test_ctrl_c_after_its_end_is_about_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("c\n"))
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    job = Job(RUNNING, SUCCEEDED)
    monkeypatch.setattr(job, "settle", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt) as raised:
        wait_for(job, log_seconds=0.1, progress=False)
    assert (job.cancelled, shown.getvalue()) == (0, "")
    assert not getattr(raised.value, "__notes__", [])


def test_a_service_that_cannot_be_asked_any_more_leaves_the_way_to_the_job() -> None:
    job = Job(RUNNING)
    job.raising = Unavailable("no network")
    with pytest.raises(Unavailable) as raised:
        wait_for(job, log_seconds=0.1, progress=False)
    assert raised.value.__notes__ == ['Training mnist may well go on: session.training.get("7")']
    with pytest.raises(Unavailable) as raised:
        wait_for(job, log_seconds=0.1, progress=False, lasting=False)
    assert len(raised.value.__notes__) == 1  # the one from before
    job.raising = NotFound("deleted")
    with pytest.raises(NotFound) as gone:
        wait_for(job, log_seconds=0.1, progress=False)
    assert not getattr(gone.value, "__notes__", [])


def test_a_second_ctrl_c_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = create_autospec(io.StringIO, instance=True)
    impatient.isatty.return_value = True
    impatient.readline.side_effect = KeyboardInterrupt
    monkeypatch.setattr(sys, "stdin", impatient)
    monkeypatch.setattr(sys, "stderr", Terminal())
    job = Job(RUNNING)
    job.raising = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        wait_for(job, log_seconds=0.1, progress=False)
    assert job.cancelled == 1


def test_a_cancellation_that_fails_says_what_may_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    job = Job(RUNNING)
    job.raising = KeyboardInterrupt()
    monkeypatch.setattr(job, "cancel", lambda: (_ for _ in ()).throw(Unavailable("no network")))
    with pytest.raises(KeyboardInterrupt) as raised:
        wait_for(job, log_seconds=0.1, progress=False)
    notes = "\n".join(raised.value.__notes__)
    assert "Perhaps still there" in notes
    assert "no network" in notes
    assert "asked to stop" not in notes


def test_a_reader_that_has_enough_ends_the_printing_and_not_the_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Head(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Head())
    job = Job(*[RUNNING] * 5, SUCCEEDED, lines=50)
    wait_for(job, stream="stdout", log_seconds=0.1, progress=False)
    assert job.state_as_read is SUCCEEDED


def test_a_terminal_of_few_letters_shows_the_others_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    job = Job(SUCCEEDED)
    job._lines = iter([line("naïve ✓")])
    wait_for(job, stream="stdout", log_seconds=0.1, progress=False)
    assert raw.getvalue() == b"workerpool0-0  na\\xefve \\u2713\n"


def test_a_log_is_followed_until_the_job_is_over() -> None:
    job = Job(JobState.PENDING, RUNNING, RUNNING, SUCCEEDED, lines=20)
    lines: Iterator[LogLine] = followed(job, log_seconds=0.1)
    assert [one.text for one in lines] == [f"line {n}" for n in range(20)]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("JOB_STATE_RUNNING", JobState.RUNNING),
        ("PIPELINE_STATE_SUCCEEDED", JobState.SUCCEEDED),
        ("PIPELINE_STATE_UNSPECIFIED", JobState.UNKNOWN),
        ("JOB_STATE_OF_TOMORROW", JobState.UNKNOWN),
        (None, JobState.QUEUED),
        ("", JobState.QUEUED),
    ],
)
def test_states_of_jobs_and_pipelines_have_one_name(name: str | None, state: JobState) -> None:
    assert job_state(name) is state


def test_what_has_ended_is_what_no_longer_changes() -> None:
    assert {state for state in JobState if state.ended} == {
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "EXPIRED",
        "PARTIALLY_SUCCEEDED",
    }
    assert JobState.RUNNING == "RUNNING"
