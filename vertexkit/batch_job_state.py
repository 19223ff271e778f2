"""A batch prediction job as it was when last read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vertexkit._core.html import described
from vertexkit.batch_input import InstanceConfig
from vertexkit.batch_progress import BatchProgress
from vertexkit.job import Job, took
from vertexkit.job_state import JobState

__all__ = ["COUNT_LABEL", "BatchJobState", "without_place"]

COUNT_LABEL: Final = "vertexkit_instances"
"""How many instances vertexkit has written for a job: the service counts them only at the end."""
_SHOWN: Final = 3


def without_place(message: str, uris: Iterable[str]) -> str:
    """What is wrong with an instance, without the object and line: of no use where vertexkit wrote these.

    Args:
        message: In the service's words, and perhaps with the model's own in it.
        uris: The input that vertexkit has written.
    """
    for uri in uris:
        place = re.escape(uri).replace(r"\*", r"\d+") + r", (?:line|row|record) \d+: "
        message = re.sub(place, "", message)
    return message


class BatchJobState(Job):
    """What is known of a batch prediction job without asking."""

    @property
    def error(self) -> str | None:
        """What it failed of, in the service's words; None if it did not fail, as far as is known."""
        error = super().error
        return error if error is None else without_place(error, self._written_uris)

    @property
    def model_name(self) -> str:
        """Resource name of the model, with its version where that is known."""
        name, version = str(self._data.get("model", "")), self._data.get("modelVersionId")
        return f"{name.partition('@')[0]}@{version}" if version else name

    @property
    def input_format(self) -> str:
        """``jsonl``, ``csv``, ``tf-record``, ``tf-record-gzip``, ``file-list`` or ``bigquery``."""
        return str(self._input.get("instancesFormat", ""))

    @property
    def input_uris(self) -> tuple[str, ...]:
        """Where the instances are: ``gs://`` URIs and patterns, or the ``bq://`` URI of a table."""
        table = self._input.get("bigquerySource", {}).get("inputUri")
        return (str(table),) if table else tuple(self._input.get("gcsSource", {}).get("uris", ()))

    @property
    def output_format(self) -> str:
        """``jsonl``, ``csv`` or ``bigquery``."""
        return str(self._data.get("outputConfig", {}).get("predictionsFormat", ""))

    @property
    def output_uri(self) -> str | None:
        """Where the results are: a ``gs://`` folder that the job has made, or the ``bq://`` URI of a table.

        None as long as there are none.
        """
        info = self._data.get("outputInfo", {})
        if info.get("gcsOutputDirectory"):
            return str(info["gcsOutputDirectory"]).rstrip("/")
        dataset, table = info.get("bigqueryOutputDataset"), info.get("bigqueryOutputTable")
        return None if not dataset else f"{dataset}.{table}" if table else str(dataset)

    @property
    def progress_as_read(self) -> BatchProgress:
        """How far it was when last read."""
        stats = self._data.get("completionStats") or {}
        # int64 is text in the API's JSON, and 0 is left out.
        succeeded, failed, left = (
            int(stats.get(f"{name}Count", 0)) for name in ("successful", "failed", "incomplete")
        )
        known = bool(stats) and left >= 0 and (self.state_as_read.ended or left > 0)
        total = succeeded + failed + left if known else None
        if self._count is not None:
            # The service knows nothing of lines that are no instances, and were not sent.
            total = max(self._count, total or 0)
            if self.state_as_read is JobState.SUCCEEDED:
                failed = total - succeeded
        return BatchProgress(succeeded, failed, total)

    @property
    def partial_failures(self) -> tuple[str, ...]:
        """What failed without ending the job, in the service's words; 20 of them at most."""
        told = [str(one.get("message", "")) for one in self._data.get("partialFailures", ())]
        if not self._written_uris:
            return tuple(told)
        return tuple(dict.fromkeys(without_place(one, self._written_uris) for one in told))

    @property
    def _input(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._data.get("inputConfig", {})
        return found

    @property
    def _config(self) -> InstanceConfig:
        """How the job makes instances for the model of what it reads."""
        config = self._data.get("instanceConfig", {})
        return InstanceConfig(
            instance_type=config.get("instanceType") or None,
            key_field=config.get("keyField") or None,
            included_fields=tuple(config.get("includedFields", ())),
            excluded_fields=tuple(config.get("excludedFields", ())),
        )

    @property
    def _has_positions(self) -> bool:
        """Whether its instances have their positions as keys."""
        return self._config.has_positions

    @property
    def _written_uris(self) -> tuple[str, ...]:
        """Its input, where vertexkit has written that."""
        return () if self._count is None else self.input_uris

    @property
    def _count(self) -> int | None:
        """How many instances vertexkit has written for it; None if it has written none."""
        count = str(self._data.get("labels", {}).get(COUNT_LABEL, ""))
        return int(count) if count.isdecimal() else None

    def _repr_html_(self) -> str:
        progress = self.progress_as_read
        started = self.state_as_read not in (JobState.QUEUED, JobState.PENDING)
        failures = [*self.partial_failures[:_SHOWN]]
        if len(self.partial_failures) > _SHOWN:
            failures.append("...")
        facts = {
            "state": self.state_as_read.value,
            "name": self.resource_name,
            "created": f"{self.created:%Y-%m-%d %H:%M:%S} UTC",
            "took": took(self.start_time, self.end_time),
            "model": self.model_name,
            "input": f"{', '.join(self.input_uris)} ({self.input_format})",
            "progress": str(progress) if started or progress.done else "",
            "output": self.output_uri or "",
            "error": self.error or "",
            "failures": "; ".join(failures),
        }
        return described(f"Batch prediction job {self.display_name}", facts)
