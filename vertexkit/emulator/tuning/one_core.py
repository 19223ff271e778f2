"""Small matrices on one core."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1)
def linear_algebra_on_one_core() -> None:
    """Have numpy use one thread, from now on in this process.

    A pool of threads gains nothing on matrices of a hundred rows, and loses a lot beside trials that keep
    every core busy: its threads wait for each other in turn.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")
