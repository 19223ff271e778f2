"""Batch prediction through Google's own clients, unmodified, over each transport."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket
from tf_records import record

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
MACHINE = "n1-standard-2"
FOLDER = re.compile(r"gs://.*/out/prediction-times-2-\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d_\d{3}Z")

pytestmark = pytest.mark.usefixtures("quick")

# What depends on the work rather than on how it is asked for is shown over one transport.
over_grpc = pytest.mark.parametrize("transport", ["grpc"])
over_rest = pytest.mark.parametrize("transport", ["rest"])


@pytest.fixture
def storage(emulator: Any, project: str) -> Bucket:
    return Bucket(emulator.storage, project)


@pytest.fixture
def model(aiplatform: Any, storage: Bucket, scaling_models: Mapping[int, Path]) -> Any:
    """A model that doubles three numbers, which Google's client knows of."""
    return aiplatform.Model.upload(
        display_name="times-2",
        artifact_uri=storage.put_folder("two", scaling_models[2]),
        serving_container_image_uri=IMAGE,
    )


@pytest.fixture
def jobs(generated: Callable[[str], Any]) -> Any:
    """The generated client of JobService."""
    return generated("JobServiceClient")


def request(model: Any, storage: Bucket, source: str | Iterable[str], **fields: Any) -> dict[str, Any]:
    """A BatchPredictionJob of the generated client."""
    options = dict(fields)
    return {
        "display_name": "b",
        "model": model.resource_name,
        "input_config": {
            "instances_format": options.pop("instances_format", "jsonl"),
            "gcs_source": {"uris": [source] if isinstance(source, str) else list(source)},
        },
        "output_config": {
            "predictions_format": options.pop("predictions_format", "jsonl"),
            "gcs_destination": {"output_uri_prefix": f"gs://{storage.bucket}/out"},
        },
        "dedicated_resources": {"machine_spec": {"machine_type": MACHINE}, "starting_replica_count": 1},
        **options,
    }


def ended(jobs: Any, job: Any, within: float = 120.0) -> Any:
    """A job of the generated client once it has ended."""
    deadline = time.monotonic() + within
    while not (found := jobs.get_batch_prediction_job(name=job.name)).end_time:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def run(jobs: Any, parent: str, job: dict[str, Any], state: str = "SUCCEEDED") -> Any:
    done = ended(jobs, jobs.create_batch_prediction_job(parent=parent, batch_prediction_job=job))
    assert done.state.name == f"JOB_STATE_{state}", done
    return done


def lines(instances: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(instance).encode() + b"\n" for instance in instances)


def scaled(instances: Iterable[list[float]]) -> list[Any]:
    return [{"instance": one, "prediction": [2.0 * number for number in one]} for one in instances]


