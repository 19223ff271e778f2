"""Batch prediction jobs: what exactly is sent, what is refused before, and what is read of the results."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import requests
from doubles import LABELS, PARENT, Doubles
from stored import Storage

from vertexkit import (
    batch_about,
    batch_fetch,
    batch_plan,
    errors,
)
from vertexkit._transfer.values import ObjectInfo
from vertexkit.batch import BatchPrediction, BatchPredictionJob, PartialFailureWarning
from vertexkit.batch_files import Origin, Refused
from vertexkit.batch_input import KEY_FIELD, BatchInput, InstanceConfig
from vertexkit.batch_progress import BatchProgress, shown
from vertexkit.batch_source import Understood
from vertexkit.job_state import JobState
from vertexkit.model import Model
from vertexkit.types import Machine, Signature, TensorSpec

pytestmark = pytest.mark.usefixtures("no_waiting")

JOBS = f"{PARENT}/batchPredictionJobs"
NAME = f"{JOBS}/5"
MODEL = f"{PARENT}/models/m"
SEVEN = {"successfulCount": "7"}
CREATED = "2026-01-02T03:04:05Z"
FOLDER = "gs://my-bucket/out/prediction-mnist-2026_01_02T03_04_05_000Z"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
PIXELS = Signature(
    inputs={"x": TensorSpec("x", "float32", (None, 2))}, outputs={"y": TensorSpec("y", "int32", (None,))}
)


@pytest.fixture
def doubles(doubles: Doubles) -> Doubles:
    doubles.rest.answers[f"POST {JOBS}"] = resource()
    return doubles


@pytest.fixture
def batch(doubles: Doubles, storage: Storage) -> BatchPrediction:
    return BatchPrediction(doubles.context)


@pytest.fixture
def model(doubles: Doubles) -> Model:
    data = {
        "name": MODEL,
        "versionId": "3",
        "displayName": "mnist",
        "containerSpec": {"imageUri": IMAGE},
    }
    made = Model(doubles.context, data)
    made.__dict__["signature"] = PIXELS
    return made


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What any source is understood as: instances that vertexkit has sent."""
    undo = MagicMock()
    sent = BatchInput(
        "jsonl",
        ("gs://my-bucket/in/instances-*.jsonl",),
        config=InstanceConfig(key_field=KEY_FIELD),
        count=3,
        sent=("gs://my-bucket/in",),
        _undo=undo,
    )
    understood = Understood((), "jsonl", "images", 3, None, sent, None)
    monkeypatch.setattr(batch_plan, "understand_source", lambda *_, **__: understood)
    return undo


def resource(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "displayName": "images",
        "model": MODEL,
        "modelVersionId": "3",
        "state": f"JOB_STATE_{state}",
        "createTime": CREATED,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://my-bucket/in.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl"},
        **more,
    }


