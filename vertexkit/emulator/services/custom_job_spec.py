"""What Vertex AI checks of a CustomJobSpec, in its words, and what of it the jobs engine is told.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vertexkit._core.names import ResourceName, parse_gcs_uri
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.jobs.types import ContainerProgram, JobSpec, PackageProgram, WorkerPool
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.services.machine_spec import accelerator_name, check_machine_spec
from vertexkit.emulator.validation import check_supported, invalid_fields
from vertexkit.training_images import parse_training_image
from vertexkit.training_machines import training_machine_types

_SPEC: Final = frozenset(
    {
        "base_output_directory",
        "enable_dashboard_access",
        "enable_web_access",
        "network",
        "reserved_ip_ranges",
        "scheduling",
        "service_account",
        "tensorboard",
        "worker_pool_specs",
    }
)
_POOL: Final = frozenset(
    {"container_spec", "disk_spec", "machine_spec", "python_package_spec", "replica_count"}
)
_MACHINE: Final = frozenset({"accelerator_count", "accelerator_type", "machine_type", "reservation_affinity"})
_SCHEDULING: Final = frozenset(
    {"disable_retries", "max_wait_duration", "restart_job_on_worker_restart", "strategy", "timeout"}
)
_WITHOUT_EFFECT: Final = {
    "enable_dashboard_access": "there is no dashboard of a local job",
    "enable_web_access": "the processes of a local job are on this machine, and need no shell from the web",
    "network": "a local job has the network of this machine",
    "reserved_ip_ranges": "a local job has the network of this machine",
    "service_account": "a local job needs no permissions",
    "tensorboard": "the logs stay in AIP_TENSORBOARD_LOG_DIR, which TensorBoard reads",
}
"""Fields that change nothing of what a job computes or leaves behind, and why they are not needed."""

_MOST_POOLS: Final = 4
_MOST: Final = 100
"""Environment variables and packages of a pool at most."""
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_DEFAULT_TIMEOUT: Final = 7 * 24 * 3600.0
_SPOT: Final = frozenset({2, 4})
"""``LOW_COST`` and ``SPOT``."""


def check_spec(spec: Raw, objects: ObjectStore, path: str = "job_spec") -> None:
    """Refuse a spec that Vertex AI refuses, or that asks for what the local one does not do.

    Args:
        spec: The CustomJobSpec.
        objects: The local Cloud Storage, which holds the packages.
        path: What the spec is called in the request.

    Raises:
        ApiError: INVALID_ARGUMENT, naming every wrong field; UNIMPLEMENTED, naming one.
    """
    check_supported(spec, _SPEC, path)
    check_supported(spec.scheduling, _SCHEDULING, f"{path}.scheduling")
    problems: list[tuple[str, str]] = []
    pools = [
        (pool, f"{path}.worker_pool_specs[{index}]")
        for index, pool in enumerate(spec.worker_pool_specs)
        if index == 0 or not _left_out(pool)
    ]
    if not spec.worker_pool_specs:
        problems.append((f"{path}.worker_pool_specs", "Required field is not set."))
    if len(spec.worker_pool_specs) > _MOST_POOLS:
        problems.append(
            (
                f"{path}.worker_pool_specs",
                f"There are {len(spec.worker_pool_specs)} worker pools, and can be up to {_MOST_POOLS}.",
            )
        )
    for index, (pool, where) in enumerate(pools):
        check_supported(pool, _POOL, where)
        check_supported(pool.machine_spec, _MACHINE, f"{where}.machine_spec")
        problems += _replica_problems(pool, where, first=index == 0)
        problems += _machine_problems(pool.machine_spec, f"{where}.machine_spec")
        problems += _program_problems(pool, where, objects)
    problems += _output_problems(spec.base_output_directory, f"{path}.base_output_directory", objects)
    if spec.scheduling.timeout.ToNanoseconds() < 0:
        problems.append((f"{path}.scheduling.timeout", "It must not be negative."))
    if problems:
        raise invalid_fields(problems)
    for pool, where in pools:
        _check_machine(pool.machine_spec, f"{where}.machine_spec")


def engine_spec(
    name: ResourceName,
    spec: Raw,
    *,
    project: str,
    trial_id: str = "",
    family: str = "",
    dataset_env: Mapping[str, str],
) -> JobSpec:
    """What the engine is to run.

    Args:
        name: The CustomJob.
        spec: Its spec, checked.
        project: The project, as whoever created it named it.
        trial_id: The trial of a tuning job that it is.
        family: That tuning job.
        dataset_env: What says where the data of a managed dataset are.
    """
    scheduling = spec.scheduling
    return JobSpec(
        job_id=name.id,
        project=project,
        project_number=name.project,
        location=name.location,
        pools=tuple(None if _left_out(pool) else _engine_pool(pool) for pool in spec.worker_pool_specs),
        base_output_uri=spec.base_output_directory.output_uri_prefix.rstrip("/"),
        trial_id=trial_id,
        family=family,
        dataset_env=dict(dataset_env),
        timeout=scheduling.timeout.ToNanoseconds() / 1e9 or _DEFAULT_TIMEOUT,
        restart_on_worker_restart=restarts(spec),
    )


def restarts(spec: Raw) -> bool:
    """Whether the whole job starts anew after an interruption."""
    return bool(spec.scheduling.restart_job_on_worker_restart and not spec.scheduling.disable_retries)


def notices(spec: Raw) -> list[str]:
    """What of a checked spec is not as it would be in the cloud, to be told in the job's log."""
    told = [
        f"{field} has no effect: {why}." for field, why in _WITHOUT_EFFECT.items() if getattr(spec, field)
    ]
    if spec.scheduling.strategy in _SPOT:
        told.append("Spot VMs: the local Vertex AI has this machine only, and preempts nothing.")
    return told