def test_a_batch_prediction_answers_every_instance(
    aiplatform: Any, model: Any, storage: Bucket, emulator: Any, project: str
) -> None:
    instances = [[float(i), i / 2, -1.0] for i in range(150)]
    for index in range(3):
        storage.put(f"in/part-{index}.jsonl", lines(instances[50 * index : 50 * (index + 1)]))
    job = model.batch_predict(
        job_display_name="doubled",
        gcs_source=f"gs://{storage.bucket}/in/part-*.jsonl",
        gcs_destination_prefix=f"gs://{storage.bucket}/out",
        machine_type=MACHINE,
        starting_replica_count=2,
        max_replica_count=3,
        batch_size=16,
        labels={"purpose": "test"},
        service_account="someone@example.com",
        model_parameters={"threshold": 0.5},
    )
    directory = job.output_info.gcs_output_directory
    assert FOLDER.fullmatch(directory), directory
    assert storage.lines(directory) == scaled(instances)
    assert storage.files(directory, "errors_stats") == ["", ""]
    assert {blob.name.rpartition("/")[2] for blob in job.iter_outputs()} == {
        f"prediction.{kind}-0000{index}-of-00002"
        for kind in ("results", "errors_stats")
        for index in range(2)
    }
    stats = job.completion_stats
    assert (stats.successful_count, stats.failed_count, stats.incomplete_count) == (150, 0, 0)
    assert not job.partial_failures

    resource = aiplatform.BatchPredictionJob(job.resource_name).gca_resource
    assert resource.state.name == "JOB_STATE_SUCCEEDED"
    assert (resource.model, resource.model_version_id) == (model.resource_name, "1")
    assert resource.dedicated_resources.starting_replica_count == 2
    assert resource.manual_batch_tuning_parameters.batch_size == 16
    assert resource.labels["purpose"] == "test"
    assert resource.resources_consumed.replica_hours > 0
    assert resource.create_time < resource.start_time < resource.end_time
    assert not resource.error.code

    found = aiplatform.BatchPredictionJob.list(
        filter='display_name="doubled" AND state="JOB_STATE_SUCCEEDED"'
    )
    assert [one.resource_name for one in found] == [job.resource_name]
    assert aiplatform.BatchPredictionJob.list(filter='model_display_name="times-2"')
    assert not aiplatform.BatchPredictionJob.list(filter='model_display_name="other"')
    assert aiplatform.BatchPredictionJob.list(filter="labels.purpose=test")

    answer = requests.post(
        f"{emulator.rest}/v2/entries:list",
        json={"resourceNames": [f"projects/{project}"], "filter": f'resource.labels.job_id="{job.name}"'},
    )
    said = [entry["textPayload"] for entry in answer.json()["entries"]]
    assert any("is served by 2 replicas." in line for line in said), said
    assert any("does not scale up to max_replica_count, 3" in line for line in said), said
    assert said[-1] == "150 instances were answered, 0 failed."

    job.delete()
    assert not aiplatform.BatchPredictionJob.list()
    assert storage.lines(directory) == scaled(instances)


@over_grpc
def test_every_format_is_read(
    model: Any, jobs: Any, parent: str, storage: Bucket, aiplatform: Any, measuring_model: Path
) -> None:
    measuring = aiplatform.Model.upload(
        display_name="measuring",
        artifact_uri=storage.put_folder("measuring", measuring_model),
        serving_container_image_uri=IMAGE,
    )
    blobs = [b"", b"abc", b"\x00\xff" * 300]
    files = [storage.put(f"files/{index}.bin", blob) for index, blob in enumerate(blobs)]
    records = b"".join(map(record, blobs))
    table = b"a,b,c\n1,2,3\n4.5,-1,0\n"
    asked = {
        "csv": request(model, storage, storage.put("in.csv", table), instances_format="csv"),
        "keyed": request(
            model,
            storage,
            storage.put("keyed.jsonl", lines({"id": f"k{i}", "x": [i, 0, 1]} for i in range(3))),
            instance_config={"key_field": "id"},
        ),
        "fields": request(
            model,
            storage,
            storage.put("fields.jsonl", lines([{"c": 3, "a": 1, "b": 2, "d": 9}])),
            instance_config={"instance_type": "array", "included_fields": ["a", "b", "c"]},
        ),
        "tf-record": request(
            measuring, storage, storage.put("in.tfrecord", records), instances_format="tf-record"
        ),
        "tf-record-gzip": request(
            measuring,
            storage,
            storage.put("in.tfrecord.gz", gzip.compress(records)),
            instances_format="tf-record-gzip",
        ),
        "file-list": request(
            measuring,
            storage,
            storage.put("list.txt", "\n".join(files).encode()),
            instances_format="file-list",
        ),
        "to csv": request(
            model,
            storage,
            f"gs://{storage.bucket}/in.csv",
            instances_format="csv",
            predictions_format="csv",
        ),
    }
    begun = {
        name: jobs.create_batch_prediction_job(parent=parent, batch_prediction_job=job)
        for name, job in asked.items()
    }
    done = {name: ended(jobs, job) for name, job in begun.items()}
    assert {name: job.state.name for name, job in done.items()} == dict.fromkeys(done, "JOB_STATE_SUCCEEDED")
    directories = {name: job.output_info.gcs_output_directory for name, job in done.items()}
    assert len(set(directories.values())) == len(asked)

    results = {name: storage.lines(path) for name, path in directories.items() if name != "to csv"}
    assert results["csv"] == scaled([[1.0, 2.0, 3.0], [4.5, -1.0, 0.0]])
    assert results["keyed"] == [{"key": f"k{i}", "prediction": [2.0 * i, 0.0, 2.0]} for i in range(3)]
    assert results["fields"] == [
        {"instance": {"c": 3, "a": 1, "b": 2, "d": 9}, "prediction": [2.0, 4.0, 6.0]}
    ]
    lengths = [len(blob) for blob in blobs]
    for name in ("tf-record", "tf-record-gzip"):
        assert [line["prediction"] for line in results[name]] == lengths
        assert results[name][1]["instance"] == {"b64": "YWJj"}
    assert results["file-list"] == [
        {"instance": uri, "prediction": length} for uri, length in zip(files, lengths, strict=True)
    ]

    inside = directories["to csv"].removeprefix(f"gs://{storage.bucket}/")
    (name,) = storage.names(f"{inside}/prediction.results-")
    assert name.endswith("-00000-of-00001.csv")
    rows = list(csv.reader(io.StringIO(storage.text(name))))
    assert rows[0] == ["a", "b", "c", "prediction"]
    assert [json.loads(row[3]) for row in rows[1:]] == [[2.0, 4.0, 6.0], [9.0, -2.0, 0.0]]


