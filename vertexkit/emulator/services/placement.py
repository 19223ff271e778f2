"""What of a deployment this machine can do: how many replicas, GPU or CPU, and what to tell of the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vertexkit.emulator.messages import AcceleratorType, Raw
from vertexkit.images import ServingImage
from vertexkit.machines import RETIRED

_REPLICA_BYTES: Final = 450 * 2**20
"""Memory that a model server needs to start: TensorFlow's runtime takes most of it."""
_VISIBLE_GPUS: Final = "CUDA_VISIBLE_DEVICES"
_NO_GPU: Final = "-1"
_NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia/version")


def replicas_that_fit() -> int:
    """How many more model servers this machine can hold; at least one."""
    by_processor = 2 * (os.cpu_count() or 1)
    return max(1, min(by_processor, _available_bytes() // _REPLICA_BYTES))


def gpu_environment(machine: Raw) -> Mapping[str, str]:
    """What tells replicas which of this machine's GPUs are theirs, and whether any.

    Whoever asked for no accelerator gets none, as on Vertex AI; the GPUs that the emulator itself may
    not see stay hidden.

    Args:
        machine: The deployed model's machine spec.
    """
    if not _on_gpu(machine):
        return {_VISIBLE_GPUS: _NO_GPU}
    return {
        _VISIBLE_GPUS: os.environ.get(_VISIBLE_GPUS, ",".join(map(str, range(machine.accelerator_count))))
    }


def notices(deployed_model: Raw, image: ServingImage, replicas: int) -> list[str]:
    """What is not as the user asked for.

    Args:
        deployed_model: What was asked for.
        image: The serving container.
        replicas: How many replicas there are.
    """
    resources = deployed_model.dedicated_resources
    told = _about_accelerator(resources.machine_spec, image)
    wanted, most = resources.min_replica_count, resources.max_replica_count
    if replicas < wanted:
        told.append(f"Served by {replicas} of {wanted} replicas: this machine holds no more.")
    if wanted < most:
        told.append(
            "Served by min_replica_count replicas under any load: the local Vertex AI does not scale up to "
            f"max_replica_count, {most}."
        )
    if resources.spot:
        told.append(
            "Not served on Spot VMs: the local Vertex AI has this machine only, and preempts nothing."
        )
    return told


def _about_accelerator(machine: Raw, image: ServingImage) -> list[str]:
    if not machine.accelerator_type:
        if not image.gpu:
            return []
        return ["Served on CPU: the image is built for GPUs, and the deployment asks for none."]
    accelerator = AcceleratorType(machine.accelerator_type).name
    if _on_gpu(machine):
        told = [f"Served on this machine's own GPU, if TensorFlow can use it, instead of {accelerator}."]
    else:
        told = [f"Served on CPU: the local Vertex AI has no {accelerator}."]
    if accelerator in RETIRED:
        told.append(f"{accelerator}: {RETIRED[accelerator]}.")
    return told


def _on_gpu(machine: Raw) -> bool:
    return bool(machine.accelerator_type) and _has_gpu()


def _has_gpu() -> bool:
    """Whether there is a GPU that TensorFlow could use, and that this process may see."""
    return _NVIDIA_DRIVER.exists() and os.environ.get(_VISIBLE_GPUS) not in {"", _NO_GPU}


def _available_bytes() -> int:
    """Memory that processes can still get."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        # Not Linux: half of what there is serves as an estimate.
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
