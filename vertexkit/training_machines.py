"""Machine types that custom training runs on, beside those that serve predictions.

Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute as it stood on
:data:`vertexkit.machines.TABLE_DATE`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vertexkit.errors import Finding
from vertexkit.machines import MachineType, check_machine_in, machine_types

__all__ = ["DOCUMENTATION", "check_training_machine", "training_machine_types"]

DOCUMENTATION: Final = "https://cloud.google.com/vertex-ai/docs/training/configure-compute"

# What serves no predictions: vCPUs and GB of memory.
_LARGE: Final[Mapping[str, tuple[int, float]]] = {
    "n1-standard-64": (64, 240),
    "n1-standard-96": (96, 360),
    "n1-highmem-64": (64, 416),
    "n1-highmem-96": (96, 624),
    "n1-highcpu-64": (64, 57.6),
    "n1-highcpu-96": (96, 86.4),
    "m1-megamem-96": (96, 1433.6),
    "m1-ultramem-40": (40, 961),
    "m1-ultramem-80": (80, 1922),
    "m1-ultramem-160": (160, 3844),
}
_ON_LARGE_N1: Final = MappingProxyType(
    {
        "NVIDIA_TESLA_T4": (4,),
        "NVIDIA_TESLA_P4": (4,),
        "NVIDIA_TESLA_P100": (4,),
        "NVIDIA_TESLA_V100": (8,),
        "NVIDIA_TESLA_K80": (8,),
    }
)
_TPU_VM: Final = "cloud-tpu"


@functools.cache
def training_machine_types() -> Mapping[str, MachineType]:
    """Every machine type that custom training runs on, by name."""
    table = dict(machine_types())
    for name, known in machine_types().items():
        # The smallest N1 that takes accelerators for training has 4 vCPUs.
        if name.startswith("n1-") and known.vcpus == 2:
            table[name] = dataclasses.replace(known, accelerators=MappingProxyType({}))
    for name, (vcpus, memory) in _LARGE.items():
        accelerators = _ON_LARGE_N1 if name.startswith("n1-") else MappingProxyType({})
        table[name] = MachineType(name, vcpus, memory, accelerators)
    table[_TPU_VM] = MachineType(_TPU_VM, None, None, built_in=True, tpu="Cloud TPU v2 or v3")
    return MappingProxyType(table)


def check_training_machine(machine: object, argument: str = "machine") -> list[Finding]:
    """Whether a machine type exists for training, and takes the accelerators asked for.

    Args:
        machine: Machine type, accelerator and number of accelerators.
        argument: What the caller calls it.

    Returns:
        What is wrong and what would do; a retired accelerator is a warning.
    """
    findings = check_machine_in(training_machine_types(), machine, "trains", DOCUMENTATION)
    if argument == "machine":
        return findings
    # That of the workers, say: "accelerator" alone would be the chief's.
    return [
        dataclasses.replace(
            found, argument=argument if found.argument == "machine" else f"{argument}.{found.argument}"
        )
        for found in findings
    ]