@over_rest
def test_what_cannot_be_answered_is_listed_and_the_rest_answered(
    model: Any, storage: Bucket, aiplatform: Any
) -> None:
    good = [[1.0, 2.0, float(i)] for i in range(40)]
    content = lines(good[:20]) + b"[1, 2\n[1, 2]\n\n" + lines(good[20:])
    job = aiplatform.BatchPredictionJob.create(
        job_display_name="partly",
        model_name=f"{model.resource_name}@default",
        gcs_source=[storage.put("in.jsonl", content), storage.put("empty.jsonl", b"")],
        gcs_destination_prefix=f"gs://{storage.bucket}/out/",
        machine_type=MACHINE,
    )
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    directory = job.output_info.gcs_output_directory
    assert FOLDER.fullmatch(directory), directory
    assert storage.lines(directory) == scaled(good)
    failed = storage.lines(directory, "errors_stats")
    assert [line["instance"] for line in failed] == ["[1, 2", [1, 2]]
    assert all(line["error"]["code"] == 3 and line["error"]["message"] for line in failed)
    assert [failure.code for failure in job.partial_failures] == [3, 3]
    assert [failure.message for failure in job.partial_failures] == [
        line["error"]["message"] for line in failed
    ]
    stats = job.completion_stats
    assert (stats.successful_count, stats.failed_count, stats.incomplete_count) == (40, 2, 0)


@over_grpc
def test_a_job_fails_that_nothing_came_of(
    model: Any, jobs: Any, parent: str, storage: Bucket, aiplatform: Any
) -> None:
    with pytest.raises(RuntimeError, match=r"All instances failed, 2 of 2\. The first: "):
        model.batch_predict(
            job_display_name="wrong",
            gcs_source=storage.put("wrong.jsonl", b"[1]\n[2]\n"),
            gcs_destination_prefix=f"gs://{storage.bucket}/out",
            machine_type=MACHINE,
        )
    (job,) = aiplatform.BatchPredictionJob.list()
    assert len(storage.lines(job.output_info.gcs_output_directory, "errors_stats")) == 2
    assert job.completion_stats.failed_count == 2

    storage.put("out-before", b"")
    before = storage.names("out/")
    done = run(jobs, parent, request(model, storage, storage.put("none.jsonl", b"")), "FAILED")
    assert done.error.code == 3
    assert done.error.message == f"There are no instances in the input: gs://{storage.bucket}/none.jsonl."

    broken = aiplatform.Model.upload(
        display_name="broken",
        artifact_uri=storage.put("broken/saved_model.pb", b"no graph").rpartition("/")[0],
        serving_container_image_uri=IMAGE,
    )
    source = storage.put("one.jsonl", b"[1, 2, 3]\n")
    done = run(jobs, parent, request(broken, storage, source), "FAILED")
    assert done.error.code == 9
    assert done.error.message.startswith("Model server exited unexpectedly")
    assert done.completion_stats.successful_count == 0
    assert storage.names("out/") == before


