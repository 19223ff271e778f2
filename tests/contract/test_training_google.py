"""Training through Google's own high-level client, unmodified, over each transport."""

from __future__ import annotations

import json
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket

TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
SERVING_IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-12:latest"

# What a job was told, written where the test reads it.
REPORT = """
import json, os, sys
with open(os.path.join({folder!r}, f"{{os.environ.get('RANK', '0')}}.json"), "w") as file:
    json.dump({{"args": sys.argv[1:], "env": dict(os.environ)}}, file)
"""
COPY_MODEL = """
import os
from google.cloud import storage
model_dir = os.environ["AIP_MODEL_DIR"]
bucket, _, prefix = model_dir.removeprefix("gs://").partition("/")
storage.Client().bucket(bucket).blob(prefix + "saved_model.pb").upload_from_string(b"graph")
"""


pytestmark = pytest.mark.usefixtures("quick")

# What depends on the work rather than on how it is asked for is shown over one transport.
over_grpc = pytest.mark.parametrize("transport", ["grpc"])
over_rest = pytest.mark.parametrize("transport", ["rest"])


@pytest.fixture
def bucket(emulator: Any, aiplatform: Any, project: str) -> str:
    """A bucket to stage and to train in, which Google's client knows of."""
    return Bucket(emulator.storage, project, f"train-{project}").bucket


@pytest.fixture
def read(emulator: Any, bucket: str) -> Callable[[str], Any]:
    """Reads a JSON object of the bucket."""

    def get(name: str) -> Any:
        url = f"{emulator.storage}/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}?alt=media"
        answer = requests.get(url)
        assert answer.ok, (name, answer.text)
        return answer.json()

    return get


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Writes a training script."""

    def write(content: str) -> str:
        path = tmp_path / "train.py"
        path.write_text(textwrap.dedent(content))
        return str(path)

    return write


@pytest.fixture
def training_job(aiplatform: Any, bucket: str, script: Callable[[str], str]) -> Callable[..., Any]:
    """Makes a CustomTrainingJob of a script's text."""

    def make(content: str, **options: Any) -> Any:
        return aiplatform.CustomTrainingJob(
            **{
                "display_name": "train",
                "script_path": script(content),
                "container_uri": TRAINING_IMAGE,
                "staging_bucket": f"gs://{bucket}",
                **options,
            }
        )

    return make


@pytest.fixture
def custom_job(aiplatform: Any, bucket: str, script: Callable[[str], str]) -> Callable[..., Any]:
    """Makes a CustomJob of a script's text."""

    def make(content: str, **options: Any) -> Any:
        return aiplatform.CustomJob.from_local_script(
            **{
                "display_name": "job",
                "script_path": script(content),
                "container_uri": TRAINING_IMAGE,
                "staging_bucket": f"gs://{bucket}",
                **options,
            }
        )

    return make


def state_of(job: Any) -> str:
    return str(job.state.name).partition("_STATE_")[2]


@over_grpc
def test_a_script_becomes_a_model_that_predicts(training_job: Callable[..., Any], bucket: str) -> None:
    job = training_job(
        """
        import argparse
        import tensorflow as tf
        parser = argparse.ArgumentParser()
        parser.add_argument("--factor", type=float)
        parser.add_argument("--model_dir")
        args = parser.parse_args()
        factor = args.factor
        module = tf.Module()
        spec = tf.TensorSpec([None, 3], tf.float32, "x")
        module.serve = tf.function(lambda x: {"y": x * factor}, input_signature=[spec])
        tf.saved_model.save(module, args.model_dir, signatures=module.serve)
        """,
        model_serving_container_image_uri=SERVING_IMAGE,
        labels={"team": "vision"},
    )
    model = job.run(
        model_display_name="times",
        # As Google's samples have them.
        args=["--factor", 3, "--model_dir=$(AIP_MODEL_DIR)"],
        base_output_dir=f"gs://{bucket}/out",
        model_version_aliases=["best"],
    )
    assert (state_of(job), model.display_name, model.version_id) == ("SUCCEEDED", "times", "1")
    assert model.uri == f"gs://{bucket}/out/model"
    assert sorted(model.version_aliases) == ["best", "default"]
    assert model.labels == {"team": "vision"}
    assert model.gca_resource.training_pipeline == job.resource_name
    assert job.get_model().resource_name == model.resource_name
    endpoint = model.deploy(machine_type="n1-standard-2")
    assert endpoint.predict(instances=[[1.0, 2.0, 3.0]]).predictions == [[3.0, 6.0, 9.0]]
    endpoint.delete(force=True)


