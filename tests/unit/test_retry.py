"""What is tried again, and what is not."""

from __future__ import annotations

import pytest
from google.api_core import exceptions as api

from vertexkit import errors
from vertexkit._core.retry import may_try_again, retrying


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


def _unavailable(words: str) -> errors.Unavailable:
    error = errors.Unavailable(words)
    error.__cause__ = api.ServiceUnavailable(words)
    return error


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_never_reached_the_service_is_sent_again_whatever_it_does(idempotent: bool) -> None:
    assert may_try_again(
        _unavailable("failed to connect to all addresses; last error: Connection refused"),
        idempotent=idempotent,
    )


def test_what_may_have_been_carried_out_is_sent_again_only_if_twice_is_like_once() -> None:
    error = _unavailable("Connection reset by peer")
    assert may_try_again(error, idempotent=True)
    assert not may_try_again(error, idempotent=False)


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_rate_limit_passes_and_used_up_gpus_do_not(idempotent: bool) -> None:
    rate = errors.QuotaExceeded("Quota exceeded for quota metric 'Online prediction requests per minute'")
    gpus = errors.QuotaExceeded("The following quotas are exceeded: CustomModelServingT4GPUsPerProject")
    assert may_try_again(rate, idempotent=idempotent)
    assert not may_try_again(gpus, idempotent=idempotent)


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("x"),
        errors.NotFound("x"),
        errors.FailedPrecondition("x"),
        errors.Conflict("x"),
        errors.InternalError("x"),
        errors.DeadlineExceeded("x"),
        errors.InvalidArgument("x", 1, "x"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_fail_again_is_not_sent_again(error: BaseException) -> None:
    assert not may_try_again(error, idempotent=True)


def test_it_goes_on_until_it_succeeds() -> None:
    failures = [_unavailable("x")] * 5

    def call() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    assert retrying(60)(call) == "answer"


def test_the_last_error_is_raised_when_the_deadline_has_passed() -> None:
    attempts = []

    def call() -> None:
        attempts.append(1)
        raise _unavailable(f"attempt {len(attempts)}")

    with pytest.raises(errors.Unavailable, match="attempt 1"):
        retrying(0)(call)
    assert len(attempts) == 1


@pytest.mark.parametrize(
    "words",
    [
        "http://127.0.0.1:8080 cannot be reached: [Errno 111] Connection refused",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:38087: Failed to connect to "
        "remote host: connect: Connection refused (111)",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:38087: Ssl handshake failed",
    ],
)
def test_a_server_of_this_machine_that_has_gone_is_given_up_long_before_the_deadline(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr("vertexkit._core.retry._LOCAL_PATIENCE", 0.05)

    def attempt() -> None:
        raise _unavailable(words)

    # Without giving up, this would go on for an hour.
    with pytest.raises(errors.Unavailable):
        retrying(3600)(attempt)


def test_a_server_elsewhere_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertexkit._core.retry._LOCAL_PATIENCE", 0.0)
    outcomes = iter([_unavailable("https://us-central1-aiplatform.googleapis.com: connection refused"), None])

    def attempt() -> str:
        failure = next(outcomes)
        if failure is not None:
            raise failure
        return "there"

    assert retrying(60)(attempt) == "there"
