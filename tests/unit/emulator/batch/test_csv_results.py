"""Results in CSV: the instance's columns, then the prediction's, under one header."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from batch_memory import Model, Objects, answer, errors, spec

from vertexkit.emulator.batch.types import Answer, BatchEnd, InputFormat, Instances, OutputFormat

A, B = "gs://bucket/a.csv", "gs://bucket/b.csv"
CSV: dict[str, Any] = {"input_format": InputFormat.CSV, "output_format": OutputFormat.CSV}


def table(end: BatchEnd) -> list[list[str]]:
    """The rows of the only file of results."""
    (path,) = end.results
    return list(csv.reader(path.read_text().splitlines()))


def named(body: bytes) -> Answer:
    """A model with two outputs."""
    count = len(Model()(body).body.split(b"],[")) if body else 0
    return Answer(200, b'{"predictions":[%b]}' % b",".join([b'{"score":[0.5,1],"label":"a, b"}'] * count))


def test_rows_of_csv_files_are_sent_as_arrays(tmp_path: Path) -> None:
    model = Model()
    answer(spec([A], InputFormat.CSV), Objects({A: b'"x","name"\n1.5,"a"\n2,"b"'}), tmp_path, model)
    assert model.bodies == [b'{"instances":[[1.5,"a"],[2,"b"]]}']


def test_rows_of_csv_files_are_sent_as_objects_where_wanted(tmp_path: Path) -> None:
    model = Model()
    what = spec([A], InputFormat.CSV, instances=Instances(instance_type="object"))
    answer(what, Objects({A: b'x,name\n1.5,"a"'}), tmp_path, model)
    assert model.bodies == [b'{"instances":[{"x":1.5,"name":"a"}]}']


def test_an_instance_keeps_its_columns(tmp_path: Path) -> None:
    sources = Objects({A: b'"x", "name"\n1.5 , "a ""b"""\n', B: b'x,name\n2,"c"'})
    end = answer(spec([A, B], **CSV), sources, tmp_path)
    assert table(end) == [
        ["x", "name", "prediction"],
        ["1.5", 'a "b"', '[[1.5,"a \\"b\\""]]'],
        ["2", "c", '[[2,"c"]]'],
    ]


def test_every_output_of_a_model_has_a_column(tmp_path: Path) -> None:
    end = answer(spec([A], **CSV), Objects({A: b"x,label\n1,2\n3,4"}), tmp_path, named)
    assert table(end) == [
        ["x", "label", "score", "prediction_label"],
        ["1", "2", "[0.5,1]", "a, b"],
        ["3", "4", "[0.5,1]", "a, b"],
    ]


def test_a_key_is_the_only_column_of_its_instance(tmp_path: Path) -> None:
    what = spec([A], **CSV, instances=Instances(key_field="id"))
    model = Model()
    end = answer(what, Objects({A: b'id,x\n"r1",1\n"r2",2'}), tmp_path, model)
    assert model.bodies == [b'{"instances":[[1],[2]]}']
    assert table(end) == [["key", "prediction"], ["r1", "[[1]]"], ["r2", "[[2]]"]]


def test_what_is_no_row_has_one_column_with_json(tmp_path: Path) -> None:
    what = spec([A], output_format=OutputFormat.CSV)
    end = answer(what, Objects({A: b'{"a": "x,y"}\n7\nnull\n"s"'}), tmp_path)
    assert [row[0] for row in table(end)] == ["instance", '{"a": "x,y"}', "7", "", "s"]


def test_files_of_other_columns_are_listed_where_results_have_one_header(tmp_path: Path) -> None:
    sources = Objects({A: b"x,y\n1,2", B: b"y,x\n3,4"})
    end = answer(spec([A, B], **CSV), sources, tmp_path)
    assert len(table(end)) == 2
    (error,) = errors(end)
    assert "another header row" in error["error"]["message"]
    # As JSON, nothing stands in the way.
    end = answer(spec([A, B], InputFormat.CSV), sources, tmp_path)
    assert end.progress.succeeded == 2


def test_a_bad_row_is_listed_as_it_is_written(tmp_path: Path) -> None:
    end = answer(spec([A], **CSV), Objects({A: b"x,y\n1,2\n1,cat\n1\n"}), tmp_path)
    assert end.progress.succeeded == 1
    assert [error["instance"] for error in errors(end)] == ["1,cat", "1"]
    assert errors(end)[0]["error"]["message"].startswith(f"{A}, line 3: cat is not a number")


def test_a_header_that_is_none_fails_its_file(tmp_path: Path) -> None:
    end = answer(spec([A, B], InputFormat.CSV), Objects({A: b'"x\n1', B: b"x\n2"}), tmp_path)
    assert end.progress.succeeded == 1
    (error,) = errors(end)
    assert error["instance"] == A