@over_grpc
def test_a_job_says_how_far_it_is_and_can_be_cancelled(aiplatform: Any, model: Any, storage: Bucket) -> None:
    count = 60_000
    job = aiplatform.BatchPredictionJob.submit(
        job_display_name="long",
        model_name=model,
        gcs_source=storage.put("long.jsonl", b"[1, 2, 3]\n" * count),
        gcs_destination_prefix=f"gs://{storage.bucket}/out",
        machine_type=MACHINE,
        batch_size=1,
    )
    assert job.state.name == "JOB_STATE_PENDING"
    with pytest.raises(RuntimeError, match="until BatchPredictionJob has succeeded"):
        job.iter_outputs()
    seen: list[Any] = []
    deadline = time.monotonic() + 60
    while len({stats.successful_count for stats in seen}) < 3:
        assert time.monotonic() < deadline, seen
        job._sync_gca_resource()
        stats = job._gca_resource.completion_stats
        if job._gca_resource.state.name == "JOB_STATE_RUNNING" and stats.successful_count:
            seen.append(stats)
        time.sleep(0.05)
    assert all(stats.successful_count + stats.incomplete_count == count for stats in seen[-1:])
    with pytest.raises(Exception, match="can only be deleted once it has ended"):
        job.delete()
    job.cancel()
    while job.state.name in ("JOB_STATE_CANCELLING", "JOB_STATE_RUNNING"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.state.name == "JOB_STATE_CANCELLED"
    assert (job.error.code, job.error.message) == (1, "CANCELED")
    assert 0 < job._gca_resource.completion_stats.successful_count < count
    assert not storage.names("out/")
    job.cancel()
    assert job.state.name == "JOB_STATE_CANCELLED"


@over_rest
def test_a_version_is_predicted_with_whatever_becomes_of_the_model(
    aiplatform: Any, model: Any, jobs: Any, parent: str, storage: Bucket, scaling_models: Mapping[int, Path]
) -> None:
    newer = aiplatform.Model.upload(
        display_name="times-3",
        parent_model=model.resource_name,
        artifact_uri=storage.put_folder("three", scaling_models[3]),
        serving_container_image_uri=IMAGE,
        is_default_version=False,
        version_aliases=["newest"],
    )
    asked = request(model, storage, storage.put("one.jsonl", b"[1, 2, 3]\n" * 3000))
    asked["model"] = f"{model.resource_name}@newest"
    asked["manual_batch_tuning_parameters"] = {"batch_size": 1}
    job = jobs.create_batch_prediction_job(parent=parent, batch_prediction_job=asked)
    assert (job.model, job.model_version_id) == (model.resource_name, newer.version_id)
    while jobs.get_batch_prediction_job(name=job.name).state.name == "JOB_STATE_PENDING":
        time.sleep(0.05)
    model.delete()
    done = ended(jobs, job)
    assert done.state.name == "JOB_STATE_SUCCEEDED", done
    results = storage.lines(done.output_info.gcs_output_directory)
    assert results == [{"instance": [1, 2, 3], "prediction": [3.0, 6.0, 9.0]}] * 3000
