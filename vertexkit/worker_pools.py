"""The machines of a training job, in the four pools that Vertex AI has for them.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec#WorkerPoolSpec
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertexkit.errors import Finding
from vertexkit.training_machines import check_training_machine, training_machine_types
from vertexkit.types import Machine

__all__ = ["Pool", "check_pools", "machine_spec", "pools_of", "with_gpu", "worker_pool_specs"]

_DISK = {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100}


@dataclass(frozen=True)
class Pool:
    """Replicas that are all alike; as the caller gave them, until `check_pools` has passed them."""

    role: str
    """The argument that says how many there are: ``"workers"``."""
    machine_role: str
    """The argument that says on what: ``"worker_machine"``."""
    count: int
    machine: Machine


def pools_of(
    *,
    machine: Machine | str,
    workers: int = 0,
    parameter_servers: int = 0,
    evaluators: int = 0,
    worker_machine: Machine | str | None = None,
    parameter_server_machine: Machine | str | None = None,
    evaluator_machine: Machine | str | None = None,
) -> tuple[Pool, ...]:
    """The four pools in the order of the API: the chief, workers, parameter servers, evaluators.

    Args:
        machine: That of the chief, and of all that are given none of their own.
        workers: Replicas beside the chief.
        parameter_servers: Replicas that hold the variables.
        evaluators: Replicas that evaluate, and are not in the cluster.
        worker_machine: Machine of the workers.
        parameter_server_machine: Machine of the parameter servers.
        evaluator_machine: Machine of the evaluators.
    """
    chief = _machine(machine)
    return (
        Pool("chief", "machine", 1, chief),
        Pool("workers", "worker_machine", workers, _machine(worker_machine, chief)),
        Pool(
            "parameter_servers",
            "parameter_server_machine",
            parameter_servers,
            _machine(parameter_server_machine, chief),
        ),
        Pool("evaluators", "evaluator_machine", evaluators, _machine(evaluator_machine, chief)),
    )


def check_pools(pools: tuple[Pool, ...]) -> list[Finding]:
    """Whether there can be such pools.

    Returns:
        What is wrong, each only once: most pools have the machine of the chief.
    """
    findings: list[Finding] = []
    chief = pools[0].machine
    for pool in pools:
        if isinstance(pool.count, bool) or not isinstance(pool.count, int) or pool.count < 0:
            findings.append(Finding(pool.role, pool.count, "is not a whole number from 0 up"))
        if pool is pools[0] or pool.machine != chief:
            wrong = check_training_machine(pool.machine, pool.machine_role)
            findings += wrong or ([] if pool.count else [_unused(pool)])
    return findings


def with_gpu(pools: tuple[Pool, ...]) -> bool:
    """Whether any machine has accelerators, attached or built in."""
    return any(pool.count and _has_accelerator(pool.machine) for pool in pools)


def worker_pool_specs(pools: tuple[Pool, ...], program: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ``workerPoolSpecs`` of a job: one that is left out in the middle is an empty message.

    Args:
        pools: As of `pools_of`.
        program: What every replica runs: ``{"pythonPackageSpec": ...}`` or ``{"containerSpec": ...}``.
    """
    specs = [{} if pool.count == 0 else _spec(pool, program) for pool in pools]
    while specs and not specs[-1]:
        specs.pop()
    return specs


def _unused(pool: Pool) -> Finding:
    problem, remedy = f"is given without {pool.role}", f"give {pool.role}=, or leave it out"
    return Finding(pool.machine_role, pool.machine.type, problem, remedy, warning=True)


def machine_spec(machine: Machine) -> dict[str, Any]:
    """A machine as JSON: ``{"machineType": "n1-standard-4", ...}``."""
    spec: dict[str, Any] = {"machineType": machine.type}
    if machine.accelerator is not None:
        spec["acceleratorType"] = machine.accelerator
        spec["acceleratorCount"] = machine.accelerator_count
    return spec


def _spec(pool: Pool, program: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "machineSpec": machine_spec(pool.machine),
        "replicaCount": pool.count,
        "diskSpec": _DISK,
        **program,
    }


def _machine(given: Machine | str | None, default: Machine | None = None) -> Machine:
    if given is None and default is not None:
        return default
    # What is neither is left for `check_pools` to find.
    return Machine(given) if isinstance(given, str) else given  # type: ignore[return-value]


def _has_accelerator(machine: Machine) -> bool:
    known = training_machine_types().get(machine.type)
    return machine.accelerator is not None or (known is not None and known.built_in and known.tpu is None)
