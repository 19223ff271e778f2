"""Training pipelines: the job behind one, the model that comes of it, and how their states go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from local_jobs import (
    CUSTOM_TASK,
    LocalJobs,
    backing_job,
    model_to_upload,
    python_package,
    training_inputs,
    worker_pool,
)
from local_services import PARENT, raw

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.jobs.types import EndKind

OTHER_TASK = CUSTOM_TASK.replace("custom_task_1.0.0", "automl_tabular_1.0.0")


def refused(jobs: LocalJobs, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        jobs.train(**fields)
    assert not jobs.list().custom_jobs, "a refused pipeline left a job"
    assert not jobs.engine.specs
    return caught.value


def model(jobs: LocalJobs, name: str) -> Any:
    return jobs.models.GetModel(raw(types.GetModelRequest(name=name)))


def trained(jobs: LocalJobs, **fields: Any) -> Any:
    """A pipeline that has run to its end."""
    pipeline = jobs.train(**fields)
    jobs.run(backing_job(pipeline))
    jobs.end(backing_job(pipeline))
    return jobs.pipeline(pipeline.name)


# The job behind a pipeline


def test_a_pipeline_has_a_job_that_is_found_like_any_other(jobs: LocalJobs) -> None:
    pipeline = jobs.train(labels={"team": "vision"})
    job = jobs.job(backing_job(pipeline))
    assert job.display_name == "digits-custom-job"
    assert job.labels == {"team": "vision"}
    assert [listed.name for listed in jobs.list().custom_jobs] == [job.name]
    spec = jobs.spec(job.name)
    assert (spec.timeout, spec.base_output_uri) == (60.0, "gs://jobs/out")
    assert jobs.pipeline(pipeline.name) == pipeline


@pytest.mark.parametrize("camel", [False, True])
def test_inputs_are_taken_in_either_case_and_come_back_in_camel_case(jobs: LocalJobs, camel: bool) -> None:
    inputs: dict[str, Any] = training_inputs()
    if camel:
        spec = {**inputs, "scheduling": {"timeout": "60s"}}
        inputs = json_format.MessageToDict(json_format.ParseDict(spec, types.CustomJobSpec.pb()()))
        assert "workerPoolSpecs" in inputs
    shown = json_format.MessageToDict(jobs.train(inputs).training_task_inputs)
    assert shown["baseOutputDirectory"] == {"outputUriPrefix": "gs://jobs/out"}
    assert shown["scheduling"] == {"timeout": "60s"}
    [pool] = shown["workerPoolSpecs"]
    assert pool["replicaCount"] == "1"
    assert pool["pythonPackageSpec"]["pythonModule"] == "trainer.task"


@pytest.mark.parametrize("camel", [False, True])
def test_numbers_among_the_arguments_are_written_out(jobs: LocalJobs, camel: bool) -> None:
    program = python_package(args=["--epochs", 3, "--rate", 0.02, "--most", 1e300, "--name=x"])
    inputs: dict[str, Any] = {"worker_pool_specs": [{**worker_pool(), "python_package_spec": program}]}
    if camel:
        pool = inputs.pop("worker_pool_specs")[0]
        del pool["python_package_spec"]
        inputs["workerPoolSpecs"] = [{**pool, "pythonPackageSpec": program}]
    [pool] = json_format.MessageToDict(jobs.train(inputs).training_task_inputs)["workerPoolSpecs"]
    assert pool["pythonPackageSpec"]["args"] == [
        *("--epochs", "3", "--rate", "0.02", "--most", "1e+300", "--name=x")
    ]


def test_a_long_name_leaves_room_for_that_of_the_job(jobs: LocalJobs) -> None:
    pipeline = jobs.train(display_name="x" * 128)
    assert len(jobs.job(backing_job(pipeline)).display_name) == 128


def test_states_and_times_follow_the_job(jobs: LocalJobs) -> None:
    pipeline = jobs.train()
    assert jobs.pipeline_state(pipeline.name) == "PENDING"
    jobs.run(backing_job(pipeline))
    assert jobs.pipeline_state(pipeline.name) == "RUNNING"
    assert jobs.pipeline(pipeline.name).HasField("start_time")
    jobs.end(backing_job(pipeline))
    ended = jobs.pipeline(pipeline.name)
    assert jobs.pipeline_state(pipeline.name) == "SUCCEEDED"
    assert ended.HasField("end_time")
    assert not ended.HasField("error")
    assert not ended.HasField("model_to_upload")


def test_a_failed_job_fails_its_pipeline_with_the_same_words(jobs: LocalJobs) -> None:
    pipeline = jobs.train(model_to_upload=model_to_upload())
    jobs.write_model()
    words = "The replica workerpool0-0 exited with a non-zero status of 1."
    jobs.end(backing_job(pipeline), EndKind.FAILED, words, replica="workerpool0-0", exit_code=1)
    ended = jobs.pipeline(pipeline.name)
    assert jobs.pipeline_state(pipeline.name) == "FAILED"
    assert (ended.error.code, ended.error.message) == (3, words)
    assert not ended.model_to_upload.name


def test_cancelling_a_pipeline_cancels_its_job(jobs: LocalJobs) -> None:
    pipeline = jobs.train()
    request = raw(types.CancelTrainingPipelineRequest(name=pipeline.name))
    jobs.run(backing_job(pipeline))
    jobs.pipelines.CancelTrainingPipeline(request)
    assert jobs.pipeline_state(pipeline.name) == "CANCELLING"
    assert jobs.state(backing_job(pipeline)) == "CANCELLING"
    assert jobs.engine.cancelled == [backing_job(pipeline).rpartition("/")[2]]
    jobs.end(backing_job(pipeline), EndKind.CANCELLED)
    assert jobs.pipeline_state(pipeline.name) == "CANCELLED"
    assert jobs.pipeline(pipeline.name).error.code == 1
    jobs.pipelines.CancelTrainingPipeline(request)
    assert jobs.pipeline_state(pipeline.name) == "CANCELLED"


def test_cancelling_the_job_cancels_its_pipeline(jobs: LocalJobs) -> None:
    pipeline = jobs.train()
    jobs.cancel(backing_job(pipeline))
    assert jobs.pipeline_state(pipeline.name) == "CANCELLING"
    jobs.end(backing_job(pipeline), EndKind.CANCELLED)
    assert jobs.pipeline_state(pipeline.name) == "CANCELLED"


def test_only_what_has_ended_is_deleted(jobs: LocalJobs) -> None:
    pipeline = jobs.train()
    request = raw(types.DeleteTrainingPipelineRequest(name=pipeline.name))
    with pytest.raises(ApiError, match=r"PIPELINE_STATE_PENDING.*Cancel it first") as caught:
        jobs.pipelines.DeleteTrainingPipeline(request)
    assert caught.value.code.name == "FAILED_PRECONDITION"
    jobs.end(backing_job(pipeline))
    assert jobs.pipelines.DeleteTrainingPipeline(request).done
    with pytest.raises(ApiError, match="does not exist"):
        jobs.pipeline(pipeline.name)
    assert jobs.state(backing_job(pipeline)) == "SUCCEEDED"


def test_pipelines_are_listed_by_what_they_do(jobs: LocalJobs) -> None:
    first, second = jobs.train(display_name="a"), jobs.train(display_name="b")
    jobs.end(backing_job(first))
    for text, names in {
        "": [second.name, first.name],
        'state="PIPELINE_STATE_SUCCEEDED"': [first.name],
        'display_name="b"': [second.name],
        'training_task_definition:"*custom_task*"': [second.name, first.name],
    }.items():
        request = types.ListTrainingPipelinesRequest(parent=PARENT, filter=text)
        listed = jobs.pipelines.ListTrainingPipelines(raw(request)).training_pipelines
        assert [pipeline.name for pipeline in listed] == names, text


# Its model


def test_what_the_job_wrote_is_uploaded(jobs: LocalJobs) -> None:
    jobs.write_model()
    pipeline = trained(jobs, model_to_upload=model_to_upload(labels={"a": "b"}, version_aliases=["best"]))
    assert jobs.pipeline_state(pipeline.name) == "SUCCEEDED"
    uploaded = pipeline.model_to_upload
    assert (uploaded.version_id, uploaded.artifact_uri) == ("1", "gs://jobs/out/model")
    kept = model(jobs, uploaded.name)
    assert kept.display_name == "digits"
    assert kept.artifact_uri == "gs://jobs/out/model"
    assert kept.training_pipeline == pipeline.name
    assert kept.labels == {"a": "b"}
    assert sorted(kept.version_aliases) == ["best", "default"]


def test_a_model_gets_the_id_that_it_was_to_have(jobs: LocalJobs) -> None:
    jobs.write_model()
    pipeline = trained(jobs, model_to_upload=model_to_upload(), model_id="digits")
    assert pipeline.model_to_upload.name.endswith("/models/digits")
    with pytest.raises(ApiError, match="already exists") as caught:
        jobs.train(model_to_upload=model_to_upload(), model_id="digits")
    assert caught.value.code.name == "ALREADY_EXISTS"


def test_a_model_may_be_a_new_version_of_another(jobs: LocalJobs) -> None:
    jobs.write_model()
    parent = trained(jobs, model_to_upload=model_to_upload()).model_to_upload.name
    pipeline = trained(
        jobs, model_to_upload=model_to_upload(version_aliases=["default"]), parent_model=parent
    )
    assert (pipeline.model_to_upload.name, pipeline.model_to_upload.version_id) == (parent, "2")
    assert model(jobs, parent).version_id == "2"


def test_a_job_that_wrote_no_model_fails_its_pipeline_and_has_succeeded(jobs: LocalJobs) -> None:
    # The marker of a folder is no file of a model.
    jobs.objects.write("jobs", "out/model/", b"")
    pipeline = trained(jobs, model_to_upload=model_to_upload())
    assert jobs.pipeline_state(pipeline.name) == "FAILED"
    assert pipeline.error.code == 5
    assert pipeline.error.message == 'There are no files under "gs://jobs/out/model" to copy.'
    assert not pipeline.model_to_upload.name
    assert jobs.state(backing_job(pipeline)) == "SUCCEEDED"


def test_a_model_that_its_image_does_not_load_fails_the_pipeline_and_leaves_none(jobs: LocalJobs) -> None:
    jobs.write_model(name="weights.h5")
    pipeline = trained(jobs, model_to_upload=model_to_upload())
    assert pipeline.error.code == 9
    assert "expected to contain exactly one of: [saved_model.pb" in pipeline.error.message
    assert not jobs.models.ListModels(raw(types.ListModelsRequest(parent=PARENT))).models


def test_a_bucket_that_has_gone_meanwhile_fails_the_pipeline(jobs: LocalJobs) -> None:
    pipeline = jobs.train(model_to_upload=model_to_upload())
    jobs.objects.delete("jobs", "packages/trainer-0.1.tar.gz")
    jobs.objects.delete_bucket("jobs")
    jobs.end(backing_job(pipeline))
    assert jobs.pipeline(pipeline.name).error.code == 5


def test_a_parent_model_that_has_gone_meanwhile_fails_the_pipeline(jobs: LocalJobs) -> None:
    jobs.write_model()
    parent = trained(jobs, model_to_upload=model_to_upload()).model_to_upload.name
    pipeline = jobs.train(model_to_upload=model_to_upload(), parent_model=parent)
    jobs.models.DeleteModel(raw(types.DeleteModelRequest(name=parent)))
    jobs.end(backing_job(pipeline))
    ended = jobs.pipeline(pipeline.name)
    assert (ended.error.code, parent in ended.error.message) == (5, True)


def test_a_defect_in_uploading_ends_the_pipeline_too(
    jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.write_model()

    def broken(request: Any) -> Any:
        raise OSError("input/output error")

    monkeypatch.setattr(jobs.models, "UploadModel", broken)
    pipeline = trained(jobs, model_to_upload=model_to_upload())
    assert (pipeline.error.code, "input/output error" in pipeline.error.message) == (13, True)


# Restarts


def test_a_pipeline_that_a_stop_cut_short_has_failed_with_its_job(
    start_jobs: Callable[[], LocalJobs],
) -> None:
    first = start_jobs()
    pipeline = first.train(model_to_upload=model_to_upload())
    first.run(backing_job(pipeline))
    second = start_jobs()
    assert second.pipeline_state(pipeline.name) == "FAILED"
    ended = second.pipeline(pipeline.name)
    assert (ended.error.code, ended.error) == (10, second.job(backing_job(pipeline)).error)


def test_a_restarted_job_still_gives_its_pipeline_a_model(start_jobs: Callable[[], LocalJobs]) -> None:
    first = start_jobs()
    inputs = {**training_inputs(), "scheduling": {"restart_job_on_worker_restart": True}}
    pipeline = first.train(inputs, model_to_upload=model_to_upload())
    first.run(backing_job(pipeline))
    second = start_jobs()
    assert second.pipeline_state(pipeline.name) == "RUNNING"
    second.write_model()
    second.run(backing_job(pipeline))
    second.end(backing_job(pipeline))
    assert second.pipeline_state(pipeline.name) == "SUCCEEDED"
    assert model(second, second.pipeline(pipeline.name).model_to_upload.name).version_id == "1"


def test_a_stop_between_the_end_of_the_job_and_the_upload_loses_no_model(
    start_jobs: Callable[[], LocalJobs],
) -> None:
    first = start_jobs()
    pipeline = first.train(model_to_upload=model_to_upload())
    first.write_model()
    first.custom_jobs.follow("trainingPipelines", lambda name, job: None)
    first.end(backing_job(pipeline))
    assert first.pipeline_state(pipeline.name) == "PENDING"
    second = start_jobs()
    assert second.pipeline_state(pipeline.name) == "SUCCEEDED"
    uploaded = second.pipeline(pipeline.name).model_to_upload.name
    third = start_jobs()
    models = third.models.ListModels(raw(types.ListModelsRequest(parent=PARENT))).models
    assert [kept.name for kept in models] == [uploaded]


# What is refused


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"display_name": ""}, "INVALID_ARGUMENT", "training_pipeline.display_name"),
        ({"training_task_definition": ""}, "INVALID_ARGUMENT", "training_task_definition; Message: Required"),
        ({"training_task_definition": "gs://mine/task.yaml"}, "INVALID_ARGUMENT", "is no training task"),
        ({"training_task_definition": OTHER_TASK}, "UNIMPLEMENTED", "automl_tabular_1.0.0.yaml"),
        ({"encryption_spec": {"kms_key_name": "k"}}, "UNIMPLEMENTED", "training_pipeline.encryption_spec"),
        ({"inputs": {"worker_pools": []}}, "INVALID_ARGUMENT", 'no field named "worker_pools"'),
        (
            {"inputs": {**training_inputs(), "scheduling": {"timeout": "soon"}}},
            "INVALID_ARGUMENT",
            "training_task_inputs; Message: .*timeout",
        ),
        (
            {"inputs": {"worker_pool_specs": []}},
            "INVALID_ARGUMENT",
            "job_spec.worker_pool_specs; Message: Required",
        ),
        (
            {"inputs": {"worker_pool_specs": [worker_pool(2)]}},
            "INVALID_ARGUMENT",
            r"worker_pool_specs\[0\].replica_count",
        ),
        (
            {"input_data_config": {"fraction_split": {"training_fraction": 0.8}}},
            "INVALID_ARGUMENT",
            "input_data_config.dataset_id; Message: Required",
        ),
        ({"input_data_config": {"dataset_id": "7"}}, "NOT_FOUND", "/datasets/7 does not exist"),
        ({"model_to_upload": {"display_name": "m"}}, "INVALID_ARGUMENT", "container_spec.image_uri"),
        (
            {"model_to_upload": model_to_upload(version_aliases=["Best"])},
            "INVALID_ARGUMENT",
            'alias "Best"',
        ),
        ({"model_to_upload": model_to_upload(), "model_id": "9a"}, "INVALID_ARGUMENT", "model_id"),
        ({"model_id": "digits"}, "INVALID_ARGUMENT", "training_pipeline.model_to_upload"),
        (
            {"model_to_upload": model_to_upload(), "parent_model": f"{PARENT}/models/none"},
            "NOT_FOUND",
            "models/none does not exist",
        ),
        (
            {
                "inputs": {"worker_pool_specs": [worker_pool()]},
                "model_to_upload": model_to_upload(),
            },
            "INVALID_ARGUMENT",
            "base_output_directory; Message: Required",
        ),
    ],
)
def test_a_wrong_pipeline_is_refused_before_anything_is_kept(
    jobs: LocalJobs, fields: dict[str, Any], code: str, says: str
) -> None:
    error = refused(jobs, **fields)
    assert error.code.name == code
    with pytest.raises(ApiError, match=says):
        raise error
    listed = jobs.pipelines.ListTrainingPipelines(raw(types.ListTrainingPipelinesRequest(parent=PARENT)))
    assert not listed.training_pipelines


def test_inputs_that_are_no_object_are_refused(jobs: LocalJobs) -> None:
    request = types.CreateTrainingPipelineRequest(
        parent=PARENT, training_pipeline={"display_name": "d", "training_task_definition": CUSTOM_TASK}
    )
    with pytest.raises(ApiError, match="training_task_inputs; Message: Required"):
        jobs.pipelines.CreateTrainingPipeline(raw(request))
