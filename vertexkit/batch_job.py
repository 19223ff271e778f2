"""One batch prediction job: waited for, read in the order of its input, cancelled, deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vertexkit._core.callers import stack_level
from vertexkit.batch_job_state import BatchJobState
from vertexkit.batch_progress import BatchProgress, shown
from vertexkit.errors import BatchPredictionFailed, Cancelled, FailedPrecondition, NotFound
from vertexkit.job_logs import JobLogs, LogLine
from vertexkit.job_state import JobState
from vertexkit.job_wait import Display, Follower, Stream, followed

if TYPE_CHECKING:
    from pandas import DataFrame

    from vertexkit._core.context import Context
    from vertexkit.batch_arrays import OnFailure
    from vertexkit.batch_files import Origin
    from vertexkit.batch_records import Record
    from vertexkit.batch_results import BatchFailure, BatchResults, BatchRow
    from vertexkit.batch_spool import Spool
    from vertexkit.types import Signature

__all__ = ["BatchPredictionJob", "PartialFailureWarning"]

_NAMED = 3
_BIGQUERY = "bigquery"


class PartialFailureWarning(UserWarning):
    """Some of a job came to nothing; the rest of it is there."""


class BatchPredictionJob(BatchJobState):
    """A batch prediction job, running or over, as `Model.batch_predict` makes or `BatchPrediction.get` finds.

    Its properties are as last read, but for `state`, `progress` and `failures`; `refresh` reads them again.
    Results are fetched once, when they are first asked for, and kept on this machine's disk for as long as
    this object lives.
    """

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap a resource as REST gives it; use `BatchPrediction` to get one."""
        super().__init__(context, data)
        self._fetching = threading.Lock()
        self._spool: Spool | None = None
        self._results: BatchResults | None = None

    @property
    def progress(self) -> BatchProgress:
        """How many instances are done, have failed, and are there, as of now."""
        self.poll(None)
        return self.progress_as_read

    def wait(self, timeout: float | None = None, *, logs: bool | Stream = False) -> BatchPredictionJob:
        """Wait until it is over, and show how many of its instances are done.

        A job of which some instances failed has succeeded all the same; a `PartialFailureWarning` says how
        many, and why. On a terminal, Ctrl-C asks whether to leave it running or to cancel it; elsewhere it
        cancels.

        Args:
            timeout: Seconds to wait; None for as long as it takes.
            logs: Whether to print its log meanwhile: True for standard output, ``"stderr"`` for standard
                error.

        Returns:
            Itself.

        Raises:
            DeadlineExceeded: It is not over yet; it goes on.
            BatchPredictionFailed: It failed.
            Cancelled: Somebody has cancelled it.
        """
        self._wait(timeout, logs)
        return self

    def rows(self, *, in_order: bool = True) -> Iterator[BatchRow]:
        """Every instance with its prediction, or with why it has none; a few of them are in memory at a time.

        Their order is that of the input, whatever order the results came in: by a key where instances have
        one, else by the instance itself, of which equal ones take their results in turn. It is never guessed:
        where it cannot be told, that is an error before the first row.

        Args:
            in_order: False for the results as they lie in the files, without reading the input: then
                ``index`` is -1, and where they name instances by ``key``, ``instance`` is None.

        Raises:
            FailedPrecondition: It is not over, has written nothing, or its results or its input are in
                BigQuery, which knows no order.
            BatchPredictionFailed: No order can be told; it says what would do.
            NotFound: The files of its results or its input are not there any more.
        """
        if in_order:
            return self._ordered().rows()
        from vertexkit.batch_results import unordered

        return unordered(self._lines())

    def to_numpy(self, *, on_failure: OnFailure = "raise") -> Any:
        """All predictions, in the order of the input.

        Args:
            on_failure: What to do about instances that have no prediction: ``"raise"``; ``"nan"``, to have
                NaN in their places (integers become float64; texts have None); ``"drop"``, to leave them
                out, so that what follows moves up.

        Returns:
            An array of shape (instances, ...), of the dtype that the model's signature names; or one for
            each output, by its name, where the model has several.

        Raises:
            BatchPredictionFailed: Some instances have no prediction (see ``on_failure``), or none has.
            VertexkitError: As `rows`.
        """
        from vertexkit.batch_arrays import check_on_failure, to_numpy

        check_on_failure(on_failure)
        return to_numpy(self._ordered(), self._signature, on_failure=on_failure, job=self.resource_name)

    def to_frame(self) -> DataFrame:
        """Inputs and predictions side by side, in the order of the input.

        Returns:
            A row for each instance, those that failed included. Columns: its own key, if it has one, and its
            fields by name, or ``instance``; then the model's outputs by name, or ``prediction``; then
            ``error``, if an instance failed. Where one is named like a column before it, ``_`` follows its
            name. What is no single value is an array in its cell.

        Raises:
            ConfigurationError: pandas is not installed.
            VertexkitError: As `rows`.
        """
        from vertexkit.batch_arrays import to_frame

        return to_frame(self._ordered(), self._signature)

    @property
    def failures(self) -> list[BatchFailure]:
        """Every instance without a prediction, with its position in the input and why, in that order.

        Raises:
            VertexkitError: As `rows`.
        """
        return list(self._ordered().failures())

    def result(self, timeout: float | None = None) -> Any:
        """Wait until it is over, and give all predictions; see `wait` and `to_numpy`.

        Args:
            timeout: Seconds to wait; None for as long as it takes.
        """
        return self.wait(timeout).to_numpy()

    def logs(self, *, follow: bool = False) -> Iterator[LogLine]:
        """Its log, the oldest line first; little of it is in memory at a time.

        Args:
            follow: Whether to go on until the job is over, with each line as it comes.
        """
        if follow:
            return followed(self, log_seconds=self._context.target.log_poll_seconds)
        return JobLogs(self._context, self.id).read()

    # -- what `job_wait.py` waits for ----------------------------------------------------------

    @property
    def description(self) -> str:
        """What one sees while it is waited for."""
        return f"Batch prediction {self.display_name}"

    @property
    def found_again(self) -> str:
        """How another process finds it."""
        return f'session.batch.get("{self.resource_name}")'

    def follower(self) -> Follower | None:
        """What follows its log."""
        return JobLogs(self._context, self.id).follow()

    def settle(self) -> None:
        """Raise the error that it ended with; warn if only a part of it succeeded."""
        state, progress = self.state_as_read, self.progress_as_read
        if state is JobState.CANCELLED:
            raise Cancelled("the job was cancelled", resource=self.resource_name)
        if state in (JobState.SUCCEEDED, JobState.PARTIALLY_SUCCEEDED):
            lost = (progress.total or progress.done) - progress.succeeded
            if lost or self.partial_failures:
                warnings.warn(self._in_part(lost), PartialFailureWarning, stacklevel=stack_level())
            return
        if state.ended:
            why = self.error or f"the job ended as {state}"
            told = [one for one in self.partial_failures if one not in why][:_NAMED]
            raise BatchPredictionFailed(
                "\n".join([f"the batch prediction failed: {why}", *(f"  - {one}" for one in told)]),
                job=self.resource_name,
                remedy="failures lists what failed, as far as it was written" if self.output_uri else None,
            )

    # -- for vertexkit's own use ---------------------------------------------------------------

    def _in_part(self, lost: int) -> str:
        of = self.progress_as_read
        total = of.total or of.done
        what = f"{lost:,} of {total:,} instances have no prediction" if lost else "not all was read"
        told = [f"  - {one}" for one in self.partial_failures[:_NAMED]]
        rest = len(self.partial_failures) - _NAMED
        if rest > 0:
            told.append(f"  - and {rest} more")
        remedy = "; failures lists them, and arrays need on_failure='nan' or 'drop' (--on-failure)"
        return "\n".join([f"{self.description}: {what}{remedy}", *told])

    def _lines(self) -> Spool:
        """All that it has written, fetched once."""
        from vertexkit.batch_fetch import fetch_results

        with self._fetching:
            if self._spool is None:
                if not self.state.ended:
                    raise FailedPrecondition(
                        f"the job is {self.state_as_read}",
                        resource=self.resource_name,
                        remedy="wait() for it",
                    )
                spool = fetch_results(
                    self._context,
                    self._output_folder(),
                    positions=self._has_positions,
                    written=self._count is not None,
                    signature=self._signature if self.output_format == "csv" else None,
                    kind=self.input_format,
                    keyed=self._config.key_field is not None,
                    uris=self.input_uris,
                )
                there, written = len(spool) - sum(spool.is_error), self.progress_as_read.succeeded
                if there < written:
                    raise NotFound(
                        f"{written - there:,} of {written:,} results are not there any more",
                        resource=self.output_uri,
                    )
                self._spool = spool
            return self._spool

    def _ordered(self) -> BatchResults:
        """Its results in the order of its input, found once."""
        from vertexkit.batch_results import BatchResults, located_by_instance, located_by_position

        spool = self._lines()
        with self._fetching:
            if self._results is not None:
                return self._results
            if self.input_format == _BIGQUERY:
                raise FailedPrecondition(
                    "the rows of a BigQuery table have no order",
                    resource=self.resource_name,
                    remedy="read rows(in_order=False)",
                )
            if self._has_positions:
                entries = located_by_position(spool, self._total(), job=self.resource_name)
            else:
                entries = located_by_instance(
                    spool,
                    self._records(),
                    keyed=self._config.key_field is not None,
                    job=self.resource_name,
                )
            self._results = BatchResults(
                spool,
                entries,
                self._records,
                otherwise=self._unexplained(),
                key_field=None if self._has_positions else self._config.key_field,
                origins=self._origins,
                kind=self.input_format,
            )
            if spool.has_shared_keys:
                lost, total = len(self._results.failed), len(self._results)
                warnings.warn(
                    f"{self.description}: some instances have a key that others have, and which result is "
                    f"whose is not to be told. {lost:,} of {total:,} have no prediction; failures lists them",
                    PartialFailureWarning,
                    stacklevel=stack_level(),
                )
            return self._results

    def _total(self) -> int | None:
        """How many instances there were, where that is known."""
        return self._count if self._count is not None else self.progress_as_read.total

    def _records(self) -> Iterator[Record]:
        from vertexkit.batch_fetch import input_records

        return input_records(self._context, self.input_format, self.input_uris, self._config)

    def _origins(self) -> Iterator[Origin]:
        from vertexkit.batch_about import origins

        return origins(self._context, self.input_uris)

    def _output_folder(self) -> str:
        uri = self.output_uri
        if uri is None:
            raise FailedPrecondition(
                f"the job is {self.state_as_read} and has written no results", resource=self.resource_name
            )
        if not uri.startswith("gs://"):
            raise FailedPrecondition(
                f"its results are in BigQuery, in {uri}",
                resource=self.resource_name,
                remedy="read the table with google.cloud.bigquery",
            )
        return uri

    def _unexplained(self) -> str:
        state = self.state_as_read
        if state is JobState.SUCCEEDED:
            told = "; ".join(self.partial_failures[:_NAMED])
            return told or "the job has written nothing of it"
        return self.error or f"the job ended as {state} before it"

    @cached_property
    def _signature(self) -> Signature | None:
        """What the model takes and gives; None where that is not known, or the model is gone."""
        from vertexkit.model_signature import read_signature

        name = self.model_name
        with suppress(NotFound):
            model = self._context.clients.http_json("GET", name, resource=name)
            return read_signature(self._context, model)
        return None

    def _display(self) -> AbstractContextManager[Display]:
        return shown(self, self._context.progress)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.display_name!r}: {self.resource_name}, {self.state_as_read}, "
            f"{self.progress_as_read}>"
        )
