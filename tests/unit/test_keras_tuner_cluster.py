"""Which part a replica takes in a Keras Tuner search, by what it is told of its cluster."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from trainer_scripts import keras_tuner_cluster, keras_tuner_supervisor
from trainer_scripts.environment import read_environment
from trainer_scripts.keras_tuner_cluster import Cluster, keras_tuner_variables


def replica(kind: str, index: int, *, host: str = "machine") -> dict[str, str]:
    """Of a chief and two workers."""
    cluster = {
        "workerpool0": [f"{host}-0:2222"],
        "workerpool1": [f"{host}-1:2222", f"{host}-2:2223"],
    }
    return {"CLUSTER_SPEC": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_chief_listens_on_all_interfaces_and_the_workers_reach_its_address() -> None:
    chief = keras_tuner_variables(read_environment(replica("workerpool0", 0)), "chief")
    worker = keras_tuner_variables(read_environment(replica("workerpool1", 1)), "worker1")
    assert chief == {
        "KERASTUNER_TUNER_ID": "chief",
        "KERASTUNER_ORACLE_IP": "0.0.0.0",
        "KERASTUNER_ORACLE_PORT": "2222",
        "no_grpc_proxy": "0.0.0.0",
    }
    assert worker == {
        **chief,
        "KERASTUNER_TUNER_ID": "worker1",
        "KERASTUNER_ORACLE_IP": "machine-0",
        "no_grpc_proxy": "machine-0",
    }


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:80", "127.0.0.1"),
        ("localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::2]:80", "0.0.0.0"),
    ],
)
def test_a_chief_on_loopback_is_not_opened_to_other_machines(address: str, host: str) -> None:
    config = {"cluster": {"chief": [address], "worker": ["w:1"]}, "task": {"type": "chief", "index": 0}}
    told = keras_tuner_variables(read_environment({"TF_CONFIG": json.dumps(config)}), "chief")
    assert (told["KERASTUNER_ORACLE_IP"], told["KERASTUNER_ORACLE_PORT"]) == (host, "80")


def test_worker_0_is_the_chief_where_there_is_no_other() -> None:
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    told = keras_tuner_variables(read_environment({"TF_CONFIG": json.dumps(config)}), "worker1")
    assert (told["KERASTUNER_ORACLE_IP"], told["KERASTUNER_ORACLE_PORT"]) == ("a", "1")


def test_the_search_lies_where_all_replicas_see_it() -> None:
    cluster = Cluster(read_environment({"AIP_CHECKPOINT_DIR": "gs://bucket/job/checkpoints/"}))
    assert cluster.directory == "gs://bucket/job/checkpoints/keras_tuner"
    assert cluster.place("") == cluster.directory
    assert cluster.place("digits") == f"{cluster.directory}/digits"
    assert cluster.place("/gcs/else/where") == "/gcs/else/where"
    assert cluster.place("/mnt/nfs/else") == "/mnt/nfs/else"
    assert cluster.place("gs://else/where") == "gs://else/where"
    assert cluster.place("s3://else/where") == "s3://else/where"


def test_a_folder_of_one_machine_is_none_for_a_search_of_several() -> None:
    cluster = Cluster(read_environment({"AIP_CHECKPOINT_DIR": "gs://bucket/job/checkpoints/"}))
    with pytest.raises(SystemExit, match=r"directory='/tmp/search' is a folder of this machine.*relative"):
        cluster.place("/tmp/search")
    # Outside a job all is on this machine, or shared in a way of its own.
    assert Cluster(read_environment({})).place("/tmp/search") == "/tmp/search"


def test_cloud_storage_is_reached_through_its_mount_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == "/gcs/bucket")
    cluster = Cluster(read_environment({"AIP_CHECKPOINT_DIR": "gs://bucket/job/checkpoints/"}))
    assert cluster.directory == "/gcs/bucket/job/checkpoints/keras_tuner"
    assert cluster.place("digits") == f"{cluster.directory}/digits"
    assert cluster.place("gs://bucket/else") == "/gcs/bucket/else"
    assert cluster.place("gs://other/else") == "gs://other/else"


@pytest.mark.parametrize(
    ("tuner_id", "is_chief"), [("", True), ("chief", True), ("worker0", False), ("spare", False)]
)
def test_one_process_writes_what_the_search_leaves(tuner_id: str, is_chief: bool) -> None:
    assert Cluster(read_environment({}), tuner_id).is_chief is is_chief


@pytest.mark.parametrize("missing", ["keras_tuner", "tensorboard"])
def test_a_package_that_is_missing_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SystemExit, match=missing.replace("_", "-") + ".*requirements"):
        keras_tuner_cluster.join()


def test_a_helper_that_a_program_starts_watches_over_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where multiprocessing imports the program again, ``join()`` runs again too."""
    monkeypatch.setattr(keras_tuner_supervisor, "supervise", None)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker1")
    tuner_id, tie = keras_tuner_cluster._take_part(read_environment(replica("workerpool1", 1)), False, 1)
    assert (tuner_id, tie.leave.is_set()) == ("worker1", False)


def test_an_address_that_is_none_is_named() -> None:
    config = {"cluster": {"chief": ["nowhere"], "worker": ["w:1"]}, "task": {"type": "chief", "index": 0}}
    with pytest.raises(SystemExit, match="'nowhere' is not host:port"):
        keras_tuner_variables(read_environment({"TF_CONFIG": json.dumps(config)}), "chief")


def test_who_waits_for_a_port_does_not_take_itself_for_the_one_that_is_to_listen_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        keras_tuner_supervisor.connect(address).close()
    create = socket.create_connection

    def by_chance(to: tuple[str, int], timeout: float) -> socket.socket:
        # What the system does now and then, of itself.
        return create(to, timeout, source_address=to)

    monkeypatch.setattr(keras_tuner_supervisor.socket, "create_connection", by_chance)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with by_chance(address, 5) as itself:
        assert itself.getpeername() == itself.getsockname()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        keras_tuner_supervisor.connect(address)
