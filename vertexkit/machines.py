"""Machine types that serve predictions, and the accelerators that each of them takes.

Source: https://cloud.google.com/vertex-ai/docs/predictions/configure-compute and, for Cloud TPU,
https://cloud.google.com/vertex-ai/docs/predictions/use-tpu, as they stood on :data:`TABLE_DATE`.
Google adds machine types and drops accelerators now and then; the table is the one place to follow it.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from vertexkit.errors import Finding
from vertexkit.types import Machine

__all__ = [
    "ACCELERATORS",
    "RETIRED",
    "TABLE_DATE",
    "MachineType",
    "check_machine",
    "check_machine_in",
    "machine_types",
]

TABLE_DATE: Final = "2026-11-22"
DOCUMENTATION: Final = "https://cloud.google.com/vertex-ai/docs/predictions/configure-compute"

# Family, then (vCPUs, GB of memory for each vCPU): memory is proportional but for the few below.
_FAMILIES: Final[Mapping[str, tuple[str, float]]] = {
    "e2-standard": ("2 4 8 16 32", 4),
    "e2-highmem": ("2 4 8 16", 8),
    "e2-highcpu": ("2 4 8 16 32", 1),
    "n1-standard": ("2 4 8 16 32", 3.75),
    "n1-highmem": ("2 4 8 16 32", 6.5),
    "n1-highcpu": ("2 4 8 16 32", 0.9),
    "n2-standard": ("2 4 8 16 32 48 64 80 96 128", 4),
    "n2-highmem": ("2 4 8 16 32 48 64 80 96 128", 8),
    "n2-highcpu": ("2 4 8 16 32 48 64 80 96", 1),
    "n2d-standard": ("2 4 8 16 32 48 64 80 96 128 224", 4),
    "n2d-highmem": ("2 4 8 16 32 48 64 80 96", 8),
    "n2d-highcpu": ("2 4 8 16 32 48 64 80 96 128 224", 1),
    "c2-standard": ("4 8 16 30 60", 4),
    "c2d-standard": ("2 4 8 16 32 56 112", 4),
    "c2d-highcpu": ("2 4 8 16 32 56 112", 2),
    "c2d-highmem": ("2 4 8 16 32 56 112", 8),
    "c3-highcpu": ("4 8 22 44 88 176", 2),
}
_MEMORY_OUT_OF_PROPORTION: Final = {"n2-highmem-128": 864.0}

# Machine types with GPUs built in: vCPUs, GB of memory, accelerator, how many.
_BUILT_IN: Final[Mapping[str, tuple[int, float, str, int]]] = {
    "a2-highgpu-1g": (12, 85, "NVIDIA_TESLA_A100", 1),
    "a2-highgpu-2g": (24, 170, "NVIDIA_TESLA_A100", 2),
    "a2-highgpu-4g": (48, 340, "NVIDIA_TESLA_A100", 4),
    "a2-highgpu-8g": (96, 680, "NVIDIA_TESLA_A100", 8),
    "a2-megagpu-16g": (96, 1360, "NVIDIA_TESLA_A100", 16),
    "a2-ultragpu-1g": (12, 170, "NVIDIA_A100_80GB", 1),
    "a2-ultragpu-2g": (24, 340, "NVIDIA_A100_80GB", 2),
    "a2-ultragpu-4g": (48, 680, "NVIDIA_A100_80GB", 4),
    "a2-ultragpu-8g": (96, 1360, "NVIDIA_A100_80GB", 8),
    "a3-highgpu-1g": (26, 234, "NVIDIA_H100_80GB", 1),
    "a3-highgpu-2g": (52, 468, "NVIDIA_H100_80GB", 2),
    "a3-highgpu-4g": (104, 936, "NVIDIA_H100_80GB", 4),
    "a3-highgpu-8g": (208, 1872, "NVIDIA_H100_80GB", 8),
    "a3-edgegpu-8g": (208, 1872, "NVIDIA_H100_80GB", 8),
    "a3-megagpu-8g": (208, 1872, "NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": (224, 2952, "NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": (224, 3968, "NVIDIA_B200", 8),
    "a4x-highgpu-4g": (140, 884, "NVIDIA_GB200", 4),
    "g2-standard-4": (4, 16, "NVIDIA_L4", 1),
    "g2-standard-8": (8, 32, "NVIDIA_L4", 1),
    "g2-standard-12": (12, 48, "NVIDIA_L4", 1),
    "g2-standard-16": (16, 64, "NVIDIA_L4", 1),
    "g2-standard-24": (24, 96, "NVIDIA_L4", 2),
    "g2-standard-32": (32, 128, "NVIDIA_L4", 1),
    "g2-standard-48": (48, 192, "NVIDIA_L4", 4),
    "g2-standard-96": (96, 384, "NVIDIA_L4", 8),
    "g4-standard-48": (48, 180, "NVIDIA_RTX_PRO_6000", 1),
    "g4-standard-96": (96, 360, "NVIDIA_RTX_PRO_6000", 2),
    "g4-standard-192": (192, 720, "NVIDIA_RTX_PRO_6000", 4),
    "g4-standard-384": (384, 1440, "NVIDIA_RTX_PRO_6000", 8),
}
# A replica may take some of the GPUs of these, and share the machine with other replicas.
_COSCHEDULED: Final = ("a2-", "a3-", "a4-", "g4-")

RETIRED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NVIDIA_TESLA_K80": "was retired by Google Cloud on 1 May 2024: "
        "https://cloud.google.com/compute/docs/eol/k80-eol",
    }
)
"""Accelerators that Google Cloud no longer has, and what is wrong with them therefore."""

# Machine types with Cloud TPU chips built in, and how many. The page gives neither vCPUs nor memory.
_TPU: Final[Mapping[str, tuple[str, int]]] = {
    "ct5lp-hightpu-1t": ("Cloud TPU v5e", 1),
    "ct5lp-hightpu-4t": ("Cloud TPU v5e", 4),
    "ct5lp-hightpu-8t": ("Cloud TPU v5e", 8),
    "ct6e-standard-1t": ("Cloud TPU v6e", 1),
    "ct6e-standard-4t": ("Cloud TPU v6e", 4),
    "ct6e-standard-8t": ("Cloud TPU v6e", 8),
    "tpu7x-standard-4t": ("Cloud TPU7x", 4),
}


@dataclass(frozen=True)
class MachineType:
    """One machine type."""

    name: str
    vcpus: int | None
    """Virtual CPUs; None for the Cloud TPU machine types."""
    memory_gb: float | None
    """Memory in GB; None for the Cloud TPU machine types."""
    accelerators: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Accelerator types that it takes, and in which numbers."""
    built_in: bool = False
    """Whether the accelerators come with the machine type, rather than being attached to it."""
    tpu: str | None = None
    """What Cloud TPU chips it has built in, such as ``4 x Cloud TPU v5e``."""


