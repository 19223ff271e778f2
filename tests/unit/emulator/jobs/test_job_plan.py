"""What each replica of a job is told of itself and of the others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vertexkit.emulator.jobs import plan
from vertexkit.emulator.jobs.types import ContainerProgram, JobSpec, PackageProgram, WorkerPool

PACKAGE = WorkerPool(PackageProgram("image", ("gs://b/p.whl",), "trainer.task"), ("--a=1",))
CONTAINER = WorkerPool(ContainerProgram("image", ("run",)))
SPEC = JobSpec("42", "p", "123", "europe-west4", (PACKAGE,), base_output_uri="gs://b/out")
FOLDERS = plan.Folders(Path("/j/home"), Path("/j/tmp"), Path("/j/work"))


def contracts(spec, metric_file=None):
    everyone = plan.replicas(spec)
    ports = list(range(5000, 5000 + plan.ports_needed(spec)))
    return {one.name: plan.contract_env(spec, one, ports, metric_file=metric_file) for one in everyone}


def given(contract=None, google=None, gpus=()):
    return plan.Given(contract or {}, google or {}, gpus, FOLDERS, Path("/data/gcs"))


def test_one_replica_has_a_cluster_spec_and_no_tf_config():
    (env,) = contracts(SPEC).values()
    assert set(env) == {
        "AIP_MODEL_DIR",
        "AIP_CHECKPOINT_DIR",
        "AIP_TENSORBOARD_LOG_DIR",
        "CLOUD_ML_JOB_ID",
        "CLOUD_ML_PROJECT_ID",
        "CLOUD_ML_REGION",
        "CLUSTER_SPEC",
    }
    assert json.loads(env["CLUSTER_SPEC"]) == {
        "cluster": {"workerpool0": ["127.0.0.1:5000"]},
        "environment": "cloud",
        "task": {"type": "workerpool0", "index": 0},
        "job": '{"python_module": "trainer.task", "package_uris": ["gs://b/p.whl"], "job_args": ["--a=1"]}',
    }


def test_every_pool_has_its_role_and_an_evaluator_is_outside_of_the_cluster():
    spec = replace(SPEC, pools=(PACKAGE, replace(PACKAGE, replica_count=2), CONTAINER, CONTAINER))
    envs = contracts(spec)
    tasks = {name: json.loads(env["TF_CONFIG"])["task"] for name, env in envs.items()}
    assert tasks == {
        "workerpool0-0": {"type": "chief", "index": 0},
        "workerpool1-0": {"type": "worker", "index": 0},
        "workerpool1-1": {"type": "worker", "index": 1},
        "workerpool2-0": {"type": "ps", "index": 0},
        "workerpool3-0": {"type": "evaluator", "index": 0},
    }
    for env in envs.values():
        assert json.loads(env["TF_CONFIG"])["cluster"] == {
            "chief": ["127.0.0.1:5000"],
            "worker": ["127.0.0.1:5001", "127.0.0.1:5002"],
            "ps": ["127.0.0.1:5003"],
        }
        assert json.loads(env["CLUSTER_SPEC"])["cluster"] == {
            "workerpool0": ["127.0.0.1:5000"],
            "workerpool1": ["127.0.0.1:5001", "127.0.0.1:5002"],
            "workerpool2": ["127.0.0.1:5003"],
            "workerpool3": ["127.0.0.1:5004"],
        }
        assert (env["WORLD_SIZE"], env["MASTER_ADDR"], env["MASTER_PORT"]) == ("5", "127.0.0.1", "5005")
    assert [env["RANK"] for env in envs.values()] == ["0", "1", "2", "3", "4"]


def test_a_pool_that_is_left_out_leaves_a_gap_in_the_names_only():
    spec = replace(SPEC, pools=(PACKAGE, None, CONTAINER))
    envs = contracts(spec)
    assert list(envs) == ["workerpool0-0", "workerpool2-0"]
    assert envs["workerpool2-0"]["RANK"] == "1"
    assert list(json.loads(envs["workerpool0-0"]["TF_CONFIG"])["cluster"]) == ["chief", "ps"]


def test_a_trial_has_its_id_wherever_vertex_says_it():
    spec = replace(SPEC, trial_id="7", pools=(PACKAGE, PACKAGE))
    env = contracts(spec, Path("/m"))["workerpool1-0"]
    assert env["AIP_CHECKPOINT_DIR"] == "gs://b/out/7/checkpoints/"
    assert (env["CLOUD_ML_TRIAL_ID"], env["CLOUD_ML_HP_METRIC_FILE"]) == ("7", "/m")
    assert json.loads(env["CLUSTER_SPEC"])["task"]["trial"] == "7"
    assert json.loads(env["TF_CONFIG"])["task"]["trial"] == "7"
    without = contracts(replace(spec, trial_id=""))["workerpool1-0"]
    assert "trial" not in json.loads(without["TF_CONFIG"])["task"]


@pytest.mark.parametrize("base", ["gs://b/out", "gs://b/out/"])
def test_output_folders_end_with_a_slash(base):
    env = contracts(replace(SPEC, base_output_uri=base))["workerpool0-0"]
    assert env["AIP_MODEL_DIR"] == "gs://b/out/model/"
    assert env["AIP_TENSORBOARD_LOG_DIR"] == "gs://b/out/logs/"
    assert "AIP_MODEL_DIR" not in contracts(replace(SPEC, base_output_uri=""))["workerpool0-0"]


def test_the_image_gives_way_to_the_user_and_the_user_to_vertex(monkeypatch):
    monkeypatch.setenv("OF_THE_EMULATOR", "1")
    user = {
        "A": "user",
        "B": "user",
        "PATH": "/mine",
        "PYTHONPATH": "/lib",
        "HTTPS_PROXY": "user",
        "GOOGLE_CLOUD_PROJECT": "other",
        "CUDA_VISIBLE_DEVICES": "5",
    }
    (one,) = plan.replicas(replace(SPEC, pools=(replace(PACKAGE, env=user),)))
    env = plan.replica_env(
        one,
        given({"A": "vertex"}, {"HTTPS_PROXY": "local", "GOOGLE_CLOUD_PROJECT": "p"}, ("1", "2")),
        image_env={"A": "image", "B": "image", "C": "image", "PYTHONPATH": "/image"},
        image_path="/venv/bin",
    )
    assert env == {
        "A": "vertex",
        "B": "user",
        "C": "image",
        "PATH": "/venv/bin:/mine",
        "PYTHONPATH": "/lib:/image",
        "HTTPS_PROXY": "local",
        "GOOGLE_CLOUD_PROJECT": "other",
        "CUDA_VISIBLE_DEVICES": "1,2",
        "HOME": "/j/home",
        "TMPDIR": "/j/tmp",
        "PWD": "/j/work",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }
    assert plan.overridden(one, env) == ["A", "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY"]


def test_gpus_that_are_not_the_replicas_are_hidden_and_none_need_not_be():
    (one,) = plan.replicas(SPEC)
    envs = [
        plan.replica_env(one, given(gpus=gpus), image_env={}, image_path="/venv/bin") for gpus in ((), None)
    ]
    assert [env.get("CUDA_VISIBLE_DEVICES") for env in envs] == ["-1", None]


def test_a_container_of_ones_own_brings_its_own_path_and_home():
    (one,) = plan.replicas(replace(SPEC, pools=(replace(CONTAINER, env={"A": "user"}),)))
    env = plan.container_env(one, given({"B": "vertex"}, {"NO_GCE_CHECK": "true"}))
    assert env == {"A": "user", "B": "vertex", "NO_GCE_CHECK": "true", "PYTHONUNBUFFERED": "1"}


def test_variables_are_replaced_where_a_command_names_them():
    pool = replace(
        CONTAINER,
        program=ContainerProgram("image", ("sh", "$(AIP_MODEL_DIR)", "$(date)")),
        args=("--out=$(AIP_MODEL_DIR)", "$(OURS)", "$$(OURS)", "$(NOBODYS)", "$AIP_MODEL_DIR"),
        env={
            "FIRST": "1",
            "OURS": "$(FIRST)/$(LATER)/$(CLOUD_ML_REGION)",
            "LATER": "2",
            "AIP_MODEL_DIR": "no",
        },
    )
    spec = replace(SPEC, pools=(pool,))
    [replica] = plan.replicas(spec)
    found = plan.resolved(replica, contracts(spec)[replica.name]).pool
    model_dir = "gs://b/out/model/"
    assert found.program.command == ("sh", model_dir, "$(date)")
    ours = "1/$(LATER)/europe-west4"
    assert found.args == (f"--out={model_dir}", ours, "$(OURS)", "$(NOBODYS)", "$AIP_MODEL_DIR")
    assert found.env["OURS"] == ours
    # What the service itself is told stays as it was asked for.
    assert plan.resolved(plan.replicas(SPEC)[0], {}).pool == PACKAGE
