"""How a batch prediction job ends, and how far it is: by what has come of its instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vertexkit.emulator.batch.types import BatchFailed, Progress
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.services.batch_inputs import Input
from vertexkit.emulator.services.job_verdict import SUCCEEDED, Verdict, failed

_MOST_NAMED: Final = 5
_UNKNOWN: Final = -1
"""An ``incomplete_count`` that is not known."""


def at_the_end(progress: Progress, inputs: Sequence[Input]) -> Verdict:
    """How a job ends whose instances have all been answered, or have failed."""
    if progress.succeeded:
        return SUCCEEDED
    if progress.failed:
        first = progress.failures[0].message if progress.failures else "there is no more known"
        return failed(
            ApiError(
                Code.INVALID_ARGUMENT,
                f"All instances failed, {progress.failed} of {progress.failed}. The first: {first}",
            )
        )
    named = ", ".join(one.uri for one in inputs[:_MOST_NAMED])
    more = f" and {len(inputs) - _MOST_NAMED} more" if len(inputs) > _MOST_NAMED else ""
    return failed(ApiError(Code.INVALID_ARGUMENT, f"There are no instances in the input: {named}{more}."))


def cut_short(error: BatchFailed) -> ApiError:
    """What a job says that could not go on."""
    by_disk = isinstance(error.__cause__, OSError)
    return ApiError(Code.RESOURCE_EXHAUSTED if by_disk else Code.UNAVAILABLE, str(error))


def show_progress(job: Raw, progress: Progress) -> None:
    """Write into a job how far it is."""
    stats = job.completion_stats
    stats.successful_count, stats.failed_count = progress.succeeded, progress.failed
    stats.incomplete_count = _UNKNOWN if progress.left is None else progress.left
    del job.partial_failures[:]
    for failure in progress.failures:
        job.partial_failures.add(code=failure.code, message=failure.message)


def summary(progress: Progress) -> list[str]:
    """What a job's log says of its instances in the end."""
    told = [f"{progress.succeeded} instances were answered, {progress.failed} failed."]
    told += [f"Failed: {failure.instance}: {failure.message}" for failure in progress.failures]
    hidden = progress.failed - len(progress.failures)
    if progress.failures and hidden > 0:
        told.append(f"{hidden} more failed: the files prediction.errors_stats-* list all of them.")
    return told
