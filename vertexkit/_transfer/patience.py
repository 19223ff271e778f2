"""How long the transfers of one call go on trying.

A deadline for each file would be wrong twice: two thousand files that each wait a minute for a service
that has gone wait for hours, and a long transfer over a slow line has no natural deadline at all. So the
transfers of one call share their patience, which every success renews: they give up, all together, when
nothing has succeeded for a while.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from vertexkit._core.retry import may_try_again, retrying
from vertexkit.errors import DeadlineExceeded, InternalError, Unavailable, VertexkitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    import tenacity

    T = TypeVar("T")

SECONDS_WITHOUT_SUCCESS = 120.0


class Stopped(BaseException):
    """The transfer was interrupted; raised in its threads, and nowhere else.

    Not an ``Exception``, so that nothing mistakes it for the failure of one file.
    """


class Patience:
    """Shared by the transfers of one call. Thread-safe."""

    def __init__(self, stop: threading.Event | None = None, seconds: float | None = None) -> None:
        self.stop = threading.Event() if stop is None else stop
        self._seconds = SECONDS_WITHOUT_SUCCESS if seconds is None else seconds
        self._failing_since: float | None = None
        self._given_up = False

    def renew(self) -> None:
        """Something succeeded."""
        self._failing_since = None
        self._given_up = False

    @property
    def is_over(self) -> bool:
        """Whether it was lost, and nothing has succeeded since."""
        return self._given_up

    def check(self) -> None:
        """Raise, if there is no sense in going on.

        Raises:
            Stopped: The transfer was interrupted.
            Unavailable: Others have lost their patience already.
        """
        if self.stop.is_set():
            raise Stopped
        if self._given_up:
            raise Unavailable(f"not tried: nothing had succeeded for {self._seconds:.0f} s")

    def again(self, attempt: Callable[[], T], failure: Exception) -> T:
        """Try again what has failed once, until it succeeds or the patience is over.

        Args:
            attempt: Tries it; its failures are errors of vertexkit.
            failure: How it failed the first time. (Most succeed at once, and are spared the cost of
                setting up the retries.)

        Raises:
            VertexkitError: It cannot succeed, or did not in time.
        """
        import tenacity

        self._begin_failing()
        failures = [failure]

        def next_attempt() -> T:
            if failures:
                raise failures.pop()
            if self.stop.is_set():
                raise Stopped
            return attempt()

        policy = retrying(self._seconds).copy(
            retry=tenacity.retry_if_exception(is_passing),
            stop=self._stops,
            sleep=tenacity.sleep_using_event(self.stop),
        )
        return policy(next_attempt)

    def _begin_failing(self) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()

    def _stops(self, state: tenacity.RetryCallState) -> bool:
        # Others may have succeeded since this one failed, and it has failed again.
        self._begin_failing()
        assert self._failing_since is not None
        if time.monotonic() - self._failing_since >= self._seconds:
            self._given_up = True
        return self._given_up or self.stop.is_set()


def is_passing(error: BaseException) -> bool:
    """Whether sending the same again may help.

    More than elsewhere: writing the same bytes under the same name twice is the same as once, and Cloud
    Storage asks clients to retry every 5xx and 408.
    https://cloud.google.com/storage/docs/retry-strategy
    """
    if isinstance(error, InternalError | DeadlineExceeded):
        return True
    return isinstance(error, VertexkitError) and may_try_again(error, idempotent=True)
