"""BatchPredictionJobs on a real store, Cloud Storage and batch engine, with model servers of threads."""

from __future__ import annotations

import asyncio
import errno
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import IMAGE, PARENT, ThreadServing, Vertex

from vertexkit.emulator.batch.types import InputMissing
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.services import deployments, placement
from vertexkit.emulator.services.batch_inputs import InputObjects, find_inputs
from vertexkit.emulator.services.batch_jobs import BatchJobs
from vertexkit.emulator.services.batch_output import Folders, Written, publish
from vertexkit.emulator.serving import NoReplica, ServingReply


class DoublingServing(ThreadServing):
    """Doubles numbers; what is below zero is refused. While ``held``, nothing is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def predict(self, key: str, body: bytes, *, timeout: float) -> ServingReply:
        if key not in self.specs:
            raise NoReplica(f"{key} is not deployed")
        await self.held.wait()
        request = json.loads(body)
        self.bodies.append(request)
        if any(number < 0 for number in request["instances"]):
            return ServingReply(400, body=b'{"error": "below zero"}')
        doubled = [2 * number for number in request["instances"]]
        return ServingReply(200, body=json.dumps({"predictions": doubled}).encode())


class FolderLogs:
    """Logs of jobs in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.deleted: list[str] = []

    def open_log(self, job_id: str) -> JobLogs:
        return JobLogs(self._folder / job_id)

    def delete(self, job_id: str) -> None:
        self.deleted.append(job_id)


