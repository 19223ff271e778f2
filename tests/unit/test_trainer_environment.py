"""What a training program is told, as the contract has it, and what it gets where nothing is said."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from trainer_scripts.environment import HP_METRIC_FILE, Outputs, Task, read_environment

ROOT = Path(__file__).parents[2]
CLUSTER = {"chief": ["c:1"], "worker": ["w:1", "w:2"], "ps": ["p:1"]}


def tf_config(kind: str, index: object = 0, cluster: object = CLUSTER) -> Mapping[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def cluster_spec(**given: object) -> Mapping[str, str]:
    spec = {"cluster": {"workerpool0": ["c:1"]}, "task": {"type": "workerpool0", "index": 0}, **given}
    return {"CLUSTER_SPEC": json.dumps({"environment": "cloud", **spec})}


def test_a_job_says_where_to_write_without_a_slash_at_the_end() -> None:
    environment = read_environment(
        {
            "AIP_MODEL_DIR": "gs://b/job/model/",
            "AIP_CHECKPOINT_DIR": "gs://b/job/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": "gs://b/job/logs/",
        }
    )
    assert environment.model_dir == "gs://b/job/model"
    assert environment.checkpoint_dir == "gs://b/job/checkpoints"
    assert environment.tensorboard_log_dir == "gs://b/job/logs"


def test_outside_a_job_everything_goes_below_a_local_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = read_environment({})
    assert environment.model_dir == str(tmp_path / "output" / "model")
    assert environment.checkpoint_dir == str(tmp_path / "output" / "checkpoints")
    assert environment.tensorboard_log_dir == str(tmp_path / "output" / "logs")
    assert read_environment({}, output_dir="else").model_dir == str(tmp_path / "else" / "model")
    assert list(tmp_path.iterdir()) == []  # made by whoever writes


def test_outside_a_job_there_is_one_replica_and_it_is_the_chief() -> None:
    environment = read_environment({})
    assert (environment.is_chief, environment.is_distributed, environment.in_job) == (True, False, False)
    assert (environment.task, environment.rank, environment.world_size) == (Task("chief", 0), 0, 1)
    assert environment.cluster == {} and environment.job == {}
    assert environment.hp_metric_file == HP_METRIC_FILE


def test_the_variables_of_this_process_are_read_unless_others_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIP_MODEL_DIR", "gs://b/model")
    assert read_environment().model_dir == "gs://b/model"
    assert read_environment({}).model_dir != "gs://b/model"


def test_data_job_and_trial_are_read() -> None:
    environment = read_environment(
        {
            "AIP_DATA_FORMAT": "csv",
            "AIP_TRAINING_DATA_URI": "gs://b/training-*",
            "AIP_VALIDATION_DATA_URI": "gs://b/validation-*",
            "AIP_TEST_DATA_URI": "gs://b/test-*",
            "CLOUD_ML_JOB_ID": "123",
            "CLOUD_ML_PROJECT_ID": "456",
            "CLOUD_ML_REGION": "us-central1",
            "CLOUD_ML_TRIAL_ID": "7",
            "CLOUD_ML_HP_METRIC_FILE": "/metrics",
        }
    )
    assert environment.data_format == "csv"
    assert environment.training_data_uri == "gs://b/training-*"
    assert environment.validation_data_uri == "gs://b/validation-*"
    assert environment.test_data_uri == "gs://b/test-*"
    assert (environment.job_id, environment.project_number, environment.region) == (
        "123",
        "456",
        "us-central1",
    )
    assert (environment.trial_id, environment.hp_metric_file) == ("7", "/metrics")
    assert environment.in_job


@pytest.mark.parametrize(
    ("kind", "index", "is_chief", "rank"),
    [
        ("chief", 0, True, 0),
        ("worker", 0, False, 1),
        ("worker", 1, False, 2),
        ("ps", 0, False, 3),
        ("evaluator", 0, False, 4),
    ],
)
def test_every_replica_knows_its_role(kind: str, index: int, is_chief: bool, rank: int) -> None:
    environment = read_environment(tf_config(kind, index))
    assert environment.task == Task(kind, index)
    assert (environment.is_chief, environment.rank, environment.is_distributed) == (is_chief, rank, True)
    assert environment.cluster == {"chief": ("c:1",), "worker": ("w:1", "w:2"), "ps": ("p:1",)}


def test_the_chief_comes_first_however_the_cluster_is_written() -> None:
    cluster = {"ps": ["p:1"], "worker": ["w:1"], "chief": ["c:1"]}
    assert read_environment(tf_config("chief", cluster=cluster)).rank == 0
    assert read_environment(tf_config("worker", cluster=cluster)).rank == 1


def test_without_a_chief_the_first_worker_is_it() -> None:
    cluster = {"worker": ["w:1", "w:2"]}
    assert read_environment(tf_config("worker", 0, cluster)).is_chief
    assert not read_environment(tf_config("worker", 1, cluster)).is_chief


def test_the_master_of_old_is_the_chief() -> None:
    environment = read_environment(tf_config("master", cluster={"master": ["c:1"], "worker": ["w:1"]}))
    assert environment.is_chief and environment.cluster["chief"] == ("c:1",)


def test_a_chief_beside_empty_pools_is_alone() -> None:
    environment = read_environment(tf_config("chief", cluster={"chief": ["c:1"], "worker": []}))
    assert not environment.is_distributed and environment.cluster == {"chief": ("c:1",)}


def test_rank_and_world_size_are_taken_as_given() -> None:
    environment = read_environment({"RANK": "2", "WORLD_SIZE": "5"})
    assert (environment.rank, environment.world_size, environment.is_distributed) == (2, 5, True)


def test_without_tf_config_the_cluster_spec_tells_the_role() -> None:
    pools = {"workerpool0": ["c:1"], "workerpool1": ["w:1"], "workerpool2": ["p:1"], "workerpool3": ["e:1"]}
    for pool, kind in (("workerpool0", "chief"), ("workerpool1", "worker"), ("workerpool2", "ps")):
        environment = read_environment(cluster_spec(cluster=pools, task={"type": pool, "index": 0}))
        assert environment.task == Task(kind, 0)
        assert environment.cluster == {"chief": ("c:1",), "worker": ("w:1",), "ps": ("p:1",)}
    evaluator = read_environment(cluster_spec(cluster=pools, task={"type": "workerpool3", "index": 0}))
    assert evaluator.task == Task("evaluator", 0) and not evaluator.is_chief


def test_tf_config_goes_before_the_cluster_spec() -> None:
    assert read_environment({**tf_config("worker", 1), **cluster_spec()}).task == Task("worker", 1)


def test_the_job_within_the_cluster_spec_is_understood_as_text_and_as_an_object() -> None:
    job = {"worker_pool_specs": [{"replica_count": 1}]}
    assert read_environment(cluster_spec(job=json.dumps(job))).job == job
    assert read_environment(cluster_spec(job=job)).job == job


def test_the_trial_is_taken_from_the_cluster_spec_too() -> None:
    task = {"type": "workerpool0", "index": 0, "trial": "3"}
    assert read_environment(cluster_spec(task=task)).trial_id == "3"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TF_CONFIG": "{cluster"}, "TF_CONFIG is not JSON .*: {cluster"),
        ({"TF_CONFIG": "[1]"}, r"TF_CONFIG is not a JSON object: \[1\]"),
        ({"CLUSTER_SPEC": "nothing"}, "CLUSTER_SPEC is not JSON"),
        (cluster_spec(job="{"), "CLUSTER_SPEC, job is not JSON"),
        (cluster_spec(task=[1]), "CLUSTER_SPEC, task is not a JSON object"),
        (tf_config("worker", "first"), "TF_CONFIG, task, index is not a whole number: 'first'"),
        (tf_config("worker", 7), "TF_CONFIG says that this is worker 7, which is not in its cluster"),
        (tf_config("chief", cluster={"chief": "c:1"}), "TF_CONFIG, cluster: the addresses of chief"),
        (tf_config("chief", cluster=["c:1"]), "TF_CONFIG, cluster is not a JSON object"),
        (tf_config("worker", [0]), "TF_CONFIG, task, index is not a whole number"),
        ({"TF_CONFIG": json.dumps({"cluster": CLUSTER})}, "TF_CONFIG has a cluster, but no task"),
        ({"TF_CONFIG": json.dumps({"cluster": CLUSTER, "task": {"index": 0}})}, "type is not a text"),
        ({"RANK": "one"}, "RANK is not a whole number: 'one'"),
        ({"WORLD_SIZE": "2.5"}, "WORLD_SIZE is not a whole number: '2.5'"),
    ],
)
def test_what_is_malformed_is_named(variables: Mapping[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_environment(variables)


def test_the_chief_writes_where_the_job_says() -> None:
    environment = read_environment({"AIP_MODEL_DIR": "gs://b/model/"})
    with environment.outputs() as outputs:
        assert outputs == Outputs("gs://b/model", environment.checkpoint_dir, environment.tensorboard_log_dir)


def test_other_replicas_write_into_a_folder_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = read_environment({**tf_config("worker"), "AIP_MODEL_DIR": "gs://b/model/"})
    with pytest.raises(KeyError), environment.outputs() as outputs:
        for folder in (outputs.model_dir, outputs.checkpoint_dir, outputs.tensorboard_log_dir):
            assert Path(folder).is_relative_to(tmp_path)
            Path(folder).mkdir()
            (Path(folder) / "file").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    # Where the chief's are is still known: everybody reads its checkpoints.
    assert environment.model_dir == "gs://b/model"


def test_it_is_a_value() -> None:
    environment = read_environment({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        environment.rank = 3  # type: ignore[misc]


def test_it_needs_the_standard_library_alone_and_never_fails_on_import(tmp_path: Path) -> None:
    program = "import sys; import trainer_scripts.environment; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"],
        env={"TF_CONFIG": "{", "CLUSTER_SPEC": "{", "RANK": "x"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    beyond = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"__main__"}
    assert {name for name in beyond if not name.startswith("_")} == {"trainer_scripts"}