def _left_out(pool: Raw) -> bool:
    return bool(pool.ByteSize() == 0)


def _engine_pool(pool: Raw) -> WorkerPool:
    program: PackageProgram | ContainerProgram
    if pool.WhichOneof("task") == "python_package_spec":
        task = pool.python_package_spec
        program = PackageProgram(task.executor_image_uri, tuple(task.package_uris), task.python_module)
    else:
        task = pool.container_spec
        program = ContainerProgram(task.image_uri, tuple(task.command))
    machine = pool.machine_spec
    return WorkerPool(
        program=program,
        args=tuple(task.args),
        env={variable.name: variable.value for variable in task.env},
        replica_count=pool.replica_count,
        machine_type=machine.machine_type,
        accelerator_type=accelerator_name(machine, ""),
        accelerator_count=machine.accelerator_count,
    )


def _replica_problems(pool: Raw, where: str, *, first: bool) -> list[tuple[str, str]]:
    field, count = f"{where}.replica_count", pool.replica_count
    if first and count != 1:
        return [(field, f"It is {count}, and the first worker pool has exactly 1 replica.")]
    if count < 1:
        return [(field, f"It is {count}, and must be 1 or more; a pool to be left out is an empty message.")]
    return []


def _machine_problems(machine: Raw, where: str) -> list[tuple[str, str]]:
    problems = []
    if not machine.machine_type:
        problems.append((f"{where}.machine_type", "Required field is not set."))
    if bool(machine.accelerator_type) != bool(machine.accelerator_count):
        problems.append(
            (
                f"{where}.accelerator_type",
                "Both accelerator_type and accelerator_count should be specified or none.",
            )
        )
    return problems


def _program_problems(pool: Raw, where: str, objects: ObjectStore) -> list[tuple[str, str]]:
    kind = pool.WhichOneof("task")
    if kind is None:
        return [(where, "Exactly one of container_spec and python_package_spec must be set.")]
    task, where = getattr(pool, kind), f"{where}.{kind}"
    problems = _environment_problems(task.env, f"{where}.env")
    if kind == "container_spec":
        if not task.image_uri:
            problems.append((f"{where}.image_uri", "Required field is not set."))
        return problems
    if not task.executor_image_uri:
        problems.append((f"{where}.executor_image_uri", "Required field is not set."))
    elif parse_training_image(task.executor_image_uri) is None:
        problems.append(
            (
                f"{where}.executor_image_uri",
                f"{task.executor_image_uri} is not one of the prebuilt containers for training: "
                "https://cloud.google.com/vertex-ai/docs/training/pre-built-containers",
            )
        )
    if not task.python_module:
        problems.append((f"{where}.python_module", "Required field is not set."))
    elif not _MODULE.fullmatch(task.python_module):
        problems.append((f"{where}.python_module", f'"{task.python_module}" is not the name of a module.'))
    if not task.package_uris:
        problems.append((f"{where}.package_uris", "Required field is not set."))
    if len(task.package_uris) > _MOST:
        problems.append(
            (f"{where}.package_uris", f"There are {len(task.package_uris)}, and can be up to {_MOST}.")
        )
    for index, uri in enumerate(task.package_uris):
        problem = _package_problem(uri, objects)
        if problem:
            problems.append((f"{where}.package_uris[{index}]", problem))
    return problems


def _environment_problems(env: Raw, where: str) -> list[tuple[str, str]]:
    problems = []
    if len(env) > _MOST:
        problems.append((where, f"There are {len(env)} variables, and can be up to {_MOST}."))
    seen = set()
    for index, variable in enumerate(env):
        if not _ENVIRONMENT_NAME.fullmatch(variable.name):
            problems.append(
                (
                    f"{where}[{index}].name",
                    f'"{variable.name}" is not the name of an environment variable: letters, digits and _, '
                    "not from a digit on.",
                )
            )
        elif variable.name in seen:
            problems.append((f"{where}[{index}].name", f'"{variable.name}" is given more than once.'))
        if "\0" in variable.value:
            problems.append((f"{where}[{index}].value", "It holds a NUL, as no environment variable can."))
        seen.add(variable.name)
    return problems


def _package_problem(uri: str, objects: ObjectStore) -> str:
    try:
        package = parse_gcs_uri(uri)
    except ValueError as error:
        return f"{error}."
    if not package.name or package.name.endswith("/"):
        return f"{uri} names a bucket or a folder, and has to name a package in it."
    if not objects.bucket_exists(package.bucket):
        return f"{uri} does not exist: there is no bucket gs://{package.bucket}."
    if objects.find(package.bucket, package.name) is None:
        return f"{uri} does not exist."
    return ""


def _output_problems(directory: Raw, where: str, objects: ObjectStore) -> list[tuple[str, str]]:
    uri, field = directory.output_uri_prefix, f"{where}.output_uri_prefix"
    if not uri:
        return []
    try:
        folder = parse_gcs_uri(uri)
    except ValueError as error:
        return [(field, f"{error}.")]
    if not objects.bucket_exists(folder.bucket):
        return [(field, f"The bucket gs://{folder.bucket} of {uri} does not exist.")]
    return []


def _check_machine(machine: Raw, where: str) -> None:
    known_types = training_machine_types()
    check_machine_spec(machine, known_types, where)
    tpu = known_types[machine.machine_type].tpu
    if tpu is not None:
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The local Vertex AI does not support {where}.machine_type {machine.machine_type}: there is no "
            f"{tpu} here.",
        )
