"""JobService and PipelineService on the wire: REST bodies and Google's generated clients."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


def command(text: str, replicas: int = 1) -> dict[str, Any]:
    """A worker pool that runs a shell command, which starts quicker than Python."""
    return {
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": str(replicas),
        "containerSpec": {"imageUri": IMAGE, "command": ["sh", "-c", text]},
    }


def package(uri: str) -> dict[str, Any]:
    """A worker pool that runs a module of a package."""
    program = {"executorImageUri": IMAGE, "packageUris": [uri], "pythonModule": "trainer.task"}
    return {**command(""), "containerSpec": None, "pythonPackageSpec": program}


def custom_job(text: str, **fields: Any) -> dict[str, Any]:
    return {"displayName": "job", "jobSpec": {"workerPoolSpecs": [command(text)], **fields}}


@pytest.fixture
def parent(emulator: Any, project: str) -> str:
    return f"{emulator.rest}/v1/projects/{project}/locations/{emulator.location}"


@pytest.fixture
def post(parent: str) -> Callable[..., Any]:
    """``post("customJobs", body)``: the answer's JSON."""

    def call(collection: str, body: Any, status: int = 200) -> Any:
        answer = requests.post(f"{parent}/{collection}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return call


@pytest.fixture
def ended(emulator: Any) -> Callable[[str], Any]:
    """Waits for the end of a job, by name."""

    def wait(name: str) -> Any:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            job = requests.get(f"{emulator.rest}/v1/{name}").json()
            if job["state"] in ENDED or job["state"].replace("PIPELINE", "JOB") in ENDED:
                return job
            time.sleep(0.05)
        raise AssertionError(f"{name} has not ended: {job}")

    return wait


def test_a_job_over_rest_has_the_fields_of_the_api(
    post: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    created = post("customJobs", {**custom_job("echo $CLOUD_ML_JOB_ID"), "labels": {"a": "b"}})
    assert created["state"] in {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"}
    assert created["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] == "1"
    assert "webAccessUris" not in created
    job = ended(created["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["createTime"] <= job["startTime"] <= job["endTime"] <= job["updateTime"]
    assert job["labels"] == {"a": "b"}
    assert "error" not in job


def test_a_project_is_the_same_by_its_id_and_by_its_number(
    emulator: Any, project: str, post: Callable[..., Any], ended: Callable[[str], Any], parent: str
) -> None:
    name = post("customJobs", custom_job("true"))["name"]
    number = name.split("/")[1]
    assert number.isdecimal()
    by_id = requests.get(f"{emulator.rest}/v1/{name.replace(number, project)}").json()
    assert by_id["name"] == name
    listed = requests.get(f"{parent.replace(project, number)}/customJobs").json()
    assert [job["name"] for job in listed["customJobs"]] == [name]
    ended(name)


def test_many_jobs_at_once_all_end(post: Callable[..., Any], ended: Callable[[str], Any]) -> None:
    names = [post("customJobs", custom_job(f"exit {number % 2}"))["name"] for number in range(6)]
    states = [ended(name)["state"] for name in names]
    assert states == ["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"] * 3


def test_the_log_of_a_job_is_asked_of_cloud_logging(
    emulator: Any, project: str, post: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    job = ended(post("customJobs", custom_job("echo one; echo two >&2", serviceAccount="me@p"))["name"])
    job_id = job["name"].rpartition("/")[2]
    answer = requests.post(
        f"{emulator.rest}/v2/entries:list",
        json={
            "resourceNames": [f"projects/{project}"],
            "filter": f'resource.type="ml_job" resource.labels.job_id="{job_id}"',
        },
    )
    said = {entry["textPayload"] for entry in answer.json()["entries"] if "textPayload" in entry} | {
        str(entry["jsonPayload"]["message"]) for entry in answer.json()["entries"] if "jsonPayload" in entry
    }
    assert {"one", "two"} <= said
    assert any("service_account has no effect" in text for text in said)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"displayName": "x"}, 400, "job_spec.worker_pool_specs; Message: Required field is not set."),
        (
            {"displayName": "x", "jobSpec": {"pools": []}},
            400,
            'Unknown name "pools" at \'custom_job.job_spec',
        ),
        (
            {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{**command("true"), "replicaCount": 2}]}},
            400,
            "the first worker pool has exactly 1 replica",
        ),
        (custom_job("true", persistentResourceId="mine"), 501, "job_spec.persistent_resource_id"),
        (custom_job("true", scheduling={"timeout": "-5s"}), 400, "scheduling.timeout"),
        (
            {"displayName": "x", "jobSpec": {"workerPoolSpecs": [{}, command("true")]}},
            400,
            "worker_pool_specs[0].replica_count",
        ),
        (
            {"displayName": "x", "jobSpec": {"workerPoolSpecs": [package("gs://a-bucket/folder/")]}},
            400,
            "gs://a-bucket/folder/ names a bucket or a folder",
        ),
        (
            {
                "displayName": "x",
                "jobSpec": {
                    "workerPoolSpecs": [
                        {**command("true"), "containerSpec": {"imageUri": "gcr.io/p/pytorch-mine:1"}}
                    ]
                },
            },
            501,
            "gcr.io/p/pytorch-mine:1",
        ),
    ],
)
def test_a_wrong_job_is_refused_and_not_kept(
    post: Callable[..., Any], parent: str, body: Any, status: int, says: str
) -> None:
    if status == 501 and "pytorch" in str(body):
        skip_with_docker()
    assert says in post("customJobs", body, status)["error"]["message"]
    assert requests.get(f"{parent}/customJobs").json() == {}


def skip_with_docker() -> None:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "info"], capture_output=True, timeout=60).returncode == 0:
        pytest.skip("a Docker engine runs images of one's own")