@over_grpc
def test_a_model_can_be_a_new_version_of_another(training_job: Callable[..., Any]) -> None:
    first = training_job(COPY_MODEL, model_serving_container_image_uri=SERVING_IMAGE).run(model_id="digits")
    assert first.resource_name.endswith("/models/digits")
    second = training_job(COPY_MODEL, model_serving_container_image_uri=SERVING_IMAGE).run(
        parent_model=first.resource_name, is_default_version=False, model_version_description="again"
    )
    assert (second.resource_name, second.version_id) == (first.resource_name, "2")
    assert second.version_description == "again"
    assert "default" not in second.version_aliases


def test_a_script_is_told_where_it_is_and_what_its_user_gave(
    training_job: Callable[..., Any],
    aiplatform: Any,
    bucket: str,
    project: str,
    read: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    job = training_job(REPORT.format(folder=f"/gcs/{bucket}"))
    model = job.run(
        args=["--epochs=3", "--name", "a b"],
        environment_variables={"GREETING": "hello world", "AIP_MODEL_DIR": "gs://elsewhere/"},
        base_output_dir=f"gs://{bucket}/out",
    )
    assert model is None
    told = read("0.json")
    assert told["args"] == ["--epochs=3", "--name", "a b"]
    env = told["env"]
    assert env["GREETING"] == "hello world"
    assert env["AIP_MODEL_DIR"] == f"gs://{bucket}/out/model/"
    assert env["AIP_CHECKPOINT_DIR"] == f"gs://{bucket}/out/checkpoints/"
    assert env["AIP_TENSORBOARD_LOG_DIR"] == f"gs://{bucket}/out/logs/"
    assert env["GOOGLE_CLOUD_PROJECT"] == project
    backing = job.gca_resource.training_task_metadata["backingCustomJob"]
    assert env["CLOUD_ML_JOB_ID"] == backing.rpartition("/")[2]
    assert env["CLOUD_ML_PROJECT_ID"] == backing.split("/")[1]
    cluster = json.loads(env["CLUSTER_SPEC"])
    assert [len(hosts) for hosts in cluster["cluster"].values()] == [1]
    assert "TF_CONFIG" not in env
    assert "SECRET_OF_THE_CALLER" not in env
    found = aiplatform.CustomJob.get(backing)
    assert (state_of(found), found.display_name) == ("SUCCEEDED", "train-custom-job")
    inputs = job.gca_resource.training_task_inputs
    assert inputs["workerPoolSpecs"][0]["pythonPackageSpec"]["executorImageUri"] == TRAINING_IMAGE


@over_rest
def test_a_cluster_knows_its_own_addresses(aiplatform: Any, bucket: str, read: Callable[[str], Any]) -> None:
    def pool(replicas: int) -> dict[str, Any]:
        container = {
            "image_uri": TRAINING_IMAGE,
            "command": ["python3", "-c", REPORT.format(folder=f"/gcs/{bucket}")],
            "args": ["--a=1"],
        }
        return {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": replicas,
            "container_spec": container,
        }

    job = aiplatform.CustomJob(
        display_name="cluster",
        worker_pool_specs=[pool(1), pool(2), {}, pool(1)],
        staging_bucket=f"gs://{bucket}",
    )
    job.run()
    assert state_of(job) == "SUCCEEDED"
    told = [read(f"{rank}.json") for rank in range(4)]
    configs = [json.loads(one["env"]["TF_CONFIG"]) for one in told]
    tasks = [(config["task"]["type"], config["task"]["index"]) for config in configs]
    assert tasks == [("chief", 0), ("worker", 0), ("worker", 1), ("evaluator", 0)]
    assert {json.dumps(config["cluster"]) for config in configs} == {json.dumps(configs[0]["cluster"])}
    assert {role: len(hosts) for role, hosts in configs[0]["cluster"].items()} == {"chief": 1, "worker": 2}
    assert all(one["args"] == ["--a=1"] and one["env"]["WORLD_SIZE"] == "4" for one in told)


@over_grpc
def test_a_python_package_is_trained(
    aiplatform: Any, bucket: str, tmp_path: Path, emulator: Any, read: Callable[[str], Any]
) -> None:
    source = tmp_path / "digits-1.0"
    (source / "digits").mkdir(parents=True)
    (source / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='digits', version='1.0', packages=['digits'])\n"
    )
    (source / "digits" / "__init__.py").write_text("NUMBER = 7\n")
    (source / "digits" / "task.py").write_text(
        "import json, digits\n"
        f"json.dump(digits.NUMBER, open('/gcs/{bucket}/number.json', 'w'))\n" + COPY_MODEL
    )
    package = tmp_path / "digits-1.0.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(source, arcname=source.name)
    uploaded = requests.post(
        f"{emulator.storage}/upload/storage/v1/b/{bucket}/o",
        params={"uploadType": "media", "name": f"packages/{package.name}"},
        data=package.read_bytes(),
    )
    assert uploaded.ok, uploaded.text
    job = aiplatform.CustomPythonPackageTrainingJob(
        display_name="package",
        python_package_gcs_uri=f"gs://{bucket}/packages/{package.name}",
        python_module_name="digits.task",
        container_uri=TRAINING_IMAGE,
        staging_bucket=f"gs://{bucket}",
        model_serving_container_image_uri=SERVING_IMAGE,
    )
    model = job.run(model_display_name="digits")
    assert read("number.json") == 7
    assert model.display_name == "digits"


