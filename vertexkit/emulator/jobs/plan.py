"""What each replica of a job receives: the environment of a training container, as Vertex AI makes it.

Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements and
https://cloud.google.com/vertex-ai/docs/training/distributed-training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vertexkit.emulator.jobs.types import ContainerProgram, JobSpec, PackageProgram, WorkerPool
from vertexkit.emulator.variables import expanded

HOST = "127.0.0.1"
"""Where every replica's ports are: the replicas of a job share this machine."""
CHIEF = "workerpool0-0"
"""The replica whose success is the job's, and whose metrics are a trial's."""
HYPERTUNE = "/tmp/hypertune"  # noqa: S108 (that is where cloudml-hypertune writes)
"""The folder of the metrics where CLOUD_ML_HP_METRIC_FILE is not looked at."""

_TF_ROLES = ("chief", "worker", "ps", "evaluator")
_EVALUATOR = 3
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What google_env may set, and a program as well: its own project, for one.
_USERS_TO_CHOOSE = frozenset({"GOOGLE_CLOUD_PROJECT"})


@dataclass(frozen=True)
class Replica:
    """One replica of a job, before anything of it exists."""

    pool_index: int
    index: int
    """Its number within the pool."""
    rank: int
    """Its number within the job; the chief's is 0."""
    pool: WorkerPool

    @property
    def name(self) -> str:
        """``workerpool0-0``."""
        return f"workerpool{self.pool_index}-{self.index}"

    @property
    def is_chief(self) -> bool:
        """Whether the job's success is this replica's."""
        return self.rank == 0


@dataclass(frozen=True)
class Folders:
    """The folders of one replica on this machine."""

    home: Path
    temporary: Path
    program: Path
    """Its working folder."""


@dataclass(frozen=True)
class Given:
    """What one replica is given of this machine."""

    contract: Mapping[str, str]
    """What :func:`contract_env` says."""
    google_env: Mapping[str, str]
    """What sends Google Cloud calls to the local Vertex AI."""
    gpus: Sequence[str] | None
    """The GPUs that it may use; None where this machine has none to keep from it."""
    folders: Folders
    buckets: Path
    """The folder whose subfolders are the buckets."""
    metrics: Path | None = None
    """The folder that a trial of a tuning job writes its metrics to."""


def replicas(spec: JobSpec) -> tuple[Replica, ...]:
    """Every replica of a job, in the order of their ranks."""
    places = [
        (pool_index, index, pool)
        for pool_index, pool in enumerate(spec.pools)
        if pool is not None
        for index in range(pool.replica_count)
    ]
    return tuple(
        Replica(pool_index, index, rank, pool) for rank, (pool_index, index, pool) in enumerate(places)
    )


def ports_needed(spec: JobSpec) -> int:
    """How many ports the replicas of a job listen on: one each, and the chief's for MASTER_PORT."""
    count = len(replicas(spec))
    return count + 1 if count > 1 else count


def contract_env(
    spec: JobSpec, replica: Replica, ports: Sequence[int], *, metric_file: Path | None = None
) -> dict[str, str]:
    """The variables that Vertex AI sets in a replica's container.

    Args:
        spec: The job.
        replica: One of its replicas.
        ports: As many as :func:`ports_needed` says, by rank, the last one for MASTER_PORT.
        metric_file: Where a trial of a tuning job writes its metrics; None: nowhere.
    """
    everyone = replicas(spec)
    env = {
        "CLOUD_ML_JOB_ID": spec.job_id,
        "CLOUD_ML_PROJECT_ID": spec.project_number,
        "CLOUD_ML_REGION": spec.location,
        "CLUSTER_SPEC": json.dumps(_cluster_spec(spec, replica, everyone, ports)),
        **_output_env(spec),
        **spec.dataset_env,
    }
    if len(everyone) > 1:
        env |= {
            "TF_CONFIG": json.dumps(_tf_config(spec, replica, everyone, ports)),
            "RANK": str(replica.rank),
            "WORLD_SIZE": str(len(everyone)),
            "MASTER_ADDR": HOST,
            "MASTER_PORT": str(ports[len(everyone)]),
        }
    if spec.trial_id:
        env["CLOUD_ML_TRIAL_ID"] = spec.trial_id
        if metric_file is not None:
            env["CLOUD_ML_HP_METRIC_FILE"] = str(metric_file)
    return env


