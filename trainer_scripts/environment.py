"""What Vertex AI tells a training program about its job, read once and typed. Standard library only.

    from trainer_scripts.environment import read_environment

    environment = read_environment()
    with environment.outputs() as outputs:
        ...
        model.export(outputs.model_dir)

It works as well outside a job: what the program writes then goes below a folder of the current one. The
variables are described at https://cloud.google.com/vertex-ai/docs/training/code-requirements and
https://cloud.google.com/vertex-ai/docs/training/distributed-training.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUT_DIR = "output"
HP_METRIC_FILE = "/tmp/hypertune/output.metrics"  # noqa: S108 - where Vertex AI looks by default
_POOLS = {"workerpool0": "chief", "workerpool1": "worker", "workerpool2": "ps", "workerpool3": "evaluator"}


@dataclass(frozen=True)
class Task:
    """Which replica of the job this process is."""

    type: str = "chief"
    """``chief``, ``worker``, ``ps`` (parameter server) or ``evaluator``."""
    index: int = 0
    """Its number among the replicas of that type, from 0."""

    def __str__(self) -> str:
        return f"{self.type} {self.index}"


@dataclass(frozen=True)
class Outputs:
    """Where this replica writes: ``gs://`` URIs or local folders, without a slash at the end."""

    model_dir: str
    checkpoint_dir: str
    tensorboard_log_dir: str


@dataclass(frozen=True)
class Environment:
    """Everything that a training program is told. Texts are empty where nothing was said."""

    model_dir: str
    """``AIP_MODEL_DIR``: what is written here becomes the job's model. Also below: no slash at the end."""
    checkpoint_dir: str
    """``AIP_CHECKPOINT_DIR``, the same for every replica and every start of the job."""
    tensorboard_log_dir: str
    """``AIP_TENSORBOARD_LOG_DIR``"""

    data_format: str = ""
    """``AIP_DATA_FORMAT`` of the job's dataset: ``jsonl``, ``csv`` or ``bigquery``."""
    training_data_uri: str = ""
    """``AIP_TRAINING_DATA_URI``, with wildcards: ``gs://bucket/folder/training-*``"""
    validation_data_uri: str = ""
    """``AIP_VALIDATION_DATA_URI``"""
    test_data_uri: str = ""
    """``AIP_TEST_DATA_URI``"""

    cluster: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """``host:port`` of every replica by task type; evaluators are not in it. Empty without a cluster."""
    task: Task = Task()
    """Which replica this process is, by ``TF_CONFIG``, else by ``CLUSTER_SPEC``."""
    rank: int = 0
    """``RANK``, else the place in the cluster: the chief is 0, then workers, then parameter servers."""
    world_size: int = 1
    """``WORLD_SIZE``, else how many replicas the cluster has."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """The job's specification, as ``CLUSTER_SPEC`` repeats it."""

    job_id: str = ""
    """``CLOUD_ML_JOB_ID``"""
    project_number: str = ""
    """``CLOUD_ML_PROJECT_ID``, which is the number and not the id."""
    region: str = ""
    """``CLOUD_ML_REGION``"""
    trial_id: str = ""
    """``CLOUD_ML_TRIAL_ID``, of hyperparameter tuning."""
    hp_metric_file: str = HP_METRIC_FILE
    """``CLOUD_ML_HP_METRIC_FILE``: where a trial of hyperparameter tuning says how good it was."""

    @property
    def in_job(self) -> bool:
        """Whether this is a job of Vertex AI."""
        return bool(self.job_id)

    @property
    def is_distributed(self) -> bool:
        """Whether other replicas take part."""
        return self.world_size > 1

    @property
    def is_chief(self) -> bool:
        """Whether this replica writes what the job leaves: the chief, or worker 0 where there is none."""
        if self.cluster.get("chief") or self.task.type != "worker":
            return self.task.type == "chief"
        return self.task.index == 0

    @contextmanager
    def outputs(self) -> Iterator[Outputs]:
        """Where to write: for the chief what Vertex AI named, for others a folder that is gone at the end.

        In most distribution strategies all replicas have to save when one does, and only one copy is wanted.
        """
        if self.is_chief:
            yield Outputs(self.model_dir, self.checkpoint_dir, self.tensorboard_log_dir)
            return
        with tempfile.TemporaryDirectory(prefix=f"{self.task.type}-{self.task.index}-") as folder:
            yield Outputs(f"{folder}/model", f"{folder}/checkpoints", f"{folder}/logs")