@over_rest
def test_a_command_in_a_prebuilt_container_is_trained(aiplatform: Any, bucket: str) -> None:
    job = aiplatform.CustomContainerTrainingJob(
        display_name="container",
        container_uri=TRAINING_IMAGE,
        command=["python3", "-c", COPY_MODEL],
        staging_bucket=f"gs://{bucket}",
        model_serving_container_image_uri=SERVING_IMAGE,
    )
    model = job.run(model_display_name="contained")
    assert model.uri.startswith(f"gs://{bucket}/aiplatform-custom-training-")
    assert model.uri.endswith("/model")


def test_a_job_is_found_listed_and_deleted(aiplatform: Any, custom_job: Callable[..., Any]) -> None:
    from google.api_core import exceptions

    job = custom_job("print('hello')", labels={"team": "vision"})
    job.run()
    found = aiplatform.CustomJob.get(job.resource_name)
    assert state_of(found) == "SUCCEEDED"
    assert (found.display_name, found.labels) == ("job", {"team": "vision"})
    assert found.create_time <= found.start_time <= found.end_time
    assert not found.error.message
    for text, names in {
        'state="JOB_STATE_SUCCEEDED" AND labels.team=vision': [job.resource_name],
        'state="JOB_STATE_FAILED"': [],
    }.items():
        listed = aiplatform.CustomJob.list(filter=text, order_by="create_time desc")
        assert [one.resource_name for one in listed] == names
    found.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.CustomJob.get(job.resource_name)


def test_pipelines_are_found_listed_and_deleted(aiplatform: Any, training_job: Callable[..., Any]) -> None:
    from google.api_core import exceptions

    job = training_job("print('hello')")
    job.run()
    found = aiplatform.CustomTrainingJob.get(job.resource_name)
    assert (state_of(found), found.display_name) == ("SUCCEEDED", "train")
    assert [one.resource_name for one in aiplatform.CustomTrainingJob.list()] == [job.resource_name]
    found.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.CustomTrainingJob.get(job.resource_name)


def test_a_failed_training_says_which_replica_ended_how(training_job: Callable[..., Any]) -> None:
    job = training_job("raise SystemExit(3)", model_serving_container_image_uri=SERVING_IMAGE)
    with pytest.raises(RuntimeError, match="The replica workerpool0-0 exited with a non-zero status of 3"):
        job.run(model_display_name="never")
    assert state_of(job) == "FAILED"