def resolved(replica: Replica, contract: Mapping[str, str]) -> Replica:
    """A replica in whose command, arguments and variables each ``$(NAME)`` is what it stands for.

    Args:
        replica: The replica.
        contract: What :func:`contract_env` says; the user's own variables count after it.
    """
    env: dict[str, str] = {}
    for name, value in replica.pool.env.items():
        env[name] = expanded(value, {**env, **contract})
    known = {**env, **contract}
    program = replica.pool.program
    if isinstance(program, ContainerProgram):
        program = replace(program, command=tuple(expanded(word, known) for word in program.command))
    args = tuple(expanded(word, known) for word in replica.pool.args)
    return replace(replica, pool=replace(replica.pool, program=program, args=args, env=env))


def replica_env(
    replica: Replica, given: Given, *, image_env: Mapping[str, str], image_path: str
) -> dict[str, str]:
    """The whole environment of a replica; nothing of this process's own is in it.

    What the image sets gives way to what the user sets, and that to what Vertex AI sets.

    Args:
        replica: Whose environment.
        given: What it is given.
        image_env: What the image sets.
        image_path: The folder of the image's programs.
    """
    user = dict(replica.pool.env)
    path = f"{image_path}:{user.pop('PATH', _SYSTEM_PATH)}"
    image = dict(image_env)
    if "PYTHONPATH" in image and user.get("PYTHONPATH"):
        image["PYTHONPATH"] = f"{user.pop('PYTHONPATH')}:{image['PYTHONPATH']}"
    visible = {} if given.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(given.gpus) or "-1"}
    return {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(given.folders.temporary),
        "HOME": str(given.folders.home),
        **image,
        **user,
        "PATH": path,
        "PWD": str(given.folders.program),
        **_set_by_vertex(replica, given),
        **visible,
    }


def container_env(replica: Replica, given: Given) -> dict[str, str]:
    """The environment of a replica in a real container, which brings the rest."""
    return {"PYTHONUNBUFFERED": "1", **replica.pool.env, **_set_by_vertex(replica, given)}


def overridden(replica: Replica, env: Mapping[str, str]) -> list[str]:
    """The variables that the user gave and that are something else in ``env``, the replica's environment."""
    return sorted(
        name
        for name, value in replica.pool.env.items()
        if name not in ("PATH", "PYTHONPATH") and env.get(name) != value
    )


def _set_by_vertex(replica: Replica, given: Given) -> dict[str, str]:
    """What the user's variables give way to."""
    env = {**given.google_env, **given.contract}
    return {
        name: value
        for name, value in env.items()
        if not (name in _USERS_TO_CHOOSE and name in replica.pool.env)
    }


def _output_env(spec: JobSpec) -> dict[str, str]:
    if not spec.base_output_uri:
        return {}
    base = spec.base_output_uri.rstrip("/")
    if spec.trial_id:
        base = f"{base}/{spec.trial_id}"
    return {
        "AIP_MODEL_DIR": f"{base}/model/",
        "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
    }


def _cluster_spec(
    spec: JobSpec, replica: Replica, everyone: Sequence[Replica], ports: Sequence[int]
) -> dict[str, object]:
    cluster: dict[str, list[str]] = {}
    for one, address in _addresses(everyone, ports):
        cluster.setdefault(f"workerpool{one.pool_index}", []).append(address)
    return {
        "cluster": cluster,
        "environment": "cloud",
        "task": {"type": f"workerpool{replica.pool_index}", "index": replica.index, **_trial(spec)},
        "job": _job(replica),
    }


def _tf_config(
    spec: JobSpec, replica: Replica, everyone: Sequence[Replica], ports: Sequence[int]
) -> dict[str, object]:
    cluster: dict[str, list[str]] = {}
    for one, address in _addresses(everyone, ports):
        # TensorFlow takes an evaluator to be outside of the cluster.
        if one.pool_index != _EVALUATOR:
            cluster.setdefault(_TF_ROLES[one.pool_index], []).append(address)
    return {
        "cluster": cluster,
        "environment": "cloud",
        "task": {"type": _TF_ROLES[replica.pool_index], "index": replica.index, **_trial(spec)},
        "job": _job(replica),
    }


def _addresses(everyone: Sequence[Replica], ports: Sequence[int]) -> Iterator[tuple[Replica, str]]:
    for one in everyone:
        yield one, f"{HOST}:{ports[one.rank]}"


def _trial(spec: JobSpec) -> dict[str, str]:
    return {"trial": spec.trial_id} if spec.trial_id else {}


def _job(replica: Replica) -> str:
    """What the replica runs, as a string of JSON inside the JSON: that is how containers get it."""
    program = replica.pool.program
    if isinstance(program, PackageProgram):
        said = {"python_module": program.module, "package_uris": list(program.package_uris)}
    else:
        assert isinstance(program, ContainerProgram)
        said = {"python_module": "", "package_uris": []}
    return json.dumps({**said, "job_args": list(replica.pool.args)})
