"""What is tried again, how long, and how often. The only place that backs off.

Two questions decide. *Can it help?* An unreachable or overloaded service may answer the next time;
a wrong argument, a missing resource or used-up GPUs will not. *Can it hurt?* A call that may have
been carried out must not be sent twice unless twice is the same as once. So:

* a call that is idempotent (a read; a delete; a creation under an id that this client chose) is
  tried again after any passing failure;
* any other call only when it certainly was not carried out: the connection was never made, or
  the service refused it (429).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vertexkit._core.failures import is_refused_here, is_used_up
from vertexkit.errors import QuotaExceeded, Unavailable

if TYPE_CHECKING:
    import tenacity

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0

_LOCAL_PATIENCE = 10.0
"""Seconds to go on asking a port of this machine that nobody listens on: enough for a restart."""

_NEVER_CONNECTED = (
    "failed to connect to all addresses",
    "connection refused",
    "name resolution",
    "dns resolution failed",
    "failed to establish a new connection",
    "tcp handshaker shutdown",
)


def may_try_again(error: BaseException, *, idempotent: bool) -> bool:
    """Whether sending the same call again may help, and cannot do its work twice.

    Args:
        error: One of ours, with what it was translated from as its ``__cause__``.
        idempotent: Whether carrying the call out twice is the same as carrying it out once.
    """
    if isinstance(error, QuotaExceeded):
        return not is_used_up(error)
    if isinstance(error, Unavailable):
        return idempotent or was_never_sent(error)
    return False


def was_never_sent(error: BaseException) -> bool:
    """Whether the connection was never made, so that the service cannot have carried out the call."""
    text = f"{error} {error.__cause__}".lower()
    return any(words in text for words in _NEVER_CONNECTED)


def retrying(deadline: float, *, idempotent: bool = True) -> tenacity.Retrying:
    """The policy: exponential waits with full jitter, from 0.1 s to 10 s, within a deadline.

    A server of this machine that has gone is given up sooner: nobody is going to bring it back.

    Args:
        deadline: Seconds for all attempts and the waits between them.
        idempotent: Whether carrying the call out twice is the same as carrying it out once.

    Returns:
        ``retrying(60)(function, *args)`` calls ``function`` until it succeeds, or raises its last error.
    """
    import tenacity

    overdue = tenacity.stop_before_delay(deadline)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: may_try_again(error, idempotent=idempotent)),
        wait=_waits(),
        stop=lambda state: overdue(state) or _has_gone(state),
        before_sleep=_tell,
        reraise=True,
    )


def _has_gone(state: tenacity.RetryCallState) -> bool:
    failure = state.outcome.exception() if state.outcome is not None else None
    waited = (state.seconds_since_start or 0.0) + state.upcoming_sleep
    return failure is not None and is_refused_here(failure) and waited > _LOCAL_PATIENCE


def _waits() -> tenacity.wait.wait_base:
    import tenacity

    if os.environ.get("VERTEXKIT_NO_BACKOFF"):
        # Only the project's tests set it: they inject many failures, and waiting proves nothing.
        return tenacity.wait_none()
    return tenacity.wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT)


def _tell(state: tenacity.RetryCallState) -> None:
    import logging

    failure = state.outcome.exception() if state.outcome is not None else None
    logging.getLogger("vertexkit").info("trying again (attempt %d failed): %s", state.attempt_number, failure)
