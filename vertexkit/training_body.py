"""The resources that a training job is, as JSON.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.trainingPipelines and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vertexkit._core.names import parse_gcs_uri
from vertexkit.training_images import parse_training_image
from vertexkit.training_plan import TrainingPlan
from vertexkit.worker_pools import worker_pool_specs

__all__ = ["CUSTOM_JOBS", "PIPELINES", "job_spec", "training_body"]

PIPELINES: Final = "trainingPipelines"
CUSTOM_JOBS: Final = "customJobs"

_DEFINITION: Final = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"


def training_body(
    plan: TrainingPlan, *, packages: Sequence[str], output: str, labels: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The collection that the job belongs in, and the resource to create there.

    A pipeline, which makes a model of what the job has written; a custom job where none is wanted.

    Args:
        plan: The job, with which nothing is wrong.
        packages: ``gs://`` URIs of what is to be installed.
        output: ``gs://`` folder for what the job writes.
        labels: Its labels.
    """
    spec = job_spec(plan, packages, output)
    if plan.model is None:
        return CUSTOM_JOBS, {"displayName": plan.name, "labels": dict(labels), "jobSpec": spec}
    body: dict[str, Any] = {
        "displayName": plan.name,
        "labels": dict(labels),
        "trainingTaskDefinition": _DEFINITION,
        "trainingTaskInputs": spec,
        "modelToUpload": {
            "displayName": plan.model,
            "labels": plan.labels,
            "containerSpec": {"imageUri": plan.serving_image},
        },
    }
    if plan.dataset is not None:
        body["inputDataConfig"] = {
            "datasetId": plan.dataset,
            "gcsDestination": {"outputUriPrefix": output},
        }
    return PIPELINES, body


def job_spec(plan: TrainingPlan, packages: Sequence[str], output: str) -> dict[str, Any]:
    """The ``CustomJobSpec`` of what is to run; see `training_body`."""
    spec: dict[str, Any] = {
        "workerPoolSpecs": worker_pool_specs(plan.pools, _program(plan, packages)),
        "baseOutputDirectory": {"outputUriPrefix": output},
    }
    scheduling: dict[str, Any] = {}
    if plan.timeout is not None:
        scheduling["timeout"] = f"{plan.timeout:.9g}s"
    if plan.restart_on_worker_restart:
        scheduling["restartJobOnWorkerRestart"] = True
    if plan.spot:
        scheduling["strategy"] = "SPOT"
    if scheduling:
        spec["scheduling"] = scheduling
    named = {
        "serviceAccount": plan.service_account,
        "network": plan.network,
        "tensorboard": plan.tensorboard,
    }
    return {**spec, **{field: value for field, value in named.items() if value is not None}}


def _program(plan: TrainingPlan, packages: Sequence[str]) -> dict[str, Any]:
    """What every replica runs, as a field of its worker pool."""
    rest: dict[str, Any] = {}
    if plan.args:
        rest["args"] = list(plan.args)
    if plan.env:
        rest["env"] = [{"name": name, "value": value} for name, value in plan.env.items()]
    if plan.program is None:
        command = {"command": list(plan.command)} if plan.command else {}
        return {"containerSpec": {"imageUri": plan.image, **command, **rest}}
    if parse_training_image(plan.image) is not None:
        return {
            "pythonPackageSpec": {
                "executorImageUri": plan.image,
                "packageUris": list(packages),
                "pythonModule": plan.program.module,
                **rest,
            }
        }
    # Only prebuilt containers install packages themselves. The arguments follow as "$@".
    script = " && ".join(
        [
            *(
                f"python3 -m pip install --quiet --user --disable-pip-version-check {shlex.quote(path)}"
                for path in map(_mounted, packages)
            ),
            f'exec python3 -m {plan.program.module} "$@"',
        ]
    )
    return {"containerSpec": {"imageUri": plan.image, "command": ["sh", "-c", script, "sh"], **rest}}


def _mounted(uri: str) -> str:
    """Where a replica finds an object as a file."""
    parsed = parse_gcs_uri(uri)
    return f"/gcs/{parsed.bucket}/{parsed.name}"
