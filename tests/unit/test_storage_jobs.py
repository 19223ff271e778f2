"""Many jobs at once: all of them end, failures are shared sensibly, and an interruption is prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from vertexkit import errors
from vertexkit._transfer import patience as patience_module
from vertexkit._transfer.jobs import Job, attempted, run_all
from vertexkit._transfer.patience import Patience, is_passing


class Task(Job):
    def __init__(self, do: Callable[[Patience], None]) -> None:
        self.do = do
        self.error: Exception | None = None

    def run(self, patience: Patience) -> None:
        self.do(patience)

    def failed(self, error: errors.VertexkitError | OSError) -> None:
        self.error = error


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


def test_every_job_is_done_once_and_as_many_at_a_time_as_asked() -> None:
    barrier = threading.Barrier(4, timeout=30)
    tasks = [Task(lambda patience: barrier.wait() and None) for _ in range(40)]
    # Were fewer than four running together, the barrier would never open.
    run_all(tasks, 4, Patience())
    assert all(task.error is None for task in tasks)


def test_a_failure_is_told_to_its_job_and_the_others_go_on() -> None:
    done = []

    def fail(patience: Patience) -> None:
        raise errors.BadRequest("no")

    def vanish(patience: Patience) -> None:
        raise FileNotFoundError("gone")

    tasks = [Task(fail), Task(vanish), Task(lambda patience: done.append(1))]
    run_all(tasks, 1, Patience())
    assert isinstance(tasks[0].error, errors.BadRequest)
    assert isinstance(tasks[1].error, FileNotFoundError)
    assert done == [1]


def test_a_mistake_in_code_is_raised_where_the_jobs_were_started_and_stops_the_rest() -> None:
    done = []

    def mistake(patience: Patience) -> None:
        raise ZeroDivisionError

    tasks = [Task(mistake), *(Task(lambda patience: done.append(1)) for _ in range(50))]
    with pytest.raises(ZeroDivisionError):
        run_all(tasks, 1, Patience())
    assert done == []


def test_passing_failures_are_tried_again_until_it_succeeds() -> None:
    failures: list[Exception] = [
        errors.Unavailable("reset"),
        errors.QuotaExceeded("slow down"),
        errors.InternalError("oops"),
        errors.DeadlineExceeded("slow"),
    ]

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert attempted(attempt, Patience()) == "done"


@pytest.mark.parametrize(
    "error",
    [errors.BadRequest("no"), errors.NotFound("no"), errors.PermissionDenied("no"),
     errors.Unauthenticated("no"),
     errors.FailedPrecondition("no"), errors.Unimplemented("no")],
)  # fmt: skip
def test_a_failure_that_will_not_pass_is_not_tried_again(error: errors.ServiceError) -> None:
    calls = []

    def attempt() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        attempted(attempt, Patience())
    assert calls == [1]
    assert not is_passing(error)


def test_when_one_has_lost_patience_the_others_are_not_tried_at_all() -> None:
    calls = []

    def hopeless(patience: Patience) -> None:
        def attempt() -> None:
            calls.append(1)
            raise errors.Unavailable("connection refused")

        attempted(attempt, patience)

    tasks = [Task(hopeless) for _ in range(500)]
    run_all(tasks, 2, Patience(seconds=0.2))
    assert all(isinstance(task.error, errors.Unavailable) for task in tasks)
    tried = [task for task in tasks if "not tried" not in str(task.error)]
    assert 1 <= len(tried) <= 4


def test_success_renews_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(patience_module.time, "monotonic", lambda: now[0])
    patience = Patience(seconds=10)
    answers: list[Exception | None] = []

    def attempt() -> None:
        now[0] += 6
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    away = errors.Unavailable("away")
    for _ in range(5):
        answers[:] = [away, None]
        attempted(attempt, patience)
    answers[:] = [away] * 10
    with pytest.raises(errors.Unavailable, match="away"):
        attempted(attempt, patience)
    with pytest.raises(errors.Unavailable, match="not tried"):
        attempted(attempt, patience)


def test_an_interruption_ends_the_waits_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERTEXKIT_NO_BACKOFF")
    monkeypatch.setattr("vertexkit._core.retry._FIRST_WAIT", 3600.0)
    monkeypatch.setattr("vertexkit._core.retry._LONGEST_WAIT", 36000.0)
    patience = Patience()
    waiting = threading.Event()

    def away() -> None:
        waiting.set()
        raise errors.Unavailable("away")

    threading.Thread(target=lambda: waiting.wait() and (time.sleep(0.1), patience.stop.set())).start()
    task = Task(lambda patience: attempted(away, patience))
    run_all([task], 1, patience)
    # It heard nothing: it neither failed nor succeeded.
    assert task.error is None


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    run_all([Task(lambda patience: None) for _ in range(100)], 16, Patience())
    assert threading.active_count() == before
