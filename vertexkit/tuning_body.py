"""The resource that a tuning job is, as JSON.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.hyperparameterTuningJobs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vertexkit.training_body import job_spec

if TYPE_CHECKING:
    from vertexkit.tuning_plan import TuningPlan

__all__ = ["TUNING_JOBS", "tuning_body"]

TUNING_JOBS: Final = "hyperparameterTuningJobs"


def tuning_body(
    plan: TuningPlan, *, packages: Sequence[str], output: str, labels: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The collection that the job belongs in, and the resource to create there.

    Args:
        plan: The job, with which nothing is wrong.
        packages: ``gs://`` URIs of what is to be installed.
        output: ``gs://`` folder for what the trials write, each below its id.
        labels: Its labels.
    """
    body: dict[str, Any] = {
        "displayName": plan.trial.name,
        "labels": dict(labels),
        "studySpec": plan.study,
        "maxTrialCount": plan.trials,
        "parallelTrialCount": plan.parallel,
        "trialJobSpec": job_spec(plan.trial, packages, output),
    }
    if plan.max_failed is not None:
        body["maxFailedTrialCount"] = plan.max_failed
    return TUNING_JOBS, body
