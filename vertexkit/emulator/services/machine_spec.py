"""What Vertex AI checks of a machine and its accelerators, in its words.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec
"""

from __future__ import annotations

from collections.abc import Mapping

from vertexkit.emulator.messages import AcceleratorType, Raw
from vertexkit.emulator.validation import invalid, invalid_field
from vertexkit.machines import MachineType


def check_machine_spec(machine: Raw, known_types: Mapping[str, MachineType], path: str) -> None:
    """Refuse a machine type that there is not, or accelerators that it does not take.

    Args:
        machine: The machine spec; its machine type is set.
        known_types: The machine types that there are for what it is to do.
        path: What the machine spec is called in the request.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    known = known_types.get(machine.machine_type)
    if known is None:
        raise invalid(f'Machine type "{machine.machine_type}" is not supported.')
    if bool(machine.accelerator_type) != bool(machine.accelerator_count):
        raise invalid_field(
            f"{path}.accelerator_type",
            "Both accelerator_type and accelerator_count should be specified or none.",
        )
    if not machine.accelerator_type:
        return
    accelerator = accelerator_name(machine, path)
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


def accelerator_name(machine: Raw, path: str) -> str:
    """The accelerator type of a machine spec by name; empty for none.

    Raises:
        ApiError: INVALID_ARGUMENT, there is no such accelerator.
    """
    if not machine.accelerator_type:
        return ""
    try:
        return str(AcceleratorType(machine.accelerator_type).name)
    except ValueError:
        raise invalid_field(
            f"{path}.accelerator_type", f"There is no accelerator {machine.accelerator_type}."
        ) from None
