"""What a type checker sees of vertexkit's public face; checked by `make types`, never run."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np

import vertexkit as vk


def whole_life(images: np.ndarray[Any, Any]) -> None:
    with vk.connect("my-project", "us-central1", "my-bucket", temporary=True) as session:
        assert_type(session, vk.Session)
        assert_type(session.project, str)
        assert_type(session.bucket, vk.Bucket)
        assert_type(session.bucket.upload_file("file"), str)

        model = session.models.upload("mnist", "my_mnist_model/0001")
        assert_type(model, vk.Model)
        assert_type(model.signature, vk.Signature | None)
        assert_type(model.versions(), list[vk.ModelVersion])

        endpoint = session.endpoints.create("mnist", exist_ok=True)
        assert_type(endpoint, vk.Endpoint)
        assert_type(endpoint.deploy(model, machine=vk.Machine("n1-standard-4")), vk.DeployedModel)
        assert_type(endpoint.deploy(model, wait=False), vk.Operation[vk.DeployedModel])
        assert_type(endpoint.canary(model, 10), vk.DeployedModel)
        assert_type(endpoint.promote(), vk.TrafficSplit)
        assert_type(endpoint.rollback(), vk.TrafficSplit)
        assert_type(endpoint.traffic["1"], int)

        endpoint.predict(images).argmax(axis=1)  # of one output, without asking for its type
        endpoint.predict(images)["probabilities"].argmax(axis=1)  # of several
        assert_type(endpoint.predict(images, return_response=True), vk.PredictResponse)
        answered = endpoint.predict(images, return_response=True)
        assert_type(answered.model_version_ids, tuple[str, ...])

        assert_type(session.check("my_mnist_model/0001", machine="n1-standard-4"), list[vk.Finding])
        assert_type(session.cleanup(), vk.CleanupReport)
    with session.endpoints.create("mnist") as entered:
        assert_type(entered, vk.Endpoint)


def training(session: vk.Session) -> None:
    job = session.training.run(
        "train.py", workers=2, args={"epochs": 10}, machine=vk.Machine("n1-standard-8")
    )
    assert_type(job, vk.CustomTrainingJob)
    assert_type(job.model, vk.Model | None)
    assert_type(job.result(), vk.Model | None)
    assert_type(job.state, vk.JobState)
    assert_type(job.state == "RUNNING", bool)
    assert_type(next(job.logs("workerpool0-0", follow=True)), vk.LogLine)
    assert_type(job.checkpoints(), list[vk.Checkpoint])
    assert_type(job.wait(60, logs=True), vk.CustomTrainingJob)
    assert_type(session.training.check("train.py", args=["--epochs", "3"]), list[vk.Finding])
    assert_type(session.training.get("mnist"), vk.CustomTrainingJob)
    with job.tensorboard() as board:
        assert_type(board, vk.TensorBoard)
    session.training.run("train.py", model=False)
    session.training.run("train.py", model=True)  # type: ignore[arg-type]  # its display name, or False
    session.training.run("train.py", workers="2")  # type: ignore[arg-type]  # not a number
    session.training.run("train.py", wokers=2)  # type: ignore[call-arg]  # there is none


def tuning(session: vk.Session) -> None:
    space: dict[str, vk.Double | vk.Integer | vk.Categorical | vk.Discrete] = {"n": vk.Integer(1, 10)}
    job = session.tuning.run(
        "trial.py",
        metric="accuracy",
        space={
            "learning_rate": vk.Double(1e-3, 10, scale="log"),
            "batch_size": vk.Discrete([16, 32]),
            "optimizer": vk.Categorical(["sgd"], children={"sgd": {"momentum": vk.Double(0, 1)}}),
            "n_hidden": vk.Integer(1, 3, children={range(2, 4): {"dropout": vk.Double(0, 1)}}),
        },
        trials=10,
        parallel=2,
        early_stopping=vk.MedianStopping(),
    )
    assert_type(job, vk.HyperparameterTuningJob)
    assert_type(job.best, vk.Trial | None)
    assert_type(job.trials, vk.Trials)
    assert_type(job.trials[0], vk.Trial)
    assert_type(job.trials[:2], vk.Trials)
    assert_type(job.trials[0].parameters["n"], float | int | str)
    assert_type(job.trials[0].state, vk.TrialState)
    assert_type(job.trials[0].model("mnist"), vk.Model)
    assert_type(job.optimal, vk.Trials)
    assert_type(job.result(60), vk.Trial | None)
    assert_type(next(job.logs(1)), vk.LogLine)
    assert_type(session.tuning.get("mnist"), vk.HyperparameterTuningJob)
    assert_type(
        session.tuning.check("trial.py", metric={"loss": "minimize"}, space=space, trials=2), list[vk.Finding]
    )
    vk.Double(1, 10, scale="ln")  # type: ignore[arg-type]  # no scale
    vk.Integer(1.5, 2)  # type: ignore[arg-type]  # not whole
    vk.Categorical([1, 2])  # type: ignore[list-item]  # no texts
    session.tuning.run("trial.py", metric="loss", space=space)  # type: ignore[call-arg]  # how many trials?
    session.tuning.run("trial.py", metric="loss", space=space, trials=2, algorithm="bayes")  # type: ignore[arg-type]


def batch_prediction(session: vk.Session, model: vk.Model, images: np.ndarray[Any, Any]) -> None:
    job = model.batch_predict(images, replicas=(1, 4), machine=vk.Machine("n1-standard-4"))
    assert_type(job, vk.BatchPredictionJob)
    assert_type(job.progress, vk.BatchProgress)
    assert_type(job.progress.total, int | None)
    assert_type(job.failures, list[vk.BatchFailure])
    assert_type(next(job.rows()), vk.BatchRow)
    assert_type(next(job.rows()).error, str | None)
    assert_type(next(job.logs(follow=True)), vk.LogLine)
    assert_type(job.wait(60), vk.BatchPredictionJob)
    assert_type(job.output_uri, str | None)
    job.to_numpy(on_failure="nan").argmax(axis=1)
    job.result(60)["probabilities"].argmax(axis=1)
    for version in model.versions():
        assert_type(version.batch_predict("images/*.jsonl", format="jsonl"), vk.BatchPredictionJob)
    assert_type(session.batch.run("mnist", iter(images), wait=False), vk.BatchPredictionJob)
    assert_type(session.batch.check(model, "bq://p.d.t", output_format="csv"), list[vk.Finding])
    assert_type(session.batch.get("images"), vk.BatchPredictionJob)
    model.batch_predict(images, output_format="xml")  # type: ignore[arg-type]  # no format
    model.batch_predict(images, on_failure="nan")  # type: ignore[call-arg]  # of to_numpy()
    job.to_numpy(on_failure="skip")  # type: ignore[arg-type]  # nothing to do


def mistakes_are_found(session: vk.Session, endpoint: vk.Endpoint) -> None:
    session.models.upload("mnist")  # type: ignore[call-arg]  # there is no artifact
    endpoint.deploy(7)  # type: ignore[call-overload]  # not a model
    endpoint.canary("1", percent="10")  # type: ignore[arg-type]  # not a number
    endpoint.promote().shares = {}  # type: ignore[attr-defined]  # a split cannot be changed
    vk.Machine("n1-standard-4").type = "n1-standard-8"  # type: ignore[misc]  # nor can a machine
    vk.Machine(accelerator=1)  # type: ignore[arg-type]  # not a name


def errors_form_one_tree(error: vk.VertexkitError) -> None:
    assert_type(error.remedy, str | None)
    if isinstance(error, vk.PreflightFailed):
        assert_type(error.findings, tuple[vk.Finding, ...])
    if isinstance(error, vk.TransferFailed):
        assert_type(error.failures, dict[str, str])
    if isinstance(error, vk.BatchPredictionFailed):
        assert_type(error.failures, dict[int, str])
    if isinstance(error, vk.TuningFailed):
        assert_type(error.failures, dict[str, str])
    if isinstance(error, vk.TrainingFailed):
        assert_type(error.exit_code, int | None)
        assert_type(error.last_lines, tuple[str, ...])