@over_rest
def test_a_failed_job_says_which_replica_ended_how(custom_job: Callable[..., Any]) -> None:
    job = custom_job("import a_module_that_is_not_there")
    with pytest.raises(
        RuntimeError, match=r"code: 3\n.*The replica workerpool0-0 exited with a non-zero status of 1"
    ):
        job.run()
    assert (state_of(job), job.error.code) == ("FAILED", 3)


@over_grpc
def test_a_training_that_writes_no_model_says_that_there_are_no_files(
    training_job: Callable[..., Any], bucket: str
) -> None:
    job = training_job("print('nothing')", model_serving_container_image_uri=SERVING_IMAGE)
    with pytest.raises(RuntimeError, match=f"There are no files under .*gs://{bucket}/.*/model.* to copy"):
        job.run(model_display_name="none", base_output_dir=f"gs://{bucket}/out")


@over_rest
def test_a_running_job_is_cancelled(aiplatform: Any, custom_job: Callable[..., Any]) -> None:
    from google.api_core import exceptions

    job = custom_job("import time; time.sleep(600)")
    job.submit()
    assert state_of(job) in {"QUEUED", "PENDING", "RUNNING"}
    with pytest.raises((exceptions.FailedPrecondition, exceptions.BadRequest), match="has ended"):
        job.delete()
    job.cancel()
    with pytest.raises(RuntimeError, match="code: 1\n"):
        job.wait_for_completion()
    assert state_of(job) == "CANCELLED"


def test_a_running_pipeline_is_cancelled_with_its_job(
    aiplatform: Any, training_job: Callable[..., Any]
) -> None:
    job = training_job("import time; time.sleep(600)")
    job.submit()
    job.cancel()
    with pytest.raises(RuntimeError, match="code: 1\n"):
        job._block_until_complete()
    assert state_of(job) == "CANCELLED"
    backing = job.gca_resource.training_task_metadata["backingCustomJob"]
    assert state_of(aiplatform.CustomJob.get(backing)) == "CANCELLED"


@over_rest
def test_a_job_that_runs_too_long_is_cancelled(custom_job: Callable[..., Any]) -> None:
    job = custom_job("import time; time.sleep(600)")
    with pytest.raises(RuntimeError, match="timeout"):
        job.run(timeout=1)
    assert state_of(job) == "CANCELLED"


@over_grpc
@pytest.mark.parametrize("restarts", [True, False])
def test_a_killed_worker_starts_the_job_anew_if_it_is_to(
    custom_job: Callable[..., Any], bucket: str, read: Callable[[str], Any], restarts: bool
) -> None:
    job = custom_job(
        f"""
        import os, signal
        mark = "/gcs/{bucket}/mark.json"
        if not os.path.exists(mark):
            open(mark, "w").write("1")
            os.kill(os.getpid(), signal.SIGKILL)
        open("/gcs/{bucket}/again.json", "w").write("2")
        """
    )
    if restarts:
        job.run(restart_job_on_worker_restart=True)
        assert (state_of(job), read("again.json")) == ("SUCCEEDED", 2)
        return
    with pytest.raises(RuntimeError, match=r"workerpool0-0.*SIGKILL"):
        job.run()
    assert read("mark.json") == 1


def test_what_cannot_be_trained_is_refused_before_it_begins(
    aiplatform: Any, training_job: Callable[..., Any]
) -> None:
    from google.api_core import exceptions

    wrong = (exceptions.InvalidArgument, exceptions.BadRequest)
    with pytest.raises(wrong, match=r"NVIDIA_TESLA_T4.* is not supported for machine type .*e2-standard-4"):
        training_job("").run(
            machine_type="e2-standard-4", accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1
        )
    with pytest.raises(wrong, match=r"base_output_directory.*gs://nowhere-at-all .*does not exist"):
        training_job("").run(base_output_dir="gs://nowhere-at-all/out")
    assert not aiplatform.CustomTrainingJob.list()
    assert not aiplatform.CustomJob.list()
