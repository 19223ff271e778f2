"""What Vertex AI checks of the machines that a deployed model asks for, in its words.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/DedicatedResources and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec
"""

from __future__ import annotations

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.services.machine_spec import check_machine_spec
from vertexkit.emulator.validation import check_supported, invalid, invalid_field
from vertexkit.machines import machine_types

DEFAULT_MACHINE_TYPE = "n1-standard-2"
_FIELD = "deployed_model.dedicated_resources"
_RESOURCES = frozenset(
    {
        "autoscaling_metric_specs",
        "machine_spec",
        "max_replica_count",
        "min_replica_count",
        "required_replica_count",
        "spot",
    }
)
_MACHINE = frozenset({"accelerator_count", "accelerator_type", "machine_type"})
_METRIC_SPEC = frozenset({"metric_name", "target"})
_METRICS = "aiplatform.googleapis.com/prediction/online/"
_DUTY_CYCLE, _REQUEST_COUNT = f"{_METRICS}accelerator/duty_cycle", f"{_METRICS}request_count"
_METRIC_NAMES = (_DUTY_CYCLE, f"{_METRICS}cpu/utilization", _REQUEST_COUNT)
_OTHER_METRICS = ("prometheus.googleapis.com/", "pubsub.googleapis.com/")
"""What metrics of other services begin with, which Vertex AI scales by too."""


def check_resources(deployed_model: Raw, model_name: str) -> None:
    """Refuse resources that a deployed model cannot have, and fill in defaults.

    Args:
        deployed_model: The deployed model of the request; changed in place.
        model_name: The model, for the message.

    Raises:
        ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for what the local Vertex AI does not do.
    """
    kind = deployed_model.WhichOneof("prediction_resources")
    if kind is None:
        raise invalid_field(_FIELD, "Required field is not set.")
    if kind != "dedicated_resources":
        raise invalid(f"'{kind}' is not supported for Model {model_name}.")
    resources = deployed_model.dedicated_resources
    machine = resources.machine_spec
    check_supported(resources, _RESOURCES, _FIELD)
    check_supported(machine, _MACHINE, f"{_FIELD}.machine_spec")
    if not machine.machine_type:
        machine.machine_type = DEFAULT_MACHINE_TYPE
    check_machine_spec(machine, machine_types(), f"{_FIELD}.machine_spec")
    check_scaling(resources)


def check_scaling(resources: Raw) -> None:
    """Refuse replica counts and metrics that make no sense; a missing maximum becomes the minimum.

    Raises:
        ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for a metric of another service.
    """
    if resources.min_replica_count < 1:
        raise invalid_field(f"{_FIELD}.min_replica_count", "It must be greater than or equal to 1.")
    if not resources.max_replica_count:
        resources.max_replica_count = resources.min_replica_count
    if resources.max_replica_count < resources.min_replica_count:
        raise invalid_field(
            f"{_FIELD}.max_replica_count",
            f"It is {resources.max_replica_count}, and must be greater than or equal to min_replica_count, "
            f"{resources.min_replica_count}.",
        )
    if not 0 <= resources.required_replica_count <= resources.min_replica_count:
        raise invalid_field(
            f"{_FIELD}.required_replica_count",
            f"It is {resources.required_replica_count}, and must be between 1 and min_replica_count, "
            f"{resources.min_replica_count}, or not set.",
        )
    for spec in resources.autoscaling_metric_specs:
        _check_metric(spec, has_accelerator=bool(resources.machine_spec.accelerator_type))


def replicas_wanted(deployed_model: Raw) -> int:
    """How many replicas run when there is no load: there is no scaling up locally."""
    return int(deployed_model.dedicated_resources.min_replica_count)


def _check_metric(spec: Raw, *, has_accelerator: bool) -> None:
    """Refuse a metric that there is not, or a target that it cannot have.

    Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/AutoscalingMetricSpec
    """
    field = f"{_FIELD}.autoscaling_metric_specs"
    check_supported(spec, _METRIC_SPEC, field)
    if spec.metric_name.startswith(_OTHER_METRICS):
        raise ApiError(
            Code.UNIMPLEMENTED, f"The local Vertex AI does not support {field} with {spec.metric_name}."
        )
    if spec.metric_name not in _METRIC_NAMES:
        raise invalid_field(
            f"{field}.metric_name",
            f'"{spec.metric_name}" is not one of the metrics {", ".join(_METRIC_NAMES)}.',
        )
    if spec.metric_name == _DUTY_CYCLE and not has_accelerator:
        raise invalid_field(f"{field}.metric_name", f"{_DUTY_CYCLE} is of accelerators, and there is none.")
    # Not set, it is 60; requests are counted, and the others are percentages.
    if spec.target < 0 or (spec.target > 100 and spec.metric_name != _REQUEST_COUNT):
        raise invalid_field(f"{field}.target", f"It is {spec.target}, and must be between 1 and 100.")