def read_environment(
    variables: Mapping[str, str] | None = None, *, output_dir: str | os.PathLike[str] = OUTPUT_DIR
) -> Environment:
    """Read the variables of the job; outside of one, what is left unsaid gets sensible values.

    Args:
        variables: What to read; ``os.environ`` by default.
        output_dir: Local folder for model, checkpoints and logs where the job names no place for them.

    Raises:
        ValueError: A variable is malformed; the text names it.
    """
    given = os.environ if variables is None else variables
    local = Path(output_dir).absolute()
    spec = _read_json(given, "CLUSTER_SPEC")
    spec_task = _read_json(spec, "task", "CLUSTER_SPEC, task")
    # A job of one replica has no TF_CONFIG, and a program that is no TensorFlow may only know CLUSTER_SPEC.
    name = "TF_CONFIG" if given.get("TF_CONFIG") else "CLUSTER_SPEC"
    cluster, task = _cluster_and_task(_read_json(given, name), name)
    if not task and cluster:
        raise ValueError(f"{name} has a cluster, but no task: it does not say which replica this is.")
    replicas = [(kind, i) for kind, addresses in cluster.items() for i in range(len(addresses))]
    task = task or Task()
    is_listed = (task.type, task.index) in replicas
    if cluster and not is_listed and task.type != "evaluator":
        raise ValueError(f"{name} says that this is {task}, which is not in its cluster: {dict(cluster)}.")
    # An evaluator is never listed, so it comes after all that are.
    rank = replicas.index((task.type, task.index)) if is_listed else len(replicas) + task.index
    rank = _read_number(given, "RANK", rank)
    return Environment(
        model_dir=_folder(given, "AIP_MODEL_DIR", local / "model"),
        checkpoint_dir=_folder(given, "AIP_CHECKPOINT_DIR", local / "checkpoints"),
        tensorboard_log_dir=_folder(given, "AIP_TENSORBOARD_LOG_DIR", local / "logs"),
        data_format=given.get("AIP_DATA_FORMAT", ""),
        training_data_uri=given.get("AIP_TRAINING_DATA_URI", ""),
        validation_data_uri=given.get("AIP_VALIDATION_DATA_URI", ""),
        test_data_uri=given.get("AIP_TEST_DATA_URI", ""),
        cluster=cluster,
        task=task,
        rank=rank,
        world_size=_read_number(given, "WORLD_SIZE", max(len(replicas), rank + 1)),
        job=_read_json(spec, "job", "CLUSTER_SPEC, job"),
        job_id=given.get("CLOUD_ML_JOB_ID", ""),
        project_number=given.get("CLOUD_ML_PROJECT_ID", ""),
        region=given.get("CLOUD_ML_REGION", ""),
        trial_id=given.get("CLOUD_ML_TRIAL_ID") or str(spec_task.get("trial") or ""),
        hp_metric_file=given.get("CLOUD_ML_HP_METRIC_FILE") or HP_METRIC_FILE,
    )


def _folder(given: Mapping[str, str], name: str, local: Path) -> str:
    return (given.get(name) or str(local)).rstrip("/")


def _read_json(given: Mapping[str, Any], name: str, called: str = "") -> Mapping[str, Any]:
    """A JSON object; empty when there is none. An object that is one already stays as it is."""
    value = given.get(name) or {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"{called or name} is not JSON ({error}): {value[:200]}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{called or name} is not a JSON object: {json.dumps(value)[:200]}")
    return value


def _read_number(given: Mapping[str, Any], name: str, otherwise: int, called: str = "") -> int:
    value = given.get(name) or otherwise
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{called or name} is not a whole number: {value!r}") from None


def _cluster_and_task(
    config: Mapping[str, Any], name: str
) -> tuple[Mapping[str, tuple[str, ...]], Task | None]:
    """Cluster and task of TF_CONFIG or CLUSTER_SPEC, whose worker pools get TensorFlow's names."""
    by_type = _read_json(config, "cluster", f"{name}, cluster")
    for kind, addresses in by_type.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ValueError(
                f"{name}, cluster: the addresses of {kind} are not a list of texts: {addresses!r}"
            )
    named = {_task_type(kind): tuple(addresses) for kind, addresses in by_type.items() if addresses}
    # The chief first: whoever numbers the replicas numbers them in this order.
    order = [kind for kind in _POOLS.values() if kind in named]
    cluster = {kind: named[kind] for kind in [*order, *(kind for kind in named if kind not in order)]}
    cluster.pop("evaluator", None)
    task = _read_json(config, "task", f"{name}, task")
    if not task:
        return cluster, None
    if not isinstance(task.get("type"), str):
        raise ValueError(f"{name}, task: type is not a text: {dict(task)}")
    index = _read_number(task, "index", 0, f"{name}, task, index")
    return cluster, Task(_task_type(task["type"]), index)


def _task_type(name: str) -> str:
    """TensorFlow's name; ``master`` is what the chief was called before."""
    return "chief" if name == "master" else _POOLS.get(name, name)