@functools.cache
def machine_types() -> Mapping[str, MachineType]:
    """Every machine type that serves predictions, by name."""
    table = {}
    for family, (sizes, gb_per_vcpu) in _FAMILIES.items():
        for vcpus in map(int, sizes.split()):
            name = f"{family}-{vcpus}"
            memory = _MEMORY_OUT_OF_PROPORTION.get(name, round(vcpus * gb_per_vcpu, 1))
            attachable = _attachable(vcpus) if family.startswith("n1-") else {}
            table[name] = MachineType(name, vcpus, memory, MappingProxyType(attachable))
    for name, (vcpus, memory, accelerator, count) in _BUILT_IN.items():
        counts = tuple(range(1, count + 1)) if name.startswith(_COSCHEDULED) else (count,)
        table[name] = MachineType(name, vcpus, memory, MappingProxyType({accelerator: counts}), built_in=True)
    for name, (chip, count) in _TPU.items():
        table[name] = MachineType(name, None, None, built_in=True, tpu=f"{count} x {chip}")
    return MappingProxyType(table)


def _attachable(vcpus: int) -> dict[str, tuple[int, ...]]:
    """The accelerators that an N1 machine type takes: the more vCPUs, the more it must have."""
    least = max(1, math.ceil(vcpus / 16))
    least_v100 = max(1, math.ceil(vcpus / 8))
    up_to_four = tuple(count for count in (1, 2, 4) if count >= least)
    up_to_eight = tuple(count for count in (1, 2, 4, 8) if count >= least_v100)
    return {
        "NVIDIA_TESLA_T4": up_to_four,
        "NVIDIA_TESLA_P4": up_to_four,
        "NVIDIA_TESLA_P100": up_to_four,
        "NVIDIA_TESLA_V100": up_to_eight,
        "NVIDIA_TESLA_K80": up_to_eight,
    }


ACCELERATORS: Final = tuple(
    dict.fromkeys([*_attachable(2), *(accelerator for _, _, accelerator, _ in _BUILT_IN.values())])
)
"""Every accelerator type in the table, retired ones included."""


def check_machine(machine: object) -> list[Finding]:
    """Whether a machine type exists, and takes the accelerators asked for.

    Args:
        machine: Machine type, accelerator and number of accelerators.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong. A retired accelerator is a
        warning: scripts that name one still run on the local Vertex AI.
    """
    return check_machine_in(machine_types(), machine, "serves predictions", DOCUMENTATION)


