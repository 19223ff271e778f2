"""How a search ends: by what has come of its trials so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.services.job_verdict import SUCCEEDED, Verdict, failed
from vertexkit.emulator.services.tuning_spec import argument_texts
from vertexkit.emulator.tuning.types import ParameterValue, StudyConfig

_HOPELESS: Final = 10
"""Failed trials after which, with none that succeeded, a job fails that does not say how many may fail."""


@dataclass(frozen=True)
class Failure:
    """A trial that is infeasible."""

    trial_id: str
    values: Mapping[str, ParameterValue]
    reason: str


@dataclass
class Tally:
    """The trials that there have been, of one job."""

    config: StudyConfig
    max_trials: int
    max_failed: int
    """Failed trials that fail the job; 0 leaves that to Vertex AI."""
    count: int = 0
    succeeded: int = 0
    failures: list[Failure] = field(default_factory=list)
    """In the order in which they failed."""

    def too_many_failures(self) -> Verdict | None:
        """That the job fails before its end, if it does."""
        if self.max_failed and len(self.failures) >= self.max_failed:
            last = self.failures[self.max_failed - 1]
            return _failed(
                f"{self.max_failed} of the job's trials have failed, which is its max_failed_trial_count. "
                f"The last one was trial {last.trial_id}, with the parameters {self._written(last)}: "
                f"{last.reason}"
            )
        hopeless = min(_HOPELESS, self.max_trials)
        if not self.max_failed and not self.succeeded and len(self.failures) >= hopeless:
            return self._none_succeeded()
        return None

    def at_the_end(self) -> Verdict:
        """How the job ends when there are no more trials."""
        return SUCCEEDED if self.succeeded else self._none_succeeded()

    def _none_succeeded(self) -> Verdict:
        # The words of AI Platform Training, from which Vertex AI has its tuning.
        first, count = self.failures[0], len(self.failures)
        others = f" ({count} trials have failed)" if count > 1 else ""
        # What failed comes last: it ends with a command to copy.
        return _failed(
            f"Hyperparameter Tuning Trial #{first.trial_id} Failed before any other successful trials were "
            f"completed{others}. The failed trial had parameters: {self._written(first)}. The trial's error "
            f"message was: {first.reason}"
        )

    def _written(self, failure: Failure) -> str:
        texts = argument_texts(self.config, failure.values)
        return ", ".join(f"{name}={text}" for name, text in texts.items())


def _failed(message: str) -> Verdict:
    return failed(ApiError(Code.INVALID_ARGUMENT, message))
