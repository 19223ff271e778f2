"""What Vertex AI checks of the machines that a deployed model asks for, in its words."""

from __future__ import annotations

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import AcceleratorType, Raw
from vertexkit.emulator.validation import invalid, invalid_field
from vertexkit.machines import machine_types

DEFAULT_MACHINE_TYPE = "n1-standard-2"
_FIELD = "deployed_model.dedicated_resources"


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
    for field in ("gpu_partition_size", "tpu_topology"):
        if getattr(machine, field):
            raise ApiError(
                Code.UNIMPLEMENTED, f"The local Vertex AI does not support {_FIELD}.machine_spec.{field}."
            )
    if not machine.machine_type:
        machine.machine_type = DEFAULT_MACHINE_TYPE
    _check_machine(machine)
    check_replica_counts(resources)


def check_replica_counts(resources: Raw) -> None:
    """Refuse replica counts that make no sense; a missing maximum becomes the minimum.

    Raises:
        ApiError: INVALID_ARGUMENT.
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


def replicas_wanted(deployed_model: Raw) -> int:
    """How many replicas run when there is no load: there is no scaling up locally."""
    return int(deployed_model.dedicated_resources.min_replica_count)


def _check_machine(machine: Raw) -> None:
    known = machine_types().get(machine.machine_type)
    if known is None:
        raise invalid(f'Machine type "{machine.machine_type}" is not supported.')
    if bool(machine.accelerator_type) != bool(machine.accelerator_count):
        raise invalid_field(
            f"{_FIELD}.machine_spec.accelerator_type",
            "Both accelerator_type and accelerator_count should be specified or none.",
        )
    if not machine.accelerator_type:
        return
    try:
        accelerator = AcceleratorType(machine.accelerator_type).name
    except ValueError:
        raise invalid_field(
            f"{_FIELD}.machine_spec.accelerator_type", f"There is no accelerator {machine.accelerator_type}."
        ) from None
    counts = known.accelerators.get(accelerator)
    if counts is None:
        raise invalid(
            f'Accelerator "{accelerator}" is not supported for machine type "{machine.machine_type}"'
        )
    if machine.accelerator_count not in counts:
        raise invalid(
            f'Accelerator count {machine.accelerator_count} of "{accelerator}" is not supported for machine '
            f'type "{machine.machine_type}": it takes {", ".join(map(str, counts))}.'
        )
