"""Batch prediction through vertexkit, against a real local Vertex AI."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tf_records import record

import vertexkit as vk


@pytest.fixture
def model(session: vk.Session, scaling_models: Mapping[int, Path]) -> vk.Model:
    """``x: float32[?, 3] -> scaled: float32[?, 3]``, twice as much."""
    return session.models.upload("times-2", scaling_models[2])


@pytest.fixture
def measuring(session: vk.Session, measuring_model: Path) -> vk.Model:
    return session.models.upload("measuring", measuring_model)


def array(count: int = 500) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(7).normal(size=(count, 3)).astype(np.float32)
    # The same instance several times, near and far.
    values[count // 2] = values[-1] = values[0]
    return values


def written(values: np.ndarray[Any, Any]) -> str:
    """A table of three columns."""
    return "a,b,c\n" + "".join(f"{a!r},{b!r},{c!r}\n" for a, b, c in values.tolist())


def stacked(column: Any) -> np.ndarray[Any, Any]:
    return np.stack(list(column))


def test_arrays_go_in_and_come_out_in_order(session: vk.Session, model: vk.Model, emulator: Any) -> None:
    values = array()
    job = model.batch_predict(
        values,
        name="doubled",
        replicas=(2, 3),
        batch_size=16,
        parameters={"threshold": np.float32(0.5)},
        labels={"purpose": "test"},
        service_account="someone@example.com",
    )
    assert job.state == "SUCCEEDED"
    np.testing.assert_array_equal(job.to_numpy(), values * 2)
    assert job.to_numpy().dtype == np.float32
    assert job.progress == vk.BatchProgress(500, 0, 500)
    assert (job.input_format, job.output_format, job.model_name) == ("jsonl", "jsonl", model.versioned_name)
    assert job.labels["purpose"] == "test"
    assert job.failures == []
    rows = list(job.rows())
    assert [row.index for row in rows] == list(range(500))
    given = np.asarray([row.instance["x"] for row in rows], np.float32)
    np.testing.assert_array_equal(given, values)
    assert rows[3].prediction == pytest.approx((values[3] * 2).tolist())
    assert job.output_uri is not None
    assert job.output_uri.startswith(f"gs://{session.bucket.name}/vertexkit/batch/doubled/")
    assert any("is served by 2 replicas" in line.text for line in job.logs())
    assert "500 of 500 instances" in job._repr_html_()

    with vk.connect(session.project, emulator=emulator.rest) as elsewhere:
        for name in (job.resource_name, job.id, "doubled"):
            found = elsewhere.batch.get(name)
            np.testing.assert_array_equal(found.to_numpy(), values * 2)
            assert found == job
        assert list(elsewhere.batch.get(job.id).wait().rows()) == rows
        assert [one.id for one in elsewhere.batch.list(filter='state="SUCCEEDED"')] == [job.id]
        assert elsewhere.batch.list(filter='state="FAILED"') == []

    job.delete()
    job.delete()
    with pytest.raises(vk.NotFound, match="batch"):
        session.batch.get("doubled")


def test_frames_mappings_lists_and_iterables_are_instances_too(session: vk.Session, model: vk.Model) -> None:
    import pandas as pd

    values = array(40)
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    for source in (
        frame,
        {"x": values},
        values.tolist(),
        [{"x": row} for row in values.tolist()],
        iter(values),
    ):
        job = session.batch.run(model, source)
        np.testing.assert_array_equal(job.to_numpy(), values * 2)
    side_by_side = job.to_frame()
    assert list(side_by_side.columns) == ["x", "prediction"]
    assert len(side_by_side) == 40
    np.testing.assert_array_equal(stacked(side_by_side["prediction"]), values * 2)
    np.testing.assert_allclose(stacked(side_by_side["x"]), values)


def test_files_of_rows_go_in_as_they_are(session: vk.Session, model: vk.Model, tmp_path: Path) -> None:
    values = array(60)
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in values[:30].tolist()))
    named = [json.dumps({"x": row}) + "\n" for row in values[30:].tolist()]
    (tmp_path / "b.jsonl").write_text("".join(named))
    job = model.batch_predict(tmp_path)
    np.testing.assert_array_equal(job.to_numpy(), values * 2)

    # What somebody else has put in the bucket has no keys: it is matched.
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(row) for row in values[30:].tolist()))
    session.bucket.upload_dir(tmp_path, "given")
    for source in (f"{session.bucket.uri}/given", [f"{session.bucket.uri}/given/{n}.jsonl" for n in "ab"]):
        job = model.batch_predict(source, replicas=2, destination=f"{session.bucket.uri}/there")
        np.testing.assert_array_equal(job.to_numpy(), values * 2)
        assert [row.instance for row in job.rows()] == values.tolist()
        assert str(job.output_uri).startswith(f"{session.bucket.uri}/there/prediction-times-2-")

    table = tmp_path / "t.csv"
    table.write_text(written(values[:5]) + "1,2,x\n")
    with pytest.warns(vk.PartialFailureWarning, match="1 of 6 instances have no prediction"):
        job = model.batch_predict(table)
    np.testing.assert_array_equal(job.to_numpy(on_failure="drop"), values[:5] * 2)
    frame = job.to_frame()
    assert list(frame.columns) == ["a", "b", "c", "prediction", "error"]
    assert frame["c"][5] == "x"
    assert frame["prediction"][5] is None


@pytest.mark.parametrize("source", ["array", "jsonl", "csv", "folder"])
def test_results_in_csv_are_read_too(
    session: vk.Session, model: vk.Model, tmp_path: Path, source: str
) -> None:
    values = array(30)
    given: Any = values
    if source == "jsonl":
        session.bucket.write("in.jsonl", "\n".join(json.dumps(row) for row in values.tolist()))
        given = f"{session.bucket.uri}/in.jsonl"
    elif source == "csv":
        given = tmp_path / "t.csv"
        given.write_text(written(values))
    elif source == "folder":
        # The first holds nothing, and a column of the others is called like what names instances elsewhere.
        for name, content in (("1", ""), ("2", written(values[:10])), ("3", written(values[10:]))):
            session.bucket.write(f"in/{name}.csv", content.replace("a,b,c", "key,b,c"))
        given = f"{session.bucket.uri}/in"
    job = model.batch_predict(given, output_format="csv", replicas=2)
    np.testing.assert_array_equal(job.to_numpy(), values * 2)
    assert len(list(job.rows(in_order=False))) == 30


def test_columns_of_results_in_csv_are_told_whatever_they_are_called(
    session: vk.Session, model: vk.Model
) -> None:
    values = array(30)
    session.bucket.write("t/1.csv", "")
    session.bucket.write("t/2.csv", 'no,"header"s\n1,2\n')
    session.bucket.write("t/3.csv", written(values).replace("a,b,c", "key,prediction,instance"))
    with pytest.warns(vk.PartialFailureWarning), pytest.warns(vk.PreflightWarning, match="is not CSV"):
        job = model.batch_predict(f"{session.bucket.uri}/t/*.csv", output_format="csv")
    np.testing.assert_array_equal(job.to_numpy(on_failure="drop"), values * 2)
    rows = [row for row in job.rows() if row.error is None]
    given = [[row.instance[name] for name in ("key", "prediction", "instance")] for row in rows]
    np.testing.assert_array_equal(np.asarray(given, np.float32), values)


def test_keys_of_the_users_own_order_the_results(session: vk.Session, model: vk.Model) -> None:
    values = array(30)
    names = [f"k{index}" for index in range(30)]
    lines = [json.dumps({"id": name, "x": row}) for name, row in zip(names, values.tolist(), strict=True)]
    session.bucket.write("keyed.jsonl", "\n".join(lines))
    job = model.batch_predict(f"{session.bucket.uri}/keyed.jsonl", key_field="id", replicas=2)
    np.testing.assert_array_equal(job.to_numpy(), values * 2)
    assert {row.key for row in job.rows(in_order=False)} == set(names)
    assert job.to_frame()["id"].tolist() == names
    session.bucket.write("twice.jsonl", "\n".join([lines[0], lines[1], lines[2].replace("k2", "k0")]))
    job = model.batch_predict(f"{session.bucket.uri}/twice.jsonl", key_field="id")
    with pytest.warns(vk.PartialFailureWarning, match="a key that others have"):
        assert [(failure.index, failure.key) for failure in job.failures] == [(0, "k0"), (2, "k0")]
    assert "several instances have the key 'k0'" in job.failures[0].reason
    np.testing.assert_array_equal(job.to_numpy(on_failure="drop"), values[1:2] * 2)
    assert len(list(job.rows(in_order=False))) == 3


def test_files_of_bytes_are_instances(session: vk.Session, measuring: vk.Model, tmp_path: Path) -> None:
    blobs = [b"abc", b"", b"\x00\xff" * 300, b"abc"]
    content = b"".join(map(record, blobs))
    (tmp_path / "in.tfrecord").write_bytes(content)
    (tmp_path / "in.tfrecord.gz").write_bytes(gzip.compress(content))
    lengths = [len(blob) for blob in blobs]
    for name in ("in.tfrecord", "in.tfrecord.gz"):
        job = measuring.batch_predict(tmp_path / name)
        assert job.to_numpy().tolist() == lengths
        assert [row.instance for row in job.rows()] == blobs
    folder = tmp_path / "images"
    folder.mkdir()
    for index, blob in enumerate(blobs):
        (folder / f"{index}.png").write_bytes(blob + b"!")
    job = measuring.batch_predict(folder)
    assert job.input_format == "file-list"
    assert job.to_numpy().tolist() == [length + 1 for length in lengths]
    assert [row.instance for row in job.rows()] == [str(folder / f"{n}.png") for n in range(4)]
    assert measuring.batch_predict([b"abc", b"\xff"]).to_numpy().tolist() == [3, 1]


def test_what_fails_is_listed_and_the_rest_is_given(
    session: vk.Session, model: vk.Model, tmp_path: Path
) -> None:
    lines = ["[1, 2, 3]", "[1, 2", "[4, 5, 6]", "[7, 8]", "", "[1, 2, 3]", '["a", 2, 3]']
    good = [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0], [2.0, 4.0, 6.0]]
    local = tmp_path / "in.jsonl"
    # The first instances are looked at before anything is sent.
    local.write_text("[0, 0, 0]\n" * 300 + "\n".join(lines))
    session.bucket.write("in.jsonl", local.read_bytes())
    for source in (local, f"{session.bucket.uri}/in.jsonl"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            job = model.batch_predict(source)
        (warning,) = [one for one in caught if one.category is vk.PartialFailureWarning]
        assert "3 of 306 instances have no prediction" in str(warning.message)
        assert warning.filename == __file__
        assert job.state == "SUCCEEDED"
        assert job.progress == vk.BatchProgress(303, 3, 306)
        failures = job.failures
        assert [failure.index for failure in failures] == [301, 303, 305]
        assert failures[0].instance == "[1, 2"
        assert all(failure.reason for failure in failures)
        lines = [failure.reason.partition(":")[0] for failure in failures if source is local]
        assert lines == [f"{local}, line {number}" for number in (302, 304, 307) if source is local]
        with pytest.raises(vk.BatchPredictionFailed, match="3 of 306 instances have no prediction") as failed:
            job.to_numpy()
        assert list(failed.value.failures) == [301, 303, 305]
        assert "on_failure='nan'" in str(failed.value)
        assert job.to_numpy(on_failure="drop")[300:].tolist() == good
        filled = job.to_numpy(on_failure="nan")
        assert np.flatnonzero(np.isnan(filled).all(axis=1)).tolist() == [301, 303, 305]
        assert filled[300].tolist() == good[0]
        assert job.to_frame()["error"].notna().sum() == 3


def test_a_job_of_which_nothing_came_has_failed(session: vk.Session, model: vk.Model) -> None:
    session.bucket.write("in.jsonl", "[0, 0]\n[1, 2]\n")
    with pytest.raises(vk.PreflightFailed, match=r"in\.jsonl.*shape"):
        model.batch_predict(f"{session.bucket.uri}/in.jsonl")
    assert session.batch.list() == []
    unsure = session.models.upload("unsure", str(model.artifact_uri))
    unsure.__dict__["signature"] = None  # as of a model that nothing is known of
    with pytest.raises(vk.BatchPredictionFailed, match="All instances failed"):
        unsure.batch_predict(f"{session.bucket.uri}/in.jsonl", name="nothing")
    job = session.batch.get("nothing")
    assert job.state == "FAILED"
    assert [failure.instance for failure in job.failures] == [[0, 0], [1, 2]]
    with pytest.raises(vk.BatchPredictionFailed, match="2 of 2 instances"):
        job.to_numpy(on_failure="nan")


def test_a_job_can_be_cancelled_and_is_left_alone(session: vk.Session, model: vk.Model) -> None:
    job = session.batch.run(model, array(20_000), wait=False, batch_size=1)
    with pytest.raises(vk.FailedPrecondition, match="wait"):
        job.to_numpy()
    with pytest.raises(vk.FailedPrecondition):
        job.delete()
    with pytest.raises(vk.DeadlineExceeded, match=r"session\.batch\.get"):
        job.wait(0.01)
    job.cancel()
    with pytest.raises(vk.Cancelled):
        job.wait()
    assert job.state == "CANCELLED"
    with pytest.raises(vk.FailedPrecondition, match="CANCELLED"):
        list(job.rows())
    job.cancel()


def test_what_is_refused_leaves_nothing(session: vk.Session, model: vk.Model) -> None:
    findings = session.batch.check(
        model,
        np.zeros((2, 4), np.float32),
        machine="n1-standard-3",
        replicas=0,
        batch_size=0,
        output_format="xml",  # type: ignore[arg-type]
    )
    assert {"machine", "replicas", "batch_size", "output_format"} <= {found.argument for found in findings}
    assert any(found.argument.startswith("source") for found in findings), findings
    assert session.batch.check(model, array(2)) == []
    before = [info.name for info in session.bucket.list()]
    with pytest.raises(vk.PreflightFailed, match="does not exist"):
        model.batch_predict(array(2), destination="gs://there-is-no-such-bucket/x")
    with pytest.raises(vk.Unimplemented, match=r"(?i)bigquery"):
        # What only the service can tell: the instances that were sent for it are gone again.
        model.batch_predict(array(2), output_format="bigquery", destination="bq://somewhere")
    with pytest.raises(vk.InvalidArgument, match="model"):
        session.batch.run(7, array(2))  # type: ignore[arg-type]
    assert [info.name for info in session.bucket.list()] == before
    assert session.batch.list() == []


def test_a_session_takes_back_what_it_has_sent(emulator: Any, project: str, scaling_models: Any) -> None:
    with vk.connect(project, emulator=emulator.rest) as session:
        model = session.models.upload("times-2", scaling_models[2])
        job = model.batch_predict(array(3), wait=False)
        session.cleanup()
        assert session.batch.list() == []
        with pytest.raises(vk.NotFound):
            job.refresh()
        assert not session.bucket.exists() or session.bucket.list("vertexkit/batch") == []