def test_a_pipeline_over_rest_shows_its_inputs_in_camel_case_and_its_job(
    post: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    created = post(
        "trainingPipelines",
        {
            "displayName": "p",
            "trainingTaskDefinition": CUSTOM_TASK,
            "trainingTaskInputs": {
                "worker_pool_specs": [
                    {
                        "machine_spec": {"machine_type": "n1-standard-4"},
                        "replica_count": 1,
                        "container_spec": {"image_uri": IMAGE, "command": ["true"]},
                    }
                ]
            },
        },
    )
    [pool] = created["trainingTaskInputs"]["workerPoolSpecs"]
    assert pool["machineSpec"] == {"machineType": "n1-standard-4"}
    assert pool["containerSpec"]["imageUri"] == IMAGE
    backing = created["trainingTaskMetadata"]["backingCustomJob"]
    assert backing.startswith(created["name"].partition("/trainingPipelines/")[0] + "/customJobs/")
    pipeline, job = ended(created["name"]), ended(backing)
    assert (pipeline["state"], job["state"]) == ("PIPELINE_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED")
    assert pipeline["createTime"] <= pipeline["startTime"] <= pipeline["endTime"]


def test_automl_is_refused_by_name(post: Callable[..., Any]) -> None:
    task = CUSTOM_TASK.replace("custom_task_1.0.0", "automl_image_classification_1.0.0")
    body = {"displayName": "p", "trainingTaskDefinition": task, "trainingTaskInputs": {"a": 1}}
    answer = post("trainingPipelines", body, 501)
    assert "automl_image_classification_1.0.0.yaml" in answer["error"]["message"]


@pytest.mark.parametrize("collection", ["dataLabelingJobs", "nasJobs"])
def test_other_kinds_of_jobs_are_refused_by_name(parent: str, collection: str) -> None:
    answer = requests.get(f"{parent}/{collection}")
    assert answer.status_code == 501
    assert f"JobService.List{collection[0].upper()}{collection[1:]}" in answer.text


def test_cancelling_once_more_is_no_error(
    emulator: Any, post: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    job = post("customJobs", custom_job("sleep 600"))
    url = f"{emulator.rest}/v1/{job['name']}"
    while requests.get(url).json()["state"] == "JOB_STATE_PENDING":
        time.sleep(0.05)
    assert requests.post(f"{url}:cancel", json={}).json() == {}
    assert requests.get(url).json()["state"] in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    assert requests.post(f"{url}:cancel", json={}).json() == {}
    job = ended(job["name"])
    assert (job["state"], job["error"]["code"]) == ("JOB_STATE_CANCELLED", 1)
    assert requests.delete(url).json()["done"]
    assert requests.get(url).status_code == 404


def test_a_bucket_that_is_deleted_in_the_middle_fails_the_pipeline(
    emulator: Any, project: str, post: Callable[..., Any], ended: Callable[[str], Any]
) -> None:
    bucket = f"gone-{project}"
    requests.post(
        f"{emulator.storage}/storage/v1/b?project={project}", json={"name": bucket}
    ).raise_for_status()
    pipeline = post(
        "trainingPipelines",
        {
            "displayName": "p",
            "trainingTaskDefinition": CUSTOM_TASK,
            "trainingTaskInputs": {
                "workerPoolSpecs": [command("until [ ! -e /gcs/" + bucket + " ]; do sleep 0.05; done")],
                "baseOutputDirectory": {"outputUriPrefix": f"gs://{bucket}/out"},
                "scheduling": {"timeout": "20s"},
            },
            "modelToUpload": {
                "displayName": "m",
                "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-12:latest"},
            },
        },
    )
    url = f"{emulator.rest}/v1/{pipeline['name']}"
    while requests.get(url).json()["state"] == "PIPELINE_STATE_PENDING":
        time.sleep(0.05)
    requests.delete(f"{emulator.storage}/storage/v1/b/{bucket}").raise_for_status()
    end = ended(pipeline["name"])
    assert (end["state"], end["error"]["code"]) == ("PIPELINE_STATE_FAILED", 5)
    assert f"gs://{bucket}/out/model" in end["error"]["message"]