class Batch:
    """The batch prediction jobs of one emulator."""

    def __init__(self, vertex: Vertex, serving: DoublingServing, loop: Any) -> None:
        self.vertex, self.serving, self.objects = vertex, serving, vertex.objects
        self.folder = vertex.data_dir / "batch"
        self.logs = FolderLogs(vertex.data_dir / "logs")
        self.jobs = BatchJobs(
            vertex.store,
            vertex.running,
            vertex.objects,
            serving,
            loop=loop,
            logs=self.logs,
            folder=self.folder,
        )

    def upload(self, content: bytes = b"model", display_name: str = "m") -> str:
        self.objects.write("bbb", "m/saved_model.pb", content)
        model = types.Model(display_name=display_name, artifact_uri="gs://bbb/m")
        model.container_spec.image_uri = IMAGE
        request = types.UploadModelRequest(parent=PARENT, model=model)
        response = types.UploadModelResponse.pb()()
        self.vertex.models.UploadModel(types.UploadModelRequest.pb(request)).response.Unpack(response)
        return str(response.model)

    def create(
        self, model: str, numbers: list[int], replicas: int = 0, batch_size: int = 0, accelerator: str = ""
    ) -> Any:
        uri = f"gs://bbb/{uuid.uuid4()}.jsonl"
        content = "".join(f"{number}\n" for number in numbers)
        self.objects.write("bbb", uri.removeprefix("gs://bbb/"), content.encode())
        job = types.BatchPredictionJob(display_name="b", model=model)
        job.input_config.instances_format = "jsonl"
        job.input_config.gcs_source.uris = [uri]
        job.output_config.predictions_format = "jsonl"
        job.output_config.gcs_destination.output_uri_prefix = "gs://bbb/out"
        machine = job.dedicated_resources.machine_spec
        machine.machine_type = "n1-standard-2"
        if accelerator:
            machine.accelerator_type, machine.accelerator_count = types.AcceleratorType[accelerator], 1
        job.dedicated_resources.starting_replica_count = replicas
        job.manual_batch_tuning_parameters.batch_size = batch_size
        return self.jobs.create(PARENT, types.BatchPredictionJob.pb(job))

    def until(self, job: Any, *states: str, within: float = 20) -> Any:
        deadline = time.monotonic() + within
        wanted = {types.JobState[f"JOB_STATE_{state}"] for state in states}
        while (found := self.jobs.get(job.name)).state not in wanted:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def ended(self, job: Any, state: str) -> Any:
        found = self.until(job, "SUCCEEDED", "FAILED", "CANCELLED")
        assert types.JobState(found.state).name == f"JOB_STATE_{state}", found
        # What is left of it goes a moment later.
        deadline = time.monotonic() + 10
        while list((self.folder / "jobs").iterdir()) or list((self.folder / "models").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not self.serving.specs
        return found

    def lines(self, job: Any, kind: str = "results") -> list[Any]:
        folder = job.output_info.gcs_output_directory.removeprefix("gs://bbb/")
        names = [found.name for found in self.objects.list("bbb", f"{folder}/prediction.{kind}-")]
        return [json.loads(line) for name in names for line in self.objects.read("bbb", name).splitlines()]

    def said(self, job: Any) -> list[str]:
        return [line.text for line in self.logs.open_log(job.name.rpartition("/")[2]).forward()]


@pytest.fixture
def launch(start: Callable[[], Vertex], loop: Any) -> Iterator[Callable[[], Batch]]:
    """Starts the jobs on the same data, again and again."""
    started: list[Batch] = []

    def begin() -> Batch:
        if started:
            started[-1].jobs.close()
        vertex = start()
        if not vertex.objects.bucket_exists("bbb"):
            vertex.objects.create_bucket("bbb", "my-project")
        started.append(Batch(vertex, DoublingServing(), loop))
        started[-1].jobs.restore()
        return started[-1]

    yield begin
    for batch in started:
        loop.call_soon_threadsafe(batch.serving.held.set)
    started[-1].jobs.close()


@pytest.fixture
def batch(launch: Callable[[], Batch]) -> Batch:
    return launch()


def test_instances_are_sent_in_batches_to_the_replicas_of_a_model_without_an_endpoint(batch: Batch) -> None:
    model = batch.upload()
    job = batch.create(model, list(range(130)), replicas=2)
    assert job.state == types.JobState.JOB_STATE_PENDING
    done = batch.ended(job, "SUCCEEDED")
    assert batch.lines(done) == [{"instance": n, "prediction": 2 * n} for n in range(130)]
    assert sorted(len(body["instances"]) for body in batch.serving.bodies) == [2, 64, 64]
    assert done.completion_stats.successful_count == 130
    assert done.completion_stats.incomplete_count == 0


def test_what_the_container_is_told_is_what_it_would_be_told_of_an_endpoint(batch: Batch, loop: Any) -> None:
    loop.call_soon_threadsafe(batch.serving.held.clear)
    job = batch.create(batch.upload(), [1])
    batch.until(job, "RUNNING")
    (spec,) = batch.serving.specs.values()
    number = job.name.rpartition("/")[2]
    assert spec.env["AIP_PREDICT_ROUTE"] == f"/v1/endpoints/{number}/deployedModels/{number}:predict"
    assert spec.env["AIP_MACHINE_TYPE"] == "n1-standard-2"
    # No fast path, which would answer some of a job's instances and not others.
    assert spec.env["VERTEXKIT_SERVING_BACKEND"] == "tensorflow"
    assert spec.artifact_dir.is_relative_to(batch.folder)
    loop.call_soon_threadsafe(batch.serving.held.set)
    batch.ended(job, "SUCCEEDED")


def test_fewer_replicas_and_no_accelerator_are_said_and_change_no_file(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "replicas_that_fit", lambda: 1)
    monkeypatch.setattr(placement, "_has_gpu", lambda: False)
    job = batch.create(batch.upload(), list(range(9)), replicas=3, accelerator="NVIDIA_TESLA_T4")
    done = batch.ended(job, "SUCCEEDED")
    folder = done.output_info.gcs_output_directory.removeprefix("gs://bbb/")
    assert [found.name.rpartition("/")[2] for found in batch.objects.list("bbb", f"{folder}/")] == [
        f"prediction.{kind}-0000{index}-of-00003"
        for kind in ("errors_stats", "results")
        for index in range(3)
    ]
    assert batch.lines(done) == [{"instance": n, "prediction": 2 * n} for n in range(9)]
    said = " ".join(batch.said(job))
    assert "is served by 1 replica." in said
    assert "Served on CPU: the local Vertex AI has no NVIDIA_TESLA_T4." in said
    assert "Served by 1 of 3 replicas: this machine holds no more." in said


def test_a_job_that_waits_for_its_model_or_its_answers_can_be_cancelled(batch: Batch, loop: Any) -> None:
    starting = batch.create(batch.upload(b"slow"), [1])
    assert batch.serving.loading.wait(10)
    batch.jobs.cancel(starting.name)
    done = batch.ended(starting, "CANCELLED")
    assert (done.error.code, done.error.message) == (1, "CANCELED")
    assert done.completion_stats.incomplete_count == -1
    assert not done.HasField("start_time")

    loop.call_soon_threadsafe(batch.serving.held.clear)
    running = batch.create(batch.upload(), [1, 2])
    batch.until(running, "RUNNING")
    batch.jobs.cancel(running.name)
    done = batch.ended(running, "CANCELLED")
    assert done.completion_stats.successful_count == 0
    assert not list(batch.objects.list("bbb", "out/"))


def test_no_more_jobs_have_model_servers_than_do_good(batch: Batch) -> None:
    model = batch.upload(b"slow")
    first = [batch.create(model, [index]) for index in range(8)]
    deadline = time.monotonic() + 10
    while not any("waits for others" in line for job in first for line in batch.said(job)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = [job for job in first if batch.said(job)]
    batch.jobs.cancel(waiting[0].name)
    batch.until(waiting[0], "CANCELLED")
    batch.serving.proceed.set()
    for job in first:
        batch.until(job, "CANCELLED" if job is waiting[0] else "SUCCEEDED")
    batch.ended(first[0], types.JobState(batch.jobs.get(first[0].name).state).name.removeprefix("JOB_STATE_"))


def test_a_job_goes_on_from_where_it_was(launch: Callable[[], Batch], loop: Any) -> None:
    before = launch()
    model = before.upload()
    job = before.create(model, list(range(100)), batch_size=10)
    deadline = time.monotonic() + 10
    while not before.jobs.get(job.name).completion_stats.successful_count:
        assert time.monotonic() < deadline
    loop.call_soon_threadsafe(before.serving.held.clear)
    before.jobs.close()
    # Nothing but its own is needed any more.
    before.objects.delete("bbb", "m/saved_model.pb")
    after = launch()
    done = after.ended(job, "SUCCEEDED")
    assert after.lines(done) == [{"instance": n, "prediction": 2 * n} for n in range(100)]


def test_what_ended_jobs_and_lost_ones_left_is_removed_at_the_next_start(
    launch: Callable[[], Batch],
) -> None:
    before = launch()
    for left in ("jobs/123", "models/abc-123"):
        (before.folder / left).mkdir(parents=True)
    after = launch()
    assert not list((after.folder / "jobs").iterdir())
    assert not list((after.folder / "models").iterdir())


def test_a_job_whose_folder_is_gone_says_so(launch: Callable[[], Batch], loop: Any) -> None:
    before = launch()
    loop.call_soon_threadsafe(before.serving.held.clear)
    job = before.create(before.upload(), [1])
    before.until(job, "RUNNING")
    before.jobs.close()
    for file in (before.folder / "jobs").rglob("plan.json"):
        file.unlink()
    done = launch().ended(job, "FAILED")
    assert done.error.code == Code.DATA_LOSS.number
    assert "no longer in the data folder" in done.error.message


def test_a_full_disk_fails_the_job_and_leaves_no_half_of_its_output(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = batch.objects.commit

    def commit(bucket: str, name: str, *rest: Any, **more: Any) -> Any:
        if "errors_stats" in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return committed(bucket, name, *rest, **more)

    model = batch.upload()
    monkeypatch.setattr(
        batch.objects, "commit", mock.create_autospec(batch.objects.commit, side_effect=commit)
    )
    job = batch.create(model, [1, 2, 3])
    done = batch.ended(job, "FAILED")
    assert done.error.code == Code.RESOURCE_EXHAUSTED.number
    assert done.error.message.startswith("Cannot write to the disk: No space left on device.")
    assert not list(batch.objects.list("bbb", "out/"))
    assert not done.output_info.gcs_output_directory


def test_a_job_is_deleted_with_its_log_once_it_has_ended(batch: Batch, loop: Any) -> None:
    loop.call_soon_threadsafe(batch.serving.held.clear)
    job = batch.create(batch.upload(), [1, -1])
    number = job.name.rpartition("/")[2]
    project = job.name.split("/")[1]
    with pytest.raises(ApiError, match="can only be deleted once it has ended"):
        batch.jobs.delete(job.name)
    loop.call_soon_threadsafe(batch.serving.held.set)
    done = batch.ended(job, "SUCCEEDED")
    assert [failure.code for failure in done.partial_failures] == [3]
    assert "below zero" in done.partial_failures[0].message
    assert batch.jobs.log(project, number) is not None
    assert batch.jobs.log("1", number) is None
    said = batch.said(job)
    assert said[-2] == "1 instances were answered, 1 failed."
    assert said[-1].startswith("Failed: -1: ")
    batch.jobs.delete(job.name)
    assert batch.logs.deleted == [number]
    assert batch.jobs.log(project, number) is None
    with pytest.raises(ApiError) as refused:
        batch.jobs.get(job.name)
    assert refused.value.code is Code.NOT_FOUND
    assert batch.lines(done) == [{"instance": 1, "prediction": 2}]


def test_folders_are_named_once_and_hold_no_folder() -> None:
    folders = Folders()
    names = {folders.new("gs://bbb/out/", "a/b*[1]\n é") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("gs://bbb/out/prediction-a_b__1__ é-2") for name in names)
    assert folders.new("gs://bbb", "m").startswith("gs://bbb/prediction-m-")


def test_a_publication_replaces_one_that_was_cut_short(batch: Batch, tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_bytes(b"whole")
    batch.objects.write("bbb", "out/prediction.results-00000-of-00001", b"ha")
    publish(batch.objects, "gs://bbb/out", [Written(file, "prediction.results-00000-of-00001")])
    assert batch.objects.read("bbb", "out/prediction.results-00000-of-00001") == b"whole"


def test_where_the_output_cannot_go_is_told_with_what_to_do(batch: Batch, tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_bytes(b"whole")
    with pytest.raises(
        ApiError, match=r"gs://gone/out.* create the job again.* a bucket that is there"
    ) as said:
        publish(batch.objects, "gs://gone/out", [Written(file, "prediction.results-00000-of-00001")])
    assert said.value.code is Code.FAILED_PRECONDITION


def test_patterns_are_those_of_gsutil(batch: Batch) -> None:
    for name in ("in/a.jsonl", "in/b.jsonl", "in/deep/c.jsonl", "in/{x}.jsonl", "in/*.jsonl", "in/", "x"):
        batch.objects.write("bbb", name, b"" if name.endswith("/") else b"1")

    def found(*uris: str) -> list[str]:
        return [one.uri.removeprefix("gs://bbb/") for one in find_inputs(batch.objects, uris)]

    assert found("gs://bbb/in/?.jsonl") == ["in/*.jsonl", "in/a.jsonl", "in/b.jsonl"]
    assert found("gs://bbb/in/[ab].jsonl", "gs://bbb/x") == ["in/a.jsonl", "in/b.jsonl", "x"]
    assert found("gs://bbb/in/**") == [
        "in/*.jsonl",
        "in/a.jsonl",
        "in/b.jsonl",
        "in/deep/c.jsonl",
        "in/{x}.jsonl",
    ]
    # An object of that very name is meant first.
    assert found("gs://bbb/in/*.jsonl") == ["in/*.jsonl"]
    assert found("gs://bbb/in/{x}.json*") == ["in/{x}.jsonl"]
    for uri in ("gs://bbb/in/[.jsonl", "gs://bbb/none*", "gs://other/x"):
        with pytest.raises(ApiError, match=r"uris\[1\]"):
            find_inputs(batch.objects, ["gs://bbb/x", uri])


def test_an_input_that_was_replaced_is_missed(batch: Batch) -> None:
    batch.objects.write("bbb", "x", b"one")
    batch.objects.write("bbb", "y", b"why")
    inputs = InputObjects(batch.objects, find_inputs(batch.objects, ["gs://bbb/x"]))
    assert inputs.size("gs://bbb/x") == 3
    with inputs.open("gs://bbb/x") as file:
        batch.objects.write("bbb", "x", b"other")
        assert file.read() == b"one"
    with inputs.open("gs://bbb/y") as file:
        assert file.read() == b"why"
    with pytest.raises(InputMissing, match="was replaced or deleted while the job ran"):
        inputs.open("gs://bbb/x")
    for uri, said in (("gs://bbb/z", "No such object"), ("/etc/passwd", "gs://"), ("gs://bbb/", "gs://bbb")):
        with pytest.raises(InputMissing, match=said):
            inputs.open(uri)