def check_machine_in(
    types: Mapping[str, MachineType], machine: object, purpose: str, documentation: str
) -> list[Finding]:
    """Whether a machine is in a table, and takes the accelerators asked for.

    Args:
        types: The table.
        machine: Machine type, accelerator and number of accelerators.
        purpose: What the machine types of the table do.
        documentation: Where they are listed.

    Returns:
        As `check_machine`.
    """
    if not isinstance(machine, Machine):
        return [Finding("machine", machine, "is neither a Machine nor the name of a machine type")]
    if not isinstance(machine.type, str):
        return [Finding("machine", machine.type, "is not the name of a machine type")]
    known = types.get(machine.type)
    if known is None:
        return [_unknown_machine(machine.type, types, purpose, documentation)]
    return _check_accelerator(machine, known, types)


def _check_accelerator(
    machine: Machine, known: MachineType, types: Mapping[str, MachineType]
) -> list[Finding]:
    if machine.accelerator is None:
        if machine.accelerator_count == 0:
            return []
        return [
            Finding(
                "accelerator_count",
                machine.accelerator_count,
                "is a number of accelerators of no type",
                f"name one ({machine.type} takes {_numbers_by_accelerator(known)}), or leave the number out",
            )
        ]
    if machine.accelerator not in ACCELERATORS:
        return [_unknown_accelerator(machine.accelerator)]
    findings = []
    counts = known.accelerators.get(machine.accelerator)
    if counts is None:
        findings.append(_wrong_machine(machine, known, types))
    elif machine.accelerator_count not in counts:
        findings.append(
            Finding(
                "accelerator_count",
                machine.accelerator_count,
                f"is not a number of {machine.accelerator} that {machine.type} takes",
                f"use {_numbers(counts)}",
            )
        )
    if machine.accelerator in RETIRED:
        findings.append(
            Finding(
                "accelerator",
                machine.accelerator,
                RETIRED[machine.accelerator],
                "use NVIDIA_TESLA_T4 or NVIDIA_L4",
                warning=True,
            )
        )
    return findings


def _unknown_machine(
    name: str, types: Mapping[str, MachineType], purpose: str, documentation: str
) -> Finding:
    joined = re.sub(r"[^a-z0-9]", "", name.lower())
    same_letters = [known for known in types if known.replace("-", "") == joined]
    near = same_letters or difflib.get_close_matches(name.lower(), types, n=3, cutoff=0.75)
    remedy = f"use {' or '.join(near)}, or another one of" if near else "use one of"
    return Finding(
        "machine",
        name,
        f"is not a machine type that {purpose}",
        f"{remedy} {documentation} (as of {TABLE_DATE})",
    )


def _unknown_accelerator(name: object) -> Finding:
    if not isinstance(name, str):
        return Finding("accelerator", name, "is not the name of an accelerator")
    simple = name.upper().replace("-", "_")
    spelled = [known for known in ACCELERATORS if known == simple or known.endswith("_" + simple)]
    near = spelled or difflib.get_close_matches(simple, ACCELERATORS, n=2, cutoff=0.6)
    remedy = f"use {' or '.join(near) if near else 'one of ' + ', '.join(ACCELERATORS)}"
    return Finding("accelerator", name, "is not an accelerator of Vertex AI", remedy)


def _wrong_machine(machine: Machine, known: MachineType, types: Mapping[str, MachineType]) -> Finding:
    accelerator = str(machine.accelerator)
    if known.tpu is not None:
        return Finding(
            "accelerator",
            accelerator,
            f"cannot be added to {machine.type}, which has {known.tpu} built in",
            f"name none: Machine({machine.type!r})",
        )
    takers = [
        taker
        for taker in types.values()
        if machine.accelerator_count in taker.accelerators.get(accelerator, ())
    ] or [taker for taker in types.values() if accelerator in taker.accelerators]
    # The machine type nearest to the one asked for: of its family, else in size.
    nearest = min(
        takers,
        key=lambda taker: (
            taker.name.rpartition("-")[0] != known.name.rpartition("-")[0],
            abs((taker.vcpus or 0) - (known.vcpus or 0)),
            abs((taker.memory_gb or 0.0) - (known.memory_gb or 0.0)),
        ),
    )
    others = f"; {machine.type} takes {_numbers_by_accelerator(known)}" if known.accelerators else ""
    return Finding(
        "accelerator",
        accelerator,
        f"is not supported for machine type {machine.type}",
        f"use {nearest.name}, with {_numbers(nearest.accelerators[accelerator])} of them{others}",
    )


def _numbers(counts: tuple[int, ...]) -> str:
    """``1, 2 or 4``."""
    *most, last = map(str, counts)
    return f"{', '.join(most)} or {last}" if most else last


def _numbers_by_accelerator(known: MachineType) -> str:
    if not known.accelerators:
        return "no accelerators"
    return ", ".join(
        f"{_numbers(counts)} {name}" for name, counts in known.accelerators.items() if name not in RETIRED
    )
