"""Training jobs: what exactly is sent, what is refused before, and what is left when something fails."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from doubles import LABELS, PARENT, Doubles, in_turn, in_turn_forever
from stored import Storage

from vertexkit import (
    errors,
    training_job,
    training_plan,
)
from vertexkit.job_logs import LogLine
from vertexkit.preflight import PreflightWarning
from vertexkit.training import CustomTrainingJob, Training
from vertexkit.types import Machine

pytestmark = pytest.mark.usefixtures("no_waiting")

PIPELINES, JOBS = f"{PARENT}/trainingPipelines", f"{PARENT}/customJobs"
NAME, JOB = f"{PIPELINES}/7", f"{JOBS}/8"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
CREATED = "2026-01-02T03:04:05Z"


@pytest.fixture
def training(doubles: Doubles, storage: Storage) -> Training:
    doubles.rest.answers[f"POST {PIPELINES}"] = pipeline()
    doubles.rest.answers[f"POST {JOBS}"] = custom_job()
    return Training(doubles.context)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('training')\n")
    return path


def pipeline(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "displayName": "mnist",
        "state": f"PIPELINE_STATE_{state}",
        "createTime": CREATED,
        "trainingTaskInputs": {"baseOutputDirectory": {"outputUriPrefix": "gs://my-bucket/out"}},
        "trainingTaskMetadata": {"backingCustomJob": JOB},
        "modelToUpload": {"displayName": "mnist"},
        **more,
    }


def custom_job(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {
        "name": JOB,
        "displayName": "mnist",
        "state": f"JOB_STATE_{state}",
        "createTime": CREATED,
        "jobSpec": {"baseOutputDirectory": {"outputUriPrefix": "gs://my-bucket/out/"}},
        **more,
    }


# -- what is sent -----------------------------------------------------------------------------


def test_a_script_becomes_a_pipeline_that_makes_a_model(
    training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    job = training.run(
        script,
        name="mnist",
        args={"epochs": 2, "cache": True},
        env={"SWITCH": "on"},
        workers=1,
        machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4"),
        labels={"team": "ml"},
        wait=False,
    )
    assert job.resource_name == NAME
    (body,) = doubles.rest.bodies
    run = body["labels"].pop("vertexkit_run")
    assert len(run) > 16
    assert body["labels"] == {**LABELS, "team": "ml"}
    assert body["displayName"] == "mnist"
    assert body["trainingTaskDefinition"].endswith("/custom_task_1.0.0.yaml")
    assert body["modelToUpload"] == {
        "displayName": "mnist",
        "labels": {**LABELS, "team": "ml"},
        "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"},
    }
    inputs = body["trainingTaskInputs"]
    assert set(inputs) == {"workerPoolSpecs", "baseOutputDirectory"}
    assert inputs["baseOutputDirectory"]["outputUriPrefix"].startswith(
        "gs://my-bucket/vertexkit/training/mnist/"
    )
    chief, workers = inputs["workerPoolSpecs"]
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 1)
    package = chief["pythonPackageSpec"]
    assert package == workers["pythonPackageSpec"]
    assert package["executorImageUri"] == "us-docker.pkg.dev/vertex-ai/training/tf-gpu.2-17.py310:latest"
    assert package["pythonModule"] == "vertexkit_program.train"
    assert package["args"] == ["--epochs=2", "--cache"]
    assert package["env"] == [{"name": "SWITCH", "value": "on"}]
    (uri,) = package["packageUris"]
    assert uri.startswith("gs://my-bucket/vertexkit/training/packages/s1/")
    assert storage.objects["my-bucket"][uri.removeprefix("gs://my-bucket/")][:2] == b"PK"


def test_without_a_model_it_is_a_custom_job(training: Training, doubles: Doubles, script: Path) -> None:
    job = training.run(script, model=False, base_output_dir="gs://my-bucket/there/", wait=False)
    assert doubles.rest.posts == [JOBS]
    (body,) = doubles.rest.bodies
    assert body["jobSpec"]["baseOutputDirectory"] == {"outputUriPrefix": "gs://my-bucket/there"}
    assert "modelToUpload" not in body
    assert (job.custom_job, job.model_dir) == (JOB, "gs://my-bucket/out/model")


def test_how_a_job_is_scheduled_is_said_only_where_asked_for(
    training: Training, doubles: Doubles, script: Path
) -> None:
    training.run(
        script,
        timeout=timedelta(minutes=2, milliseconds=500),
        spot=True,
        restart_on_worker_restart=True,
        service_account="trainer@my-project.iam.gserviceaccount.com",
        tensorboard="12",
        network="projects/1/global/networks/mine",
        dataset=f"{PARENT}/datasets/34",
        wait=False,
    )
    (body,) = doubles.rest.bodies
    inputs = body["trainingTaskInputs"]
    assert inputs["scheduling"] == {
        "timeout": "120.5s",
        "strategy": "SPOT",
        "restartJobOnWorkerRestart": True,
    }
    assert inputs["serviceAccount"] == "trainer@my-project.iam.gserviceaccount.com"
    assert inputs["tensorboard"] == f"{PARENT}/tensorboards/12"
    assert inputs["network"] == "projects/1/global/networks/mine"
    output = inputs["baseOutputDirectory"]["outputUriPrefix"]
    assert body["inputDataConfig"] == {"datasetId": "34", "gcsDestination": {"outputUriPrefix": output}}


def test_a_container_of_ones_own_runs_its_own_program(training: Training, doubles: Doubles) -> None:
    training.run(
        image="gcr.io/mine/trainer:1", command=["python", "-u"], args=["task.py"], name="own", wait=False
    )
    (body,) = doubles.rest.bodies
    (chief,) = body["trainingTaskInputs"]["workerPoolSpecs"]
    assert chief["containerSpec"] == {
        "imageUri": "gcr.io/mine/trainer:1",
        "command": ["python", "-u"],
        "args": ["task.py"],
    }


def test_a_container_of_ones_own_installs_the_program_that_is_sent(
    training: Training, doubles: Doubles, script: Path
) -> None:
    training.run(script, image="gcr.io/mine/trainer:1", args={"name": "two words"}, wait=False)
    (body,) = doubles.rest.bodies
    (chief,) = body["trainingTaskInputs"]["workerPoolSpecs"]
    spec = chief["containerSpec"]
    shell, option, words, _ = spec["command"]
    assert (shell, option) == ("sh", "-c")
    assert "pip install" in words
    assert "/gcs/my-bucket/vertexkit/training/packages/s1/" in words
    assert words.endswith('exec python3 -m vertexkit_program.train "$@"')
    assert spec["args"] == ["--name=two words"]


def test_the_image_of_the_version_serves_the_model_where_there_is_one(
    training: Training, doubles: Doubles, script: Path
) -> None:
    training.run(script, framework_version="2.12", wait=False)
    training.run(script, image="us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-11.py310:latest", wait=False)
    training.run(script, serving_image="gcr.io/mine/server:1", wait=False)
    images = [body["modelToUpload"]["containerSpec"]["imageUri"] for body in doubles.rest.bodies]
    assert [image.rpartition("/")[2] for image in images] == [
        "tf2-cpu.2-12:latest",
        "tf2-cpu.2-11:latest",
        "server:1",
    ]


def test_a_job_without_a_name_is_called_as_its_script_with_the_time(
    training: Training, doubles: Doubles, script: Path
) -> None:
    training.run(script, wait=False)
    training.run(script, name="mine", model="other", wait=False)
    first, second = doubles.rest.bodies
    assert first["displayName"].startswith(f"train-{datetime.now(UTC):%Y%m}")
    assert first["modelToUpload"]["displayName"] == "train"
    assert (second["displayName"], second["modelToUpload"]["displayName"]) == ("mine", "other")


def test_jobs_of_one_session_share_a_package(training: Training, storage: Storage, script: Path) -> None:
    training.run(script, wait=False)
    training.run(script, wait=False)
    assert storage.writes == 1
    storage.objects["my-bucket"].clear()
    training.run(script, wait=False)
    assert storage.writes == 2


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"labels": {"A": "b"}}, "labels['A']"),
        ({"labels": "x"}, "labels"),
        ({"args": "--epochs=1"}, "args"),
        ({"env": {"TF_CONFIG": "{}"}}, "env['TF_CONFIG']"),
        ({"module": "x"}, "module"),
        ({"requirements": ["not a requirement!"]}, "requirements"),
        ({"machine": "n1-standard-5"}, "machine"),
        ({"machine": Machine("n1-standard-2", "NVIDIA_TESLA_T4")}, "accelerator"),
        ({"workers": -1}, "workers"),
        ({"worker_machine": "x"}, "worker_machine"),
        ({"framework": "caffe"}, "framework"),
        ({"framework_version": "9.9"}, "framework_version"),
        ({"framework_version": 2.1}, "framework_version"),  # 2.10, perhaps
        ({"image": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"}, "image"),
        ({"image": IMAGE, "framework_version": "2.17"}, "framework_version"),
        ({"command": ["python"]}, "command"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": timedelta(days=31)}, "timeout"),
        ({"timeout": "1h"}, "timeout"),
        ({"service_account": "me"}, "service_account"),
        ({"tensorboard": "12"}, "service_account"),
        ({"tensorboard": "mine", "service_account": "a@b.c"}, "tensorboard"),
        ({"dataset": "mine"}, "dataset"),
        ({"dataset": "1", "model": False}, "dataset"),
        ({"network": "default"}, "network"),
        ({"model": True}, "model"),
        ({"model": ""}, "model"),
        ({"serving_image": "x y"}, "serving_image"),
        ({"serving_image": "gcr.io/a/b", "model": False}, "serving_image"),
        ({"spot": "yes"}, "spot"),
        ({"restart_on_worker_restart": 1}, "restart_on_worker_restart"),
        ({"base_output_dir": "/tmp/out"}, "base_output_dir"),
        ({"base_output_dir": "gs://no-such-bucket/out"}, "base_output_dir"),
        ({"base_output_dir": "gs://in-europe/out"}, "base_output_dir"),
        ({"program": "nothing.py"}, "program"),
        ({"program": None}, "program"),
        ({"program": None, "image": IMAGE}, "program"),
        ({"program": None, "image": "gcr.io/a/b", "requirements": ["numpy"]}, "requirements"),
        ({"program": "gs://my-bucket/nothing.whl", "module": "m"}, "program"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    asked: dict[str, Any],
    argument: str,
    training: Training,
    doubles: Doubles,
    storage: Storage,
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.objects["in-europe"] = {}
    storage.locations["in-europe"] = "europe-west4"
    monkeypatch.setattr(training_plan, "_exists", lambda _, uri: False)
    with pytest.raises(errors.PreflightFailed) as raised:
        training.run(**{"program": script, **asked}, wait=False)
    assert argument in [found.argument for found in raised.value.findings]
    assert training.check(**{"program": script, **asked}) == list(raised.value.findings)
    assert (doubles.rest.posts, storage.writes, doubles.context.created.names) == ([], 0, ())


@pytest.mark.parametrize("asked", [{"logs": "both"}, {"logs": 1}, {"logs": None}, {"wait": "no"}])
def test_how_to_wait_is_refused_before_anything_is_sent(
    asked: dict[str, Any], training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    with pytest.raises(errors.InvalidArgument, match=f"^{next(iter(asked))}="):
        training.run(script, **asked)
    assert (doubles.rest.asked, storage.writes) == ([], 0)


def test_an_image_that_leaves_the_accelerator_idle_is_warned_of(
    training: Training, doubles: Doubles, script: Path
) -> None:
    machine = Machine("n1-standard-4", "NVIDIA_TESLA_T4")
    (found,) = training.check(script, image=IMAGE, machine=machine)
    assert (found.argument, found.warning) == ("image", True)
    with pytest.warns(PreflightWarning, match="not used"):
        training.run(script, image=IMAGE, machine=machine, wait=False)
    assert doubles.rest.posts == [PIPELINES]


def test_everything_that_is_wrong_is_said_at_once(training: Training, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text("import no_such_module\n")
    with pytest.raises(errors.PreflightFailed) as raised:
        training.run(program, workers=-1, timeout=-1, labels={"A": "b"})
    arguments = {found.argument for found in raised.value.findings}
    assert {"workers", "timeout", "labels['A']"} < arguments
    assert "no_such_module" in str(raised.value)


def test_a_bucket_elsewhere_is_named_with_its_region(
    training: Training, storage: Storage, script: Path
) -> None:
    storage.objects["in-europe"], storage.locations["in-europe"] = {}, "EUROPE-WEST4"
    (found,) = training.check(script, base_output_dir="gs://in-europe/out")
    assert str(found).startswith(
        "base_output_dir='gs://in-europe/out': is in europe-west4, which is not in the region of the service"
    )


def test_a_framework_without_images_is_refused_once(training: Training, script: Path) -> None:
    (found,) = training.check(script, framework="jax")
    assert found.argument == "framework"


def test_a_default_bucket_elsewhere_is_refused(training: Training, storage: Storage, script: Path) -> None:
    storage.locations["my-bucket"] = "europe-west4"
    (found,) = training.check(script)
    assert found.argument == "bucket"
    # Nothing would go there.
    storage.objects["other"], storage.locations["other"] = {}, "us-central1"
    assert training.check(image="gcr.io/a/b", base_output_dir="gs://other/x") == []


def test_nothing_is_found_wrong_with_what_is_right(
    training: Training, doubles: Doubles, script: Path
) -> None:
    assert training.check(script, workers=2, args={"epochs": 1}) == []
    assert training.check("trainer_scripts.mnist_multiworker", workers=1, args={"epochs": 1}) == []
    assert doubles.rest.posts == []


# -- when the service fails -------------------------------------------------------------------


def test_a_job_whose_creation_was_not_answered_is_found_and_not_made_twice(
    training: Training, doubles: Doubles, script: Path
) -> None:
    def lost() -> Any:
        doubles.rest.answers[f"GET {PIPELINES}"] = {"trainingPipelines": [pipeline()]}
        raise requests.ConnectionError("Connection reset by peer")

    doubles.rest.answers[f"POST {PIPELINES}"] = lost
    assert training.run(script, wait=False).resource_name == NAME
    assert doubles.rest.posts == [PIPELINES]
    (run,) = [body["labels"]["vertexkit_run"] for body in doubles.rest.bodies]
    (asked,) = [params for verb, path, params in doubles.rest.asked if (verb, path) == ("GET", PIPELINES)]
    assert asked["filter"] == f'labels.vertexkit_run="{run}"'


def test_a_creation_that_was_not_carried_out_is_tried_again(
    training: Training, doubles: Doubles, script: Path
) -> None:
    doubles.rest.answers[f"GET {PIPELINES}"] = {}
    lost = requests.ConnectionError("Connection reset by peer")
    doubles.rest.answers[f"POST {PIPELINES}"] = in_turn(lost, lost, pipeline())
    assert training.run(script, wait=False).resource_name == NAME
    assert len(doubles.rest.posts) == 3
    assert len({body["labels"]["vertexkit_run"] for body in doubles.rest.bodies}) == 1


def test_a_refused_job_leaves_nothing(
    training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    doubles.rest.answers[f"POST {PIPELINES}"] = 400
    doubles.rest.answers[f"GET {PIPELINES}"] = {}
    with pytest.raises(errors.BadRequest):
        training.run(script)
    assert storage.objects["my-bucket"] == {}
    assert doubles.context.created.names == ()


def test_a_refused_job_leaves_the_package_to_the_job_that_uses_it(
    training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    training.run(script, wait=False)
    doubles.rest.answers[f"POST {PIPELINES}"] = 400
    doubles.rest.answers[f"GET {PIPELINES}"] = {}
    with pytest.raises(errors.BadRequest):
        training.run(script)
    assert len(storage.objects["my-bucket"]) == 1


def test_ctrl_c_while_a_job_is_created_takes_it_away(
    training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    def interrupted() -> Any:
        doubles.rest.answers[f"GET {PIPELINES}"] = {"trainingPipelines": [pipeline()]}
        raise KeyboardInterrupt

    doubles.rest.answers[f"POST {PIPELINES}"] = interrupted
    doubles.rest.answers[f"GET {NAME}"] = in_turn_forever(pipeline(), pipeline("CANCELLED"))
    doubles.rest.answers[f"POST {NAME}:cancel"] = {}
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1", "done": True}
    with pytest.raises(KeyboardInterrupt) as raised:
        training.run(script)
    assert not getattr(raised.value, "__notes__", [])
    asked = [(verb, path) for verb, path, _ in doubles.rest.asked]
    assert ("POST", f"{NAME}:cancel") in asked
    assert ("DELETE", NAME) in asked
    assert storage.objects["my-bucket"] == {}


# -- the job ----------------------------------------------------------------------------------


def job_of(doubles: Doubles, *answers: dict[str, Any]) -> CustomTrainingJob:
    doubles.rest.answers[f"GET {answers[0]['name']}"] = in_turn_forever(*answers)
    return CustomTrainingJob(doubles.context, answers[0])


def test_the_state_is_as_of_now_until_it_has_ended(doubles: Doubles) -> None:
    job = job_of(doubles, pipeline("RUNNING"), pipeline("RUNNING"), pipeline("SUCCEEDED"))
    assert [job.state, job.state, job.state] == ["RUNNING", "RUNNING", "SUCCEEDED"]
    before = len(doubles.rest.asked)
    assert job.state == "SUCCEEDED"
    assert len(doubles.rest.asked) == before


def test_nothing_raises_because_it_is_not_over(doubles: Doubles) -> None:
    job = job_of(doubles, {**pipeline("PENDING"), "trainingTaskMetadata": {}})
    assert (job.model, job.error, job.custom_job, job.start_time, job.end_time) == (None,) * 5
    assert list(job.logs()) == []
    assert "PENDING" in repr(job)
    assert "PENDING" in job._repr_html_()
    assert job.checkpoint_dir == "gs://my-bucket/out/checkpoints"
    assert job.tensorboard_dir == "gs://my-bucket/out/logs"


def test_the_model_is_the_version_that_was_made(doubles: Doubles) -> None:
    model = f"{PARENT}/models/m1"
    made = pipeline("SUCCEEDED", modelToUpload={"displayName": "mnist", "name": model, "versionId": "3"})
    doubles.rest.answers[f"GET {model}@3"] = {"name": model, "versionId": "3", "displayName": "mnist"}
    job = job_of(doubles, made)
    found = job.result()
    assert found is not None
    assert found.versioned_name == f"{model}@3"
    assert f"{model}@3" in job._repr_html_()
    gone = job_of(doubles, made)
    doubles.rest.answers[f"GET {model}@3"] = 404
    assert gone.model is None


def test_a_job_that_wrote_no_model_has_succeeded_and_says_so_once(
    doubles: Doubles, caplog: pytest.LogCaptureFixture
) -> None:
    error = {"code": 5, "message": 'There are no files under "gs://my-bucket/out/model" to copy.'}
    job = job_of(doubles, pipeline("FAILED", error=error))
    with caplog.at_level(logging.WARNING, logger="vertexkit"):
        assert job.result() is None
        assert job.result() is None
    assert (job.state, job.error) == ("SUCCEEDED", None)
    assert "<th>model</th><td>none was written</td>" in job._repr_html_()
    (said,) = caplog.messages
    assert said.startswith(
        "The training succeeded, but wrote no model to AIP_MODEL_DIR (gs://my-bucket/out/model/)"
    )


def test_who_follows_one_replica_is_told_too_that_the_log_cannot_be_read(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        LogLine(datetime(2026, 1, 2, tzinfo=UTC), replica, "INFO", "text")
        for replica in ("workerpool0-0", "workerpool1-0", "vertexkit", "service")
    ]
    monkeypatch.setattr(training_job, "followed", lambda job, *, log_seconds: iter(lines))
    job = job_of(doubles, pipeline())
    followed = [line.replica for line in job.logs("workerpool1-0", follow=True)]
    assert followed == ["workerpool1-0", "vertexkit"]
    assert list(job.logs(follow=True)) == lines
    with pytest.raises(errors.InvalidArgument, match="replica"):
        job.logs("chief", follow=True)


def test_a_job_without_scalars_cannot_be_drawn(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.setattr(CustomTrainingJob, "metrics", lambda _: pandas.DataFrame())
    with pytest.raises(errors.NotFound, match=r"(?s)gs://my-bucket/out/logs.*AIP_TENSORBOARD_LOG_DIR"):
        job_of(doubles, pipeline("SUCCEEDED")).plot()


def test_no_replica_of_that_name_is_refused_before_there_are_any(doubles: Doubles) -> None:
    job = job_of(doubles, {**pipeline("PENDING"), "trainingTaskMetadata": {}})
    with pytest.raises(errors.InvalidArgument, match="replica"):
        job.logs("chief")


def test_a_cancelled_job_raises_that(doubles: Doubles) -> None:
    job = job_of(doubles, pipeline("CANCELLED", error={"code": 1, "message": "CANCELED"}))
    with pytest.raises(errors.Cancelled):
        job.wait()


def test_a_job_that_failed_before_it_had_replicas_says_why(doubles: Doubles) -> None:
    failed = pipeline("FAILED", error={"code": 8, "message": "No quota."}, trainingTaskMetadata={})
    with pytest.raises(errors.TrainingFailed, match="No quota") as raised:
        job_of(doubles, failed).wait()
    assert raised.value.job == NAME


def test_cancelling_what_is_over_is_no_error(doubles: Doubles) -> None:
    doubles.rest.answers[f"POST {NAME}:cancel"] = {}
    job_of(doubles, pipeline()).cancel()
    reply = requests.Response()
    reply.status_code, reply._content = (
        400,
        b'{"error": {"status": "FAILED_PRECONDITION", "message": "over"}}',
    )
    real = doubles.rest.request

    def refusing(verb: str, url: str, **options: Any) -> requests.Response:
        return reply if url.endswith(":cancel") else real(verb, url, **options)

    doubles.clients.http.request.side_effect = refusing  # type: ignore[attr-defined]
    job_of(doubles, pipeline("SUCCEEDED")).cancel()
    with pytest.raises(errors.FailedPrecondition):
        job_of(doubles, pipeline("RUNNING")).cancel()


def test_only_what_is_over_is_deleted_with_the_job_behind_it(doubles: Doubles) -> None:
    with pytest.raises(errors.FailedPrecondition, match="RUNNING"):
        job_of(doubles, pipeline("RUNNING")).delete()
    for name in (NAME, JOB):
        doubles.rest.answers[f"DELETE {name}"] = {"name": "operations/1", "done": True}
    job_of(doubles, pipeline("FAILED")).delete()
    deleted = [path for verb, path, _ in doubles.rest.asked if verb == "DELETE"]
    assert deleted == [NAME, JOB]
    doubles.rest.answers.clear()
    CustomTrainingJob(doubles.context, pipeline("FAILED")).delete()  # gone already


def test_a_deletion_that_fails_is_told(doubles: Doubles) -> None:
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1"}
    failed = {"name": "operations/1", "done": True, "error": {"code": 7, "message": "not allowed"}}
    doubles.rest.answers["GET operations/1"] = in_turn_forever({"name": "operations/1"}, failed)
    with pytest.raises(errors.PermissionDenied, match="not allowed"):
        job_of(doubles, pipeline("FAILED")).delete()


def test_cleaning_up_cancels_deletes_and_removes_what_the_job_left(
    training: Training, doubles: Doubles, storage: Storage, script: Path
) -> None:
    training.run(script, name="mnist", wait=False)
    (body,) = doubles.rest.bodies
    output = body["trainingTaskInputs"]["baseOutputDirectory"]["outputUriPrefix"]
    storage.objects["my-bucket"][f"{output.removeprefix('gs://my-bucket/')}/logs/x"] = b""
    doubles.rest.answers[f"GET {NAME}"] = in_turn_forever(pipeline(), pipeline("CANCELLED"))
    doubles.rest.answers[f"POST {NAME}:cancel"] = {}
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1", "done": True}
    report = doubles.context.created.delete_all()
    assert report.deleted[0] == NAME
    assert output in report.deleted
    assert storage.objects["my-bucket"] == {}


def test_cleaning_up_leaves_where_the_user_wanted_the_output(
    training: Training, doubles: Doubles, script: Path
) -> None:
    training.run(script, base_output_dir="gs://my-bucket/mine", wait=False)
    assert not any("mine" in name for name in doubles.context.created.names)


# -- finding ----------------------------------------------------------------------------------


def test_a_job_is_found_by_every_name(training: Training, doubles: Doubles) -> None:
    doubles.rest.answers.update(
        {
            f"GET {NAME}": pipeline(),
            f"GET {JOB}": custom_job(),
            f"GET {PIPELINES}": {"trainingPipelines": [pipeline()]},
        }
    )
    doubles.rest.answers[f"GET {JOBS}"] = {}
    assert training.get(NAME).resource_name == NAME
    assert training.get(JOB).resource_name == JOB
    assert training.get("7").resource_name == NAME
    assert training.get("8").resource_name == JOB
    assert training.get("mnist").resource_name == NAME


@pytest.mark.parametrize("name", ["", None, 7, f"{PARENT}/models/1", "projects/x"])
def test_what_names_no_job_is_refused(name: Any, training: Training) -> None:
    with pytest.raises(errors.InvalidArgument):
        training.get(name)


def test_a_name_of_several_jobs_lists_them(training: Training, doubles: Doubles) -> None:
    other = {**pipeline(), "name": f"{PIPELINES}/9", "trainingTaskMetadata": {}}
    doubles.rest.answers[f"GET {PIPELINES}"] = {"trainingPipelines": [pipeline(), other]}
    doubles.rest.answers[f"GET {JOBS}"] = {}
    with pytest.raises(errors.InvalidArgument, match="trainingPipelines/9"):
        training.get("mnist")
    doubles.rest.answers[f"GET {PIPELINES}"] = {}
    with pytest.raises(errors.NotFound, match=r"session\.training\.list"):
        training.get("mnist")


def test_the_list_has_both_kinds_and_no_job_twice(training: Training, doubles: Doubles) -> None:
    alone = {**custom_job(), "name": f"{JOBS}/99", "createTime": "2027-01-01T00:00:00Z"}
    doubles.rest.answers[f"GET {PIPELINES}"] = {"trainingPipelines": [pipeline()]}
    trial = {**custom_job(), "name": f"{JOBS}/100"}
    doubles.rest.answers[f"GET {JOBS}"] = {"customJobs": [custom_job(), alone, trial]}
    search = {"name": f"{PARENT}/hyperparameterTuningJobs/1", "trials": [{"customJob": trial["name"]}]}
    doubles.rest.answers[f"GET {PARENT}/hyperparameterTuningJobs"] = {"hyperparameterTuningJobs": [search]}
    assert [job.resource_name for job in training.list()] == [f"{JOBS}/99", NAME]
    assert [job.resource_name for job in training.list(order_by="create_time")] == [NAME, f"{JOBS}/99"]
    with pytest.raises(errors.InvalidArgument, match="order_by"):
        training.list(order_by="colour")


def test_pipelines_without_a_program_are_not_listed(training: Training, doubles: Doubles) -> None:
    folder = "gs://google-cloud-aiplatform/schema/trainingjob/definition"
    automl = {
        **pipeline(),
        "name": f"{PIPELINES}/9",
        "trainingTaskDefinition": f"{folder}/automl_image_classification_1.0.0.yaml",
    }
    ours = {**pipeline(), "trainingTaskDefinition": f"{folder}/custom_task_1.0.0.yaml"}
    doubles.rest.answers[f"GET {PIPELINES}"] = {"trainingPipelines": [ours, automl]}
    doubles.rest.answers[f"GET {JOBS}"] = {}
    assert [job.resource_name for job in training.list()] == [NAME]


@pytest.mark.parametrize("state", ["RUNNING", "JOB_STATE_RUNNING", "PIPELINE_STATE_RUNNING"])
def test_a_state_is_asked_for_in_the_words_of_each_collection(
    state: str, training: Training, doubles: Doubles
) -> None:
    doubles.rest.answers.update({f"GET {PIPELINES}": {}, f"GET {JOBS}": {}})
    training.list(filter=f'state="{state}"')
    assert {path: params["filter"] for _, path, params in doubles.rest.asked} == {
        PIPELINES: 'state="PIPELINE_STATE_RUNNING"',
        JOBS: 'state="JOB_STATE_RUNNING"',
    }
