"""What the model is sent for a line or a record, what stands for it, and what is no instance."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from batch_memory import (
    ANY_FOLDER,
    JSON,
    A,
    Model,
    Objects,
    answer,
    errors,
    fresh,
    results,
    spec,
    tf_record,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import (
    Answer,
    InputFormat,
    Instances,
)

FRAGMENTS = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        '"',
        "1",
        "-2.5e3",
        "[1,2]",
        '{"x":1}',
        '"a"',
        "\\",
        "NaN",
        " ",
        "\ufeff",
        "null",
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.lists(FRAGMENTS, min_size=1, max_size=6).map("".join), min_size=1, max_size=8),
    head=st.sampled_from(["", "[", "[1,", '{"k":"7",', '{"k":"7","x":', '{"k":"7","x":[']),
    tail=st.sampled_from(["", "]", "}", "]}"]),
    batch_size=st.integers(1, 8),
)
def test_lines_are_json_one_by_one_or_fail_one_by_one(
    tmp_path: Path, lines: list[str], head: str, tail: str, batch_size: int
) -> None:
    lines = [stripped for line in lines if (stripped := f"{head}{line}{tail}".strip(" "))]
    keyed = head.startswith("{")
    instances = Instances(key_field="k") if keyed else Instances()
    good: list[Any] = []
    bad: list[str] = []
    for line in lines:
        try:
            value = json.loads(line, parse_constant=_refuse)
            good.append((value.pop("k"), [value]) if keyed else (value, [value]))
        except ValueError:
            bad.append(line)
    sources = Objects({A: "\n".join(["0", *lines]).encode()})
    came = answer(spec([A], instances=instances, batch_size=batch_size), sources, fresh(tmp_path))
    if not keyed:
        good.insert(0, (0, [0]))
    else:
        bad.insert(0, "0")
    shown = "key" if keyed else "instance"
    assert [(line[shown], line["prediction"]) for line in results(came)] == good
    assert [line["instance"] for line in errors(came)] == bad


def _refuse(name: str) -> None:
    raise ValueError(name)


def test_a_line_is_spliced_in_as_it_is_written(tmp_path: Path) -> None:
    line = b'{ "x" :\t[1.50, 1e2, 123456789012345678901234567890] , "y": "\\u00e9"}'
    model = Model()
    came = answer(spec([A], parameters=b'{"k": 3}'), Objects({A: line}), tmp_path, model)
    assert model.bodies == [b'{"instances":[' + line + b'],"parameters":{"k": 3}}']
    assert came.results[0].read_bytes().startswith(b'{"instance":' + line + b',"prediction":')


@pytest.mark.parametrize("key_field", ["", "k"])
def test_a_line_that_is_nested_too_deeply_is_listed(tmp_path: Path, key_field: str) -> None:
    deep = [b"[" * depth + b'"x"' + b"]" * depth for depth in (500, 1010, 5000, 200_000)]
    lines = [b'{"x":%b,"k":"a"}' % line if key_field else line for line in deep]

    def predict(body: bytes) -> Answer:
        return Answer(200, b'{"predictions":[7]}')

    what = spec([A], instances=Instances(key_field=key_field), batch_size=1)
    came = answer(what, Objects({A: b"\n".join(lines)}), tmp_path, predict)
    assert came.progress.succeeded in (1, 2)
    assert "nested too deeply" in came.progress.failures[-1].message


def test_a_byte_order_mark_is_skipped_where_a_file_begins_only(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n3"
    came = answer(spec([A]), Objects({A: content}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1, 3]
    assert "byte order mark" in errors(came)[0]["error"]["message"]


def test_a_malformed_line_is_listed_with_its_place(tmp_path: Path) -> None:
    came = answer(spec([A]), Objects({A: b'[1]\n\n{"x": \n[2]'}), tmp_path)
    assert [line["instance"] for line in results(came)] == [[1], [2]]
    (error,) = errors(came)
    assert error["instance"] == '{"x":'
    assert error["error"]["code"] == 3
    assert error["error"]["message"] == f"{A}, line 3: Not JSON: Expecting value at character 6"
    assert came.progress.failures[0].message == error["error"]["message"]


def test_a_line_that_is_not_text_is_listed(tmp_path: Path) -> None:
    came = answer(spec([A]), Objects({A: b'["a"]\n["\xff"]\n[NaN]'}), tmp_path)
    assert [error["error"]["message"] for error in errors(came)] == [
        f"{A}, line 2: Not JSON: byte 3 is not UTF-8 text",
        f"{A}, line 3: Not JSON: NaN is not a number of JSON",
    ]


def test_two_broken_lines_do_not_make_up_two_whole_ones(tmp_path: Path) -> None:
    lines = [b'["a', b'b"],3', b"[1", b"2],3", b"1],[2", b"7"]
    came = answer(spec([A]), Objects({A: b"\n".join(lines)}), tmp_path)
    assert [line["instance"] for line in results(came)] == [7]
    assert [line["instance"].encode() for line in errors(came)] == lines[:-1]


def test_two_broken_objects_do_not_make_up_two_whole_ones(tmp_path: Path) -> None:
    pairs = [
        (b'{"k":"1","x":[{"y":2}', b'{"k":"2","x":3}]},4'),
        (b'{"k":"1","x":[1}', b'{"k":"2","x":1]}'),
        (b'{"k":"1","x\\":1}', b'{"k":"2",":\\"}'),
        (b'{"k":"1","x":"}', b'{"k":"2","x":"}'),
    ]
    for number, pair in enumerate(pairs):
        sources = Objects({A: b"\n".join([*pair, b'{"k":"3","x":7}'])})
        came = answer(spec([A], instances=Instances(key_field="k")), sources, tmp_path / str(number))
        assert results(came) == [{"key": "3", "prediction": [{"x": 7}]}]
        assert [line["instance"].encode() for line in errors(came)] == list(pair)


def test_a_line_that_is_too_long_is_listed_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.batch.records.MOST_RECORD_BYTES", 1000)
    content = b"1\n" + b"[" + b"2," * 5000 + b"2]\n3"
    came = answer(spec([A]), Objects({A: content}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1, 3]
    assert "line 2: the line is longer" in errors(came)[0]["error"]["message"]


@pytest.mark.parametrize("packed", [False, True])
def test_tf_records_are_sent_as_base64(tmp_path: Path, packed: bool) -> None:
    contents = [b"", b"\x00\xff", b"x" * 70_000]
    content = tf_record(*contents)
    name = InputFormat.TF_RECORD_GZIP if packed else InputFormat.TF_RECORD
    content = gzip.compress(content) if packed else content
    came = answer(spec([A], name, batch_size=2), Objects({A: content}), tmp_path)
    encoded = [{"b64": base64.b64encode(one).decode()} for one in contents]
    assert results(came) == [{"instance": one, "prediction": [one]} for one in encoded]


def test_a_file_of_a_list_is_sent_as_base64_and_shown_by_its_uri(tmp_path: Path) -> None:
    names = b"gs://b/1.png\r\ngs://b/gone.png\n\nnonsense\ngs://b/1.png"
    sources = Objects({A: names, "gs://b/1.png": b"PNG"})
    came = answer(spec([A], InputFormat.FILE_LIST), sources, tmp_path)
    line = {"instance": "gs://b/1.png", "prediction": [{"b64": base64.b64encode(b"PNG").decode()}]}
    assert results(came) == [line, line]
    gone, nonsense = errors(came)
    assert gone["instance"] == "gs://b/gone.png"
    assert gone["error"] == {"code": 5, "message": f"{A}, line 2: gs://b/gone.png is not there"}
    assert nonsense["instance"] == "nonsense"


def test_large_files_of_a_list_are_not_all_sent_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.batch.lots._BODY_BYTES", 1000)
    files = {f"gs://b/{index}": bytes(400) for index in range(20)}
    model = Model()
    sources = Objects({A: "\n".join(files).encode(), **files})
    came = answer(spec([A], InputFormat.FILE_LIST), sources, tmp_path, model)
    assert [line["instance"] for line in results(came)] == list(files)
    assert max(map(len, model.bodies)) < 2000


def test_a_key_stands_for_its_instance(tmp_path: Path) -> None:
    lines = [
        b'{"id":"7","x":[1]}',
        b'{"x": [2], "id": {"a": 1}}',
        b'{"id":"q\\"","x":[3]}',
        b'{"id": 4, "id2": 0, "x":{"id":"5"}}',
        b'{"x":[5]}',
        b'{"id":"6"}',
    ]
    model = Model()
    what = spec([A], instances=Instances(key_field="id"))
    came = answer(what, Objects({A: b"\n".join(lines)}), tmp_path, model)
    assert results(came) == [
        {"key": "7", "prediction": [{"x": [1]}]},
        {"key": {"a": 1}, "prediction": [{"x": [2]}]},
        {"key": 'q"', "prediction": [{"x": [3]}]},
        {"key": 4, "prediction": [{"id2": 0, "x": {"id": "5"}}]},
        {"key": "6", "prediction": [{}]},
    ]
    (error,) = errors(came)
    assert error["instance"] == '{"x":[5]}'
    assert "'id'" in error["error"]["message"]


@ANY_FOLDER
@given(
    rows=st.lists(st.tuples(st.text(max_size=6), JSON), max_size=8),
    spaces=st.booleans(),
    name=st.sampled_from(["vertexkit_key", "x", 'a"b', "é"]),
)
def test_a_key_is_cut_out_of_any_object(
    tmp_path: Path, rows: list[tuple[str, Any]], spaces: bool, name: str
) -> None:
    separators = None if spaces else (",", ":")
    lines = [
        json.dumps({name: key, "value": value}, separators=separators, ensure_ascii=spaces)
        for key, value in rows
    ]
    content = "\n".join(line for line in lines).encode(errors="surrogatepass")
    came = answer(spec([A], instances=Instances(key_field=name)), Objects({A: content}), fresh(tmp_path))
    told = [(line["key"], line["prediction"]) for line in results(came)]
    assert told == [(key, [{"value": value}]) for key, value in rows]


def test_a_line_that_is_too_long_is_listed_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.batch.records.MOST_RECORD_BYTES", 1000)
    content = b'{"id":"a-1","x":[%b1]}\n{"x":[%b1],"id":"b"}' % (b"2," * 5000, b"2," * 5000)
    came = answer(spec([A], instances=Instances(key_field="id")), Objects({A: content}), tmp_path)
    first, second = errors(came)
    assert first["key"] == "a-1"
    assert second["instance"].startswith('{"x":[2,2')


def test_a_refused_instance_with_a_key_is_listed_by_it(tmp_path: Path) -> None:
    model = Model(refuses=lambda instance: instance == {"x": 2})
    content = b'{"id":"a","x":1}\n{"id":"b","x":2}'
    came = answer(spec([A], instances=Instances(key_field="id")), Objects({A: content}), tmp_path, model)
    assert errors(came) == [
        {"key": "b", "error": {"code": 3, "message": f"{A}, line 2: The model refuses {{'x': 2}}"}}
    ]


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (Instances(included=("c", "a")), {"c": 3, "a": 1}),
        (Instances(included=("c", "a"), instance_type="array"), [3, 1]),
        (Instances(excluded=("b", "nosuch")), {"a": 1, "c": 3}),
        (Instances(instance_type="array"), [1, 2, 3]),
        (Instances(instance_type="object"), {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_fields_are_sent_as_wanted_and_the_whole_instance_is_shown(
    tmp_path: Path, wanted: Instances, sent: Any
) -> None:
    came = answer(spec([A], instances=wanted), Objects({A: b'{"a":1,"b":2,"c":3}'}), tmp_path)
    assert results(came) == [{"instance": {"a": 1, "b": 2, "c": 3}, "prediction": [sent]}]


@pytest.mark.parametrize(
    "wanted", [Instances(key_field="k"), Instances(included=("k",)), Instances(instance_type="object")]
)
def test_a_line_without_fields_is_listed_where_fields_are_wanted(tmp_path: Path, wanted: Instances) -> None:
    came = answer(spec([A], instances=wanted), Objects({A: b'[1]\n{"k":2}'}), tmp_path)
    assert [error["instance"] for error in errors(came)] == ["[1]"]
    assert came.progress.succeeded == 1


@pytest.mark.parametrize("wanted", [Instances(key_field="k"), Instances(included=("k",))])
@pytest.mark.parametrize("name", [InputFormat.TF_RECORD, InputFormat.FILE_LIST])
def test_records_have_no_fields(tmp_path: Path, wanted: Instances, name: InputFormat) -> None:
    with pytest.raises(ValueError, match="have no fields"):
        BatchRun(spec([A], name, instances=wanted), Objects({A: b""}), Model(), tmp_path)
