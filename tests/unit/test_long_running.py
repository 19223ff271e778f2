"""Long-running operations: watched, waited for, cancelled."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from doubles import Clock, Doubles, done, failed, in_turn, running
from google.api_core import exceptions as api

from vertexkit import errors
from vertexkit._core import operations
from vertexkit._core.operations import Operation, intervals

pytestmark = pytest.mark.usefixtures("no_waiting")


def _operation(doubles: Doubles, started: Any, **options: Any) -> Operation[str]:
    finish = options.pop("finish", lambda _: "made")
    return Operation(doubles.clients, started.operation, resource="projects/p/e", finish=finish, **options)


def _polls(doubles: Doubles, *answers: Any) -> None:
    given = [answer.operation if isinstance(answer, SimpleNamespace) else answer for answer in answers]
    doubles.endpoints.get_operation.side_effect = in_turn(*given)


def test_one_that_is_over_at_once_is_never_asked_for(doubles: Doubles) -> None:
    operation = _operation(doubles, done())
    assert operation.result() == "made"
    assert operation.state == "SUCCEEDED"
    assert doubles.endpoints.get_operation.call_count == 0


def test_one_that_goes_on_is_asked_for_until_it_is_over(doubles: Doubles) -> None:
    operation = _operation(doubles, running())
    _polls(doubles, running(), running(), done())
    assert operation.result() == "made"
    assert doubles.sent("endpoints", "get_operation") == [{"name": "operations/1"}] * 3


def test_its_state_is_as_the_service_has_it_now(doubles: Doubles) -> None:
    operation = _operation(doubles, running())
    _polls(doubles, running(), failed(9, "no"))
    assert operation.state == "RUNNING"
    assert not operation._proto.done
    assert operation.state == "FAILED"
    assert operation.done


def test_looking_survives_a_service_that_is_away_for_a_while(doubles: Doubles) -> None:
    operation = _operation(doubles, running())
    _polls(doubles, api.ServiceUnavailable("x"), api.ServiceUnavailable("x"), done())
    assert operation.result() == "made"


def test_a_failure_is_raised_with_the_services_words(doubles: Doubles) -> None:
    operation = _operation(doubles, failed(9, "the replica did not start"))
    for _ in range(2):
        with pytest.raises(errors.FailedPrecondition, match="projects/p/e: the replica did not start"):
            operation.result()


def test_a_failure_is_settled_once(doubles: Doubles) -> None:
    settled = []

    def settle(error: errors.VertexkitError) -> errors.VertexkitError:
        settled.append(error)
        return errors.DeployFailed("did not come up")

    operation = _operation(doubles, failed(9, "no"), failed=settle)
    for _ in range(2):
        with pytest.raises(errors.DeployFailed) as raised:
            operation.result()
    assert len(settled) == 1
    assert raised.value.__cause__ is settled[0]


def test_a_cancelled_one_says_so_and_is_settled_too(doubles: Doubles) -> None:
    settled: list[errors.VertexkitError] = []

    def settle(error: errors.VertexkitError) -> errors.VertexkitError:
        settled.append(error)
        return error

    operation = _operation(doubles, failed(1, "cancelled"), failed=settle)
    assert operation.state == "CANCELLED"
    with pytest.raises(errors.Cancelled):
        operation.result()
    assert len(settled) == 1


def test_a_look_lasts_no_longer_than_there_is_time(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "time", Clock())
    operation = _operation(doubles, running())
    doubles.endpoints.get_operation.return_value = running().operation
    with pytest.raises(errors.DeadlineExceeded):
        operation.wait(7)
    given = [call.kwargs["timeout"] for call in doubles.endpoints.get_operation.call_args_list]
    assert max(given) <= 7


def test_waiting_ends_at_the_timeout_and_the_work_goes_on(doubles: Doubles) -> None:
    operation = _operation(doubles, running())
    doubles.endpoints.get_operation.return_value = running().operation
    with pytest.raises(errors.DeadlineExceeded, match="goes on"):
        operation.wait(0)
    assert doubles.endpoints.cancel_operation.call_count == 0


def test_cancelling_one_that_is_over_meanwhile_is_no_failure(doubles: Doubles) -> None:
    operation = _operation(doubles, running())
    doubles.endpoints.cancel_operation.side_effect = api.FailedPrecondition("it is done")
    operation.cancel()
    assert doubles.sent("endpoints", "cancel_operation") == [{"name": "operations/1"}]


def test_looks_are_frequent_at_first_and_seldom_later() -> None:
    looks = list(itertools.islice(intervals(), 60))
    assert looks[0] < 0.1
    assert looks == sorted(looks)
    assert looks[-1] == 5.0