def over(state: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    return resource(state, outputInfo={"gcsOutputDirectory": FOLDER}, **more)


def keyed(count: int) -> dict[str, Any]:
    """What is different of a job whose instances vertexkit has written."""
    return {
        "instanceConfig": {"keyField": KEY_FIELD},
        "labels": {"vertexkit_instances": str(count)},
    }


class Files:
    """Objects in memory, where results and inputs are looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, objects: Mapping[str, str]) -> None:
        self.objects = {uri: text.encode() for uri, text in objects.items()}
        self.fetched: list[str] = []
        self.refused: list[Refused] = []
        monkeypatch.setattr(batch_fetch, "Bucket", lambda _, bucket: Folder(self, bucket))
        monkeypatch.setattr(batch_fetch, "expanded", lambda _, uris: map(self.info, uris))
        monkeypatch.setattr(batch_fetch, "refused", lambda *_: iter(self.refused))

    def info(self, uri: str) -> ObjectInfo:
        name = uri.removeprefix("gs://").partition("/")[2]
        return ObjectInfo(name, len(self.objects[uri]), "", 1, uri, None, None)


class Folder:
    def __init__(self, files: Files, bucket: str) -> None:
        self._files, self._bucket = files, bucket

    def list(self, prefix: str) -> list[ObjectInfo]:
        start = f"gs://{self._bucket}/{prefix}"
        return [self._files.info(uri) for uri in sorted(self._files.objects) if uri.startswith(start)]

    def download_file(self, name: str, path: Path) -> Path:
        uri = f"gs://{self._bucket}/{name}"
        self._files.fetched.append(uri)
        path.write_bytes(self._files.objects[uri])
        return path


def results(*lines: Any) -> str:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)


def test_a_job_is_sent_as_the_api_has_it(
    doubles: Doubles, batch: BatchPrediction, model: Model, source: MagicMock
) -> None:
    model._data = {**model._data, "containerSpec": {"imageUri": IMAGE.replace("cpu", "gpu")}}
    made = batch.run(
        model,
        "in.jsonl",
        name="images",
        machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4"),
        replicas=(2, 5),
        batch_size=32,
        destination="gs://my-bucket/out/",
        output_format="csv",
        parameters={"threshold": np.float32(0.5)},
        labels={"team": "ml"},
        service_account="a@b.example",
        wait=False,
    )
    (body,) = doubles.rest.bodies
    run = body["labels"].pop("vertexkit_run")
    assert run.startswith("r")
    assert body == {
        "displayName": "images",
        "model": f"{MODEL}@3",
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": ["gs://my-bucket/in/instances-*.jsonl"]},
        },
        "instanceConfig": {"keyField": KEY_FIELD},
        "outputConfig": {
            "predictionsFormat": "csv",
            "gcsDestination": {"outputUriPrefix": "gs://my-bucket/out"},
        },
        "dedicatedResources": {
            "machineSpec": {
                "machineType": "n1-standard-4",
                "acceleratorType": "NVIDIA_TESLA_T4",
                "acceleratorCount": 1,
            },
            "startingReplicaCount": 2,
            "maxReplicaCount": 5,
        },
        "manualBatchTuningParameters": {"batchSize": 32},
        "modelParameters": {"threshold": 0.5},
        "serviceAccount": "a@b.example",
        "labels": {**LABELS, "team": "ml", "vertexkit_instances": "3"},
    }
    assert made.resource_name == NAME
    assert doubles.context.created.names == (NAME,)
    source.assert_not_called()


def test_what_is_not_said_is_chosen(
    doubles: Doubles, batch: BatchPrediction, model: Model, source: MagicMock
) -> None:
    model.batch_predict([1], wait=False)
    (body,) = doubles.rest.bodies
    assert body["displayName"].startswith("images-2")
    assert body["dedicatedResources"]["startingReplicaCount"] == 1
    assert body["dedicatedResources"]["machineSpec"] == {"machineType": Machine().type}
    # Of two numbers there go many into a request.
    assert body["manualBatchTuningParameters"] == {"batchSize": 1024}
    output = body["outputConfig"]["gcsDestination"]["outputUriPrefix"]
    assert output.startswith("gs://my-bucket/vertexkit/batch/images-2")
    assert doubles.context.created.names == (NAME, output)


def test_what_is_wrong_is_told_at_once_and_nothing_is_sent(
    doubles: Doubles, batch: BatchPrediction, model: Model, source: MagicMock
) -> None:
    with pytest.raises(errors.PreflightFailed) as refused:
        batch.run(
            model,
            [1],
            name="",
            machine="n1-standard-3",
            replicas=(3, 2),
            batch_size=0,
            destination="bucket/out",
            parameters={"a": float("nan")},
            key_field="",
            included_fields="age",
            labels={"Team": "x"},
            service_account="me",
        )
    assert {found.argument.partition("[")[0].partition(".")[0] for found in refused.value.findings} >= {
        "machine",
        "replicas",
        "batch_size",
        "destination",
        "parameters",
        "key_field",
        "included_fields",
        "labels",
        "service_account",
    }
    with pytest.raises(errors.PreflightFailed, match="BigQuery"):
        batch.run(model, [1], output_format="bigquery")
    with pytest.raises(errors.PreflightFailed, match="in a bucket that does not exist"):
        batch.run(model, [1], destination="gs://other/x")
    with pytest.raises(errors.InvalidArgument, match="logs"):
        batch.run(model, [1], logs="file")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="is no model"):
        batch.run(None, [1])  # type: ignore[arg-type]
    unserved = Model(doubles.context, {"name": MODEL, "versionId": "1"})
    assert any(found.argument == "model" for found in batch.check(unserved, [1]))
    assert doubles.rest.bodies == []
    assert doubles.context.created.names == ()


def test_an_answer_that_was_lost_makes_no_second_job(
    doubles: Doubles, batch: BatchPrediction, model: Model, source: MagicMock
) -> None:
    made: list[dict[str, Any]] = []

    def create() -> Any:
        made.append({"name": NAME})
        raise requests.ConnectionError("gone")

    doubles.rest.answers[f"POST {JOBS}"] = create
    doubles.rest.answers[f"GET {JOBS}"] = lambda: {"batchPredictionJobs": [resource()]} if made else {}
    assert model.batch_predict([1], wait=False).resource_name == NAME
    assert len(made) == 1
    source.assert_not_called()


def test_a_job_that_is_refused_leaves_no_instances(
    doubles: Doubles, batch: BatchPrediction, model: Model, source: MagicMock
) -> None:
    doubles.rest.answers[f"POST {JOBS}"] = 400
    doubles.rest.answers[f"GET {JOBS}"] = {}
    with pytest.raises(errors.BadRequest):
        model.batch_predict([1])
    source.assert_called_once_with()
    assert doubles.context.created.names == ()


def test_waiting_ends_well_with_a_warning_or_with_an_error(doubles: Doubles) -> None:
    def waited(state: str, **more: Any) -> BatchPredictionJob:
        doubles.rest.answers[f"GET {NAME}"] = resource(state, **more)
        return BatchPredictionJob(doubles.context, resource()).wait()

    stats = {"successfulCount": "5"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert waited("SUCCEEDED", completionStats=stats).state == "SUCCEEDED"
    failures = [{"code": 3, "message": f"reason {number}"} for number in range(5)]
    more = {"completionStats": {**stats, "failedCount": "2"}, "partialFailures": failures}
    with pytest.warns(PartialFailureWarning) as caught:
        waited("SUCCEEDED", **more)
    (warning,) = caught
    assert warning.filename == __file__
    assert "2 of 7 instances have no prediction" in str(warning.message)
    assert "reason 2\n  - and 2 more" in str(warning.message)
    # What vertexkit has not sent has no prediction either.
    with pytest.warns(PartialFailureWarning, match="1 of 6 instances"):
        waited("SUCCEEDED", completionStats=stats, labels={"vertexkit_instances": "6"})
    with pytest.raises(errors.BatchPredictionFailed, match=r"no space(.|\n)*reason 0") as failed:
        waited("FAILED", error={"code": 8, "message": "no space"}, partialFailures=failures)
    assert failed.value.job == NAME
    # Of a file that vertexkit has written, no line is named, and nothing is told twice.
    place = "gs://my-bucket/in.jsonl, line 1: "
    more = {
        "error": {"message": f"All instances failed. The first: {place}it is negative"},
        "partialFailures": [{"message": f"{place}it is negative"}],
        "labels": {"vertexkit_instances": "2"},
    }
    with pytest.raises(errors.BatchPredictionFailed) as failed:
        waited("FAILED", **more)
    said = f"{NAME}: the batch prediction failed: All instances failed. The first: it is negative"
    assert str(failed.value) == said
    with pytest.raises(errors.Cancelled):
        waited("CANCELLED")
    doubles.rest.answers[f"GET {NAME}"] = resource()
    with pytest.raises(errors.DeadlineExceeded, match=r"session\.batch\.get"):
        BatchPredictionJob(doubles.context, resource()).wait(0.001)


@pytest.mark.parametrize(
    ("data", "progress"),
    [
        (resource("PENDING"), BatchProgress(0, 0, None)),
        (
            resource(completionStats={**SEVEN, "incompleteCount": "-1"}),
            BatchProgress(7, 0, None),
        ),
        (resource(completionStats={"failedCount": "7", "incompleteCount": "3"}), BatchProgress(0, 7, 10)),
        (resource(completionStats=SEVEN), BatchProgress(7, 0, None)),
        (resource(labels={"vertexkit_instances": "9"}), BatchProgress(0, 0, 9)),
        (resource("SUCCEEDED", completionStats=SEVEN), BatchProgress(7, 0, 7)),
        (
            resource("SUCCEEDED", completionStats=SEVEN, labels={"vertexkit_instances": "9"}),
            BatchProgress(7, 2, 9),
        ),
    ],
)
def test_progress_is_what_is_known(doubles: Doubles, data: dict[str, Any], progress: BatchProgress) -> None:
    made = BatchPredictionJob(doubles.context, data)
    assert made.progress_as_read == progress
    assert str(progress) in repr(made)


def test_results_of_written_instances_come_in_order(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, said = "gs://my-bucket/in.jsonl", "the model knows gs://b/a.csv, line 7: of shape [1]"
    files = Files(
        monkeypatch,
        {
            f"{FOLDER}/prediction.results-00000-of-00002": results(
                {"key": "3", "prediction": 30}, {"key": "0", "prediction": 0}
            ),
            f"{FOLDER}/prediction.results-00001-of-00002": results({"key": "1", "prediction": 10}),
            f"{FOLDER}/prediction.errors_stats-00000-of-00001": results(
                {"key": "2", "error": {"code": 3, "message": f"{own}, line 2: {said}"}}
            ),
            "gs://my-bucket/in.jsonl": "".join(
                f'{{"{KEY_FIELD}":"{number}","x":[{number}]}}\n' for number in (0, 1, 2, 3)
            ),
        },
    )
    files.refused = [Refused(4, "[4", "is no JSON")]
    made = BatchPredictionJob(doubles.context, over(**keyed(6)))
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: PIXELS))
    rows = list(made.rows())
    assert [(row.instance, row.prediction) for row in rows] == [
        ({"x": [0]}, 0),
        ({"x": [1]}, 10),
        ({"x": [2]}, None),
        ({"x": [3]}, 30),
        ("[4", None),
        (None, None),
    ]
    assert [(one.index, one.reason) for one in made.failures] == [
        (2, said),
        (4, "is no JSON"),
        (5, "the job has written nothing of it"),
    ]
    with pytest.raises(errors.BatchPredictionFailed, match="3 of 6 instances") as failed:
        made.to_numpy()
    assert failed.value.failures[2] == said
    dropped = made.to_numpy(on_failure="drop")
    assert (dropped.dtype, dropped.tolist()) == (np.int32, [0, 10, 30])
    np.testing.assert_array_equal(made.to_numpy(on_failure="nan"), [0, 10, np.nan, 30, np.nan, np.nan])
    frame = made.to_frame()
    assert list(frame.columns) == ["x", "instance", "prediction", "error"]
    assert frame["error"].notna().tolist() == [False, False, True, False, True, True]
    assert frame["error"][2] == said
    assert frame["instance"][4] == "[4"
    with pytest.raises(errors.InvalidArgument, match="on_failure"):
        made.to_numpy(on_failure="skip")  # type: ignore[arg-type]
    # The results once; the input as often as rows need it.
    assert sum(uri.startswith(FOLDER) for uri in files.fetched) == 3


def test_failures_and_files_are_named_as_where_they_came_from(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = "gs://my-bucket/in/instances-000000.csv"
    where = [Origin(0, "a.csv", 2), Origin(2, "a.csv", 5), Origin(3, "b.csv", 2)]
    monkeypatch.setattr(batch_about, "origins", lambda _, uris: iter(where) if staged in uris else iter(()))
    wrong = [
        {
            "instance": [number, 0.0],
            "error": {"code": 3, "message": f"{staged}, line {number + 1:.0f}: is odd"},
        }
        for number in (1.0, 2.0, 3.0)
    ]
    rest = [{"instance": [0.0, 0.0], "prediction": 1}]
    source = {"instancesFormat": "csv", "gcsSource": {"uris": [staged]}}
    Files(
        monkeypatch,
        {
            f"{FOLDER}/prediction.results-0": results(*rest),
            f"{FOLDER}/prediction.errors_stats-0": results(*wrong),
            staged: "p,q\n0,0\n1,0\n2,0\n3,0\n",
        },
    )
    labels = {"vertexkit_instances": "4"}
    made = BatchPredictionJob(doubles.context, over(inputConfig=source, labels=labels))
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    told = ["a.csv, line 3: is odd", "a.csv, line 5: is odd", "b.csv, line 2: is odd"]
    assert [one.reason for one in made.failures] == told
    assert [row.error for row in made.rows()] == [None, *told]
    assert made.to_frame()["error"][1:].tolist() == told
    with pytest.raises(errors.BatchPredictionFailed, match=r"b\.csv, line 2: is odd"):
        made.to_numpy()


def test_a_file_that_was_sent_is_named_as_the_user_has_it(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, sent = "gs://my-bucket/in/instances-000000.txt", "gs://my-bucket/in/files"
    where = [Origin(0, "f/3.png"), Origin(1, "f/1.png")]
    monkeypatch.setattr(batch_about, "origins", lambda *_: iter(where))
    names = [f"{sent}/000000-3.png", f"{sent}/000001-1.png"]
    error = {"instance": names[1], "error": {"code": 3, "message": "is no image"}}
    Files(
        monkeypatch,
        {
            f"{FOLDER}/prediction.results-0": results({"instance": names[0], "prediction": 7}),
            f"{FOLDER}/prediction.errors_stats-0": results(error),
            listed: "".join(f"{name}\n" for name in names),
        },
    )
    source = {"instancesFormat": "file-list", "gcsSource": {"uris": [listed]}}
    made = BatchPredictionJob(doubles.context, over(inputConfig=source, labels={"vertexkit_instances": "2"}))
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    assert [row.instance for row in made.rows()] == ["f/3.png", "f/1.png"]
    assert made.to_frame()["instance"].tolist() == ["f/3.png", "f/1.png"]
    (failure,) = made.failures
    assert (failure.instance, failure.reason) == ("f/1.png", "f/1.png: is no image")


@pytest.mark.parametrize(
    ("uri", "message", "told"),
    [
        ("gs://b/my in/instances-*.jsonl", "gs://b/my in/instances-000012.jsonl, line 3: is odd", "is odd"),
        ("gs://b/in/instances-000000.tfrecord", "gs://b/in/instances-000000.tfrecord, record 3: x", "x"),
        ("gs://b/in/instances-*.csv", "read gs://b/c.csv, line 3: x", "read gs://b/c.csv, line 3: x"),
    ],
)
def test_of_places_only_those_that_were_written_are_left_out(
    doubles: Doubles, uri: str, message: str, told: str
) -> None:
    data = {
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [uri]}},
        "error": {"code": 3, "message": f"All failed. The first: {message}"},
        "partialFailures": [{"code": 3, "message": message}] * 2,
    }
    made = BatchPredictionJob(doubles.context, over("FAILED", **data, labels={"vertexkit_instances": "4"}))
    assert (made.error, made.partial_failures) == (f"All failed. The first: {told}", (told,))
    made = BatchPredictionJob(doubles.context, over("FAILED", **data))
    assert made.partial_failures == (message, message)


def test_keys_that_are_shared_are_warned_of_at_the_first_look(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    Files(
        monkeypatch,
        {
            f"{FOLDER}/prediction.results-0": results(
                *({"key": key, "prediction": number} for number, key in enumerate("aab"))
            ),
            "gs://my-bucket/in.jsonl": '{"id":"a","x":1}\n{"id":"a","x":2}\n{"id":"b","x":3}\n',
        },
    )
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    made = BatchPredictionJob(doubles.context, over(instanceConfig={"keyField": "id"}))
    with pytest.warns(PartialFailureWarning, match="2 of 3 have no prediction") as caught:
        assert made.to_numpy(on_failure="drop").tolist() == [2]
    assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(made.failures) == 2


def test_the_input_is_not_read_for_an_array(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = results(*({"key": str(number), "prediction": [number]} for number in range(10_000)))
    files = Files(monkeypatch, {f"{FOLDER}/prediction.results-00000-of-00001": lines})
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    made = BatchPredictionJob(doubles.context, over(**keyed(10_000)))
    np.testing.assert_array_equal(made.to_numpy(), np.arange(10_000.0)[:, None])
    assert files.fetched == [f"{FOLDER}/prediction.results-00000-of-00001"]


def test_the_model_is_asked_once_what_it_gives(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    Files(monkeypatch, {f"{FOLDER}/prediction.results-0": results({"key": "0", "prediction": 2})})
    doubles.rest.answers[f"GET {MODEL}@3"] = {"name": MODEL}
    made = BatchPredictionJob(doubles.context, over(**keyed(1)))
    assert [made.to_numpy().tolist() for _ in range(3)] == [[2]] * 3
    assert doubles.rest.asked == [("GET", f"{MODEL}@3", {})]


def test_several_outputs_and_texts_have_gaps_too(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"key": "0", "prediction": {"p": 0.5, "name": "cat"}}]
    Files(monkeypatch, {f"{FOLDER}/prediction.results-00000-of-00001": results(*lines)})
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    made = BatchPredictionJob(doubles.context, over(**keyed(2)))
    filled = made.to_numpy(on_failure="nan")
    assert filled["name"].tolist() == ["cat", None]
    np.testing.assert_array_equal(filled["p"], [0.5, np.nan])


def test_results_as_csv_are_read_by_key_by_row_and_by_json(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    name = f"{FOLDER}/prediction.results-00000-of-00001.csv"
    table = 'a,b\n1,"x"\n2,"y"\n'

    def read(text: str, kind: str, source: str, **more: Any) -> Any:
        Files(monkeypatch, {name: text, "gs://my-bucket/in.jsonl": source})
        data = over(**more)
        data["inputConfig"] = replace_format(data["inputConfig"], kind)
        return BatchPredictionJob(doubles.context, data).to_numpy()

    assert read('key,prediction\n"1","[3, 4]"\n"0","[1, 2]"\n', "jsonl", "", **keyed(2)).tolist() == [
        [1, 2],
        [3, 4],
    ]
    assert read('a,b,prediction\n2.0,"y",7\n1,"x",6\n', "csv", table).tolist() == [6, 7]
    found = read('a,b,p,q\n2.0,"y",7,"u"\n1,"x",6,"v"\n', "csv", table)
    assert (found["p"].tolist(), found["q"].tolist()) == ([6, 7], ["v", "u"])
    assert read('instance,prediction\n"[2,1]",7\n"[1.0]",6\n', "jsonl", "[1]\n[2, 1]\n").tolist() == [6, 7]
    for first in ("key", "instance"):
        changed = table.replace("a", first)
        assert read(f'"{first}","b",prediction\n2,"y",7\n1,"x",6\n', "csv", changed).tolist() == [6, 7]
    by_key = {"instanceConfig": {"keyField": "b"}}
    assert read('"key",prediction\n"y",7\n"x",6\n', "csv", table, **by_key).tolist() == [6, 7]
    assert read('"instance",prediction\n"[2,""y""]",7\n"[1,""x""]",6\n', "csv", table).tolist() == [6, 7]
    with pytest.raises(errors.BatchPredictionFailed, match="does not begin with the columns of the input"):
        read("b,a,prediction\n1,2,3\n", "csv", table)
    assert read("", "jsonl", "", **keyed(0)).tolist() == []
    for broken in ('key,prediction\n"0",1"\n', 'key,prediction\n"0","1\n', "key,prediction\n0,\udcff\n"):
        files = Files(monkeypatch, {})
        files.objects[name] = broken.encode(errors="surrogateescape")
        with pytest.raises(errors.BatchPredictionFailed, match=r"results-00000-of-00001\.csv is no CSV: "):
            BatchPredictionJob(doubles.context, over(**keyed(1))).to_numpy()


def test_cells_of_results_have_the_values_that_their_json_would_have(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    cells = [
        "NaN",
        '"[NaN, 1]"',
        "true",
        "",
        '""',
        "1e3",
        '"1"',
        "9007199254740993",
        r'"[""\ud800""]"',
        '"[]["',
    ]
    written = "".join(f'"{index}",{cell}\n' for index, cell in enumerate(cells))
    Files(monkeypatch, {f"{FOLDER}/prediction.results-00000-of-00001.csv": f"key,prediction\n{written}"})
    data = over(**keyed(len(cells)), outputConfig={"predictionsFormat": "csv"})
    read = [row.prediction for row in BatchPredictionJob(doubles.context, data).rows(in_order=False)]
    assert math.isnan(read[0])
    assert math.isnan(read[1][0])
    assert read[2:] == [True, None, "", 1000.0, "1", 2**53 + 1, ["\ud800"], "[]["]


@pytest.mark.parametrize(
    "first", ["", "\n", 'a,b"c\n1,2\n', "a,\udcff\n1,2\n", "a,a\n1,2\n", "other,a\n1,2\n"]
)
def test_columns_of_results_are_those_of_an_input_that_was_read(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    uris = [f"gs://my-bucket/{name}.csv" for name in ("first", "second")]
    results = '"1","b","prediction"\n"y",2,7\n"x",1,6\n'
    files = Files(
        monkeypatch,
        {f"{FOLDER}/prediction.results-00000-of-00001.csv": results, uris[1]: '1,b\n"x",1\n"y",2\n'},
    )
    files.objects[uris[0]] = first.encode(errors="surrogateescape")
    data = over(outputConfig={"predictionsFormat": "csv"})
    data["inputConfig"] = {"instancesFormat": "csv", "gcsSource": {"uris": uris}}
    rows = list(BatchPredictionJob(doubles.context, data).rows())
    assert [row.prediction for row in rows if row.error is None] == [6, 7]
    assert [row.instance for row in rows][-2:] == [{"1": "x", "b": 1}, {"1": "y", "b": 2}]


def test_outputs_that_are_called_like_a_column_are_told_from_it(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TensorSpec("", "int32", (None,))
    outputs = {"a": spec, "prediction_b": spec}
    table = {"gs://my-bucket/in.jsonl": "a,b\n1,5\n2,5\n"}
    results = f"{FOLDER}/prediction.results-00000-of-00001.csv"
    data = over(outputConfig={"predictionsFormat": "csv"})
    data["inputConfig"] = replace_format(data["inputConfig"], "csv")
    Files(monkeypatch, {**table, results: "a,b,prediction_a,prediction_b\n2,5,7,8\n1,5,6,9\n"})
    monkeypatch.setattr(
        BatchPredictionJob, "_signature", property(lambda _: Signature(PIXELS.inputs, outputs))
    )
    read = BatchPredictionJob(doubles.context, data).to_numpy()
    assert {name: values.tolist() for name, values in read.items()} == {"a": [6, 7], "prediction_b": [9, 8]}
    table = {name: text.replace("a", "prediction") for name, text in table.items()}
    Files(monkeypatch, {**table, results: "prediction,b,prediction_prediction\n2,5,7\n1,5,6\n"})
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: PIXELS))
    assert BatchPredictionJob(doubles.context, data).to_numpy().tolist() == [6, 7]


def test_texts_that_look_like_json_stay_texts(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    table = 'key,prediction\n"0","[1]"\n"1","{}"\n'
    Files(monkeypatch, {f"{FOLDER}/prediction.results-00000-of-00001.csv": table})
    texts = Signature(inputs=PIXELS.inputs, outputs={"y": TensorSpec("y", "string", (None,))})
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: texts))
    data = over(**keyed(2), outputConfig={"predictionsFormat": "csv"})
    assert BatchPredictionJob(doubles.context, data).to_numpy().tolist() == ["[1]", "{}"]


def replace_format(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {**config, "instancesFormat": kind}


def test_what_is_not_there_is_said(doubles: Doubles, monkeypatch: pytest.MonkeyPatch) -> None:
    doubles.rest.answers[f"GET {NAME}"] = resource()
    with pytest.raises(errors.FailedPrecondition, match=r"RUNNING\n  Remedy: wait\(\)"):
        BatchPredictionJob(doubles.context, resource()).to_numpy()
    Files(monkeypatch, {f"{FOLDER}/prediction.results-0": results({"key": "0", "prediction": 2})})
    partly = over(**keyed(3), completionStats={"successfulCount": "3"})
    with pytest.raises(errors.NotFound, match="2 of 3 results are not there any more"):
        BatchPredictionJob(doubles.context, partly).to_numpy()
    with pytest.raises(errors.FailedPrecondition, match="CANCELLED and has written no results"):
        BatchPredictionJob(doubles.context, resource("CANCELLED")).rows()
    table = {"bigqueryOutputDataset": "bq://p.d", "bigqueryOutputTable": "predictions_1"}
    with pytest.raises(errors.FailedPrecondition, match=r"bq://p\.d\.predictions_1"):
        _ = BatchPredictionJob(doubles.context, resource("SUCCEEDED", outputInfo=table)).failures
    Files(monkeypatch, {f"{FOLDER}/prediction.results-0": results({"instance": [1], "prediction": 2})})
    data = over()
    data["inputConfig"] = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}}
    made = BatchPredictionJob(doubles.context, data)
    with pytest.raises(errors.FailedPrecondition, match=r"no order(.|\n)*in_order=False"):
        made.rows()
    assert [(row.index, row.instance, row.prediction) for row in made.rows(in_order=False)] == [(-1, [1], 2)]


def test_a_job_that_was_cancelled_gives_what_it_has_written(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = results({"key": "1", "prediction": 10})
    Files(monkeypatch, {f"{FOLDER}/prediction.results-00000-of-00001": lines})
    monkeypatch.setattr(BatchPredictionJob, "_signature", property(lambda _: None))
    made = BatchPredictionJob(doubles.context, over("CANCELLED", **keyed(3)))
    assert made.to_numpy(on_failure="drop").tolist() == [10]
    with pytest.raises(errors.BatchPredictionFailed, match="the job ended as CANCELLED before it"):
        made.to_numpy()


def test_a_notebook_shows_what_is_known_of_it(doubles: Doubles) -> None:
    failures = [{"message": "<b>bad</b>"}]
    data = over(completionStats={"successfulCount": "7", "failedCount": "1"}, partialFailures=failures)
    page = BatchPredictionJob(doubles.context, data)._repr_html_()
    for part in ("8 of 8 instances, 1 failed", FOLDER, f"{MODEL}@3", "&lt;b&gt;bad", "in.jsonl (jsonl)"):
        assert part in page
    assert doubles.rest.asked == []


def test_a_log_of_the_wait_says_how_many_are_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Going:
        description = "Batch prediction images"
        progress_as_read = BatchProgress(0, 0, None)

    going = Going()
    with shown(going, True) as show:
        show(JobState.PENDING)
        for done in (5, 9):
            going.progress_as_read = BatchProgress(done - 1, 1, 9)
            show(JobState.RUNNING)
        show(JobState.SUCCEEDED)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Batch prediction images ..."
    said = "Batch prediction images: succeeded: 9/9 instances, 1 failed, done in"
    assert lines[-1].startswith(said)
    with shown(going, False) as show:
        show(JobState.RUNNING)
    assert capsys.readouterr().err == ""


def test_the_whole_of_it_is_there_again_for_a_second_look(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator that is left halfway leaves no file behind, and does not spoil the next."""
    source = "".join(f"[{number}]\n" for number in range(50))
    lines = results(*({"instance": [number], "prediction": number} for number in reversed(range(50))))
    Files(monkeypatch, {f"{FOLDER}/prediction.results-0": lines, "gs://my-bucket/in.jsonl": source})
    made = BatchPredictionJob(doubles.context, over())
    rows: Iterator[Any] = made.rows()
    assert next(rows).prediction == 0
    del rows
    assert [row.prediction for row in made.rows()] == list(range(50))


def test_one_can_be_deleted_and_stopped(doubles: Doubles) -> None:
    made = BatchPredictionJob(doubles.context, over())
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1", "done": True}
    made.delete()
    doubles.rest.answers.pop(f"DELETE {NAME}")
    made.delete()
    with pytest.raises(errors.FailedPrecondition):
        doubles.rest.answers[f"GET {NAME}"] = resource()
        BatchPredictionJob(doubles.context, resource()).delete()
    assert replace(BatchProgress(1, 1, 3)).done == 2
