"""One line that makes a Keras Tuner program a distributed search, in the cloud as well as locally.

    from trainer_scripts import keras_tuner_cluster

    cluster = keras_tuner_cluster.join()  # before keras_tuner is imported

    import keras_tuner

    tuner = keras_tuner.Hyperband(build, objective="val_accuracy", max_epochs=10, directory="digits")
    tuner.search(...)
    if cluster.is_chief:
        tuner.get_best_models()[0].export(cluster.environment.model_dir)

Submitted with ``session.keras_tuner.run("search.py", workers=3)``, the chief hands out trials and the workers
run them; started by hand, it needs TF_CONFIG or CLUSTER_SPEC to say which replica it is. On its own, without
a cluster, the program searches alone.

In a cluster ``join()`` does not return at first: this process executes the program anew, with the same
command, and watches over that (``keras_tuner_supervisor``). Put it early, before anything that takes long.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_scripts import keras_tuner_supervisor
from trainer_scripts.environment import OUTPUT_DIR, Environment, read_environment
from trainer_scripts.keras_tuner_child import CHIEF, Tie, this_child

SPARE = "spare"
_joined: Cluster | None = None
_GCS = "gs://"
# What every machine of a job sees: https://cloud.google.com/vertex-ai/docs/training/train-nfs-share
_SHARED = (_GCS, "/gcs/", "/mnt/nfs/")


@dataclass(frozen=True)
class Cluster:
    """What this process is in the search."""

    environment: Environment
    """What Vertex AI told of the job."""
    tuner_id: str = ""
    """``chief``, ``worker0`` and so on, or ``spare``; empty for a program that searches alone."""

    @property
    def directory(self) -> str:
        """Where all replicas, and a job that starts anew, find the search. Tuners that name none use it."""
        return self.place(f"{self.environment.checkpoint_dir}/keras_tuner")

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the search leaves: the chief, or the only one."""
        return self.tuner_id in ("", CHIEF)

    def place(self, directory: str) -> str:
        """Where a tuner's ``directory`` lies: a relative one below the search's own, so that all see it.

        What is on Cloud Storage is reached through /gcs where that is mounted: Keras 3 keeps weights in
        files only.

        Raises:
            SystemExit: It is a folder of this machine, in a job whose other machines do not see it.
        """
        if directory.startswith(_GCS):
            bucket, _, path = directory.removeprefix(_GCS).partition("/")
            return f"/gcs/{bucket}/{path}" if Path("/gcs", bucket).is_dir() else directory
        if "://" in directory:
            return directory
        if directory.startswith("/"):
            if self.environment.checkpoint_dir.startswith(_SHARED) and not directory.startswith(_SHARED):
                sys.exit(
                    f"directory={directory!r} is a folder of this machine, where nobody else sees the "
                    "search: give a relative one, or one on Cloud Storage."
                )
            return directory
        return f"{self.directory}/{directory}".rstrip("/")

    def strategy(self) -> Any:
        """All devices of this machine for each trial: ``distribution_strategy`` of a tuner.

        MirroredStrategy, or with a single device the strategy that does nothing: mirroring to nowhere makes
        small models train several times slower.
        """
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) == 1:
            return tf.distribute.get_strategy()
        return tf.distribute.MirroredStrategy([device.name for device in devices])


def join(*, spare_worker: bool = False, max_restarts: int = 10, output_dir: str = OUTPUT_DIR) -> Cluster:
    """Take part in the search that this replica belongs to. Call it before ``keras_tuner`` is imported.

    Set ``TF_USE_LEGACY_KERAS=1`` before it, if the program is to use Keras 2.

    Args:
        spare_worker: Run a worker beside the chief as well, whose machine would otherwise idle.
        max_restarts: How often a replica's process is started again after it was killed.
        output_dir: Local folder for what the program writes outside a job.

    Raises:
        SystemExit: Keras Tuner is not installed; the cluster is not one for it; or, in a replica's first
            process, the search is over, with the exit status of this replica.
        ValueError: TF_CONFIG or CLUSTER_SPEC is malformed.
    """
    global _joined  # noqa: PLW0603 - a process takes part once
    if _joined is not None:
        return _joined
    for module, package in (("keras_tuner", "keras-tuner"), ("tensorboard", "tensorboard")):
        # Keras Tuner imports tensorboard in every trial, and lets the trial fail where it is missing.
        if importlib.util.find_spec(module) is None:
            sys.exit(f"The search needs {package}: add it to the requirements of the job, or pip install it.")
    environment = read_environment(output_dir=output_dir)
    tuner_id, tie = "", Tie()
    if sum(map(len, environment.cluster.values())) > 1:
        tuner_id, tie = _take_part(environment, spare_worker, max_restarts)
        os.environ.update(keras_tuner_variables(environment, tuner_id))
    _choose_keras()

    from trainer_scripts import keras_tuner_oracle

    _joined = Cluster(environment, tuner_id)
    keras_tuner_oracle.prepare(tuner_id, _joined.place, tie)
    return _joined


def _take_part(environment: Environment, spare_worker: bool, max_restarts: int) -> tuple[str, Tie]:
    """Who this process is, and its tie to its parent; watches over another where it is the first."""
    strangers = {environment.task.type, *environment.cluster} - {"chief", "worker"}
    if strangers:
        sys.exit(f"A Keras Tuner search has no use for replicas of type {', '.join(sorted(strangers))}.")
    child = this_child()
    if child is not None:
        return child
    if tuner_id := os.environ.get("KERASTUNER_TUNER_ID"):
        return tuner_id, Tie()  # a helper of a child, such as multiprocessing starts
    programs: dict[str, Mapping[str, str]] = {
        CHIEF if environment.is_chief else f"worker{environment.task.index}": {}
    }
    if environment.is_chief and spare_worker:
        # The chief trains nothing: the devices are the worker's. It would take all memory of a GPU otherwise.
        programs = {CHIEF: {"CUDA_VISIBLE_DEVICES": "-1"}, SPARE: {}}
    sys.exit(keras_tuner_supervisor.supervise(environment, programs, max_restarts))


def keras_tuner_variables(environment: Environment, tuner_id: str) -> Mapping[str, str]:
    """What makes Keras Tuner a distributed one."""
    host, port = keras_tuner_supervisor.split(keras_tuner_supervisor.chief_address(environment))
    if tuner_id == CHIEF and not keras_tuner_supervisor.is_loopback(host):
        host = "0.0.0.0"  # noqa: S104 - the other machines come by whichever interface
    return {
        "KERASTUNER_TUNER_ID": tuner_id,
        "KERASTUNER_ORACLE_IP": host,
        "KERASTUNER_ORACLE_PORT": str(port),
        # gRPC would ask a proxy, even for a machine of the same cluster.
        "no_grpc_proxy": host,
    }


def _choose_keras() -> None:
    """Let Keras Tuner find the Keras that TensorFlow uses.

    It looks at the package ``keras``, and refuses models of tf_keras unless that goes by this name.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        import tf_keras

        sys.modules["keras"] = tf_keras
