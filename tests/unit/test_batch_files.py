"""Files as the source of a batch prediction: local ones, those in the cloud, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from doubles import Doubles
from objects import Objects
from tf_records import record
from understood import good, told

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._transfer import shards
from vertexkit.batch_about import origins
from vertexkit.batch_format import kind_of_name
from vertexkit.batch_input import BatchInput, InstanceConfig
from vertexkit.batch_source import understand_source
from vertexkit.batch_uris import expanded
from vertexkit.types import Signature, TensorSpec

OUT = {"y": TensorSpec("y", "float32", (None, 2))}
NUMBERS = Signature({"x": TensorSpec("x", "float32", (None, 2))}, OUT)
ENCODED = Signature({"image": TensorSpec("image", "string", (None,))}, OUT)


@pytest.fixture
def context(objects: Objects) -> Context:
    return Doubles().context


def written(objects: Objects, given: BatchInput) -> list[bytes]:
    """The objects that a job would read, in order."""
    (uri,) = given.uris
    return objects.matching(uri)


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("A.JSONL", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.b.json", "jsonl"),
        ("a.csv", "csv"),
        ("a.tfrecord", "tf-record"),
        ("a.tfrecords.gz", "tf-record-gzip"),
        ("a.tfrecord-00001-of-00010", "tf-record"),
        ("gs://b/a.tfrecord.gz-00001-of-00010", "tf-record-gzip"),
        ("list.txt", "file-list"),
        ("a.jpeg", "image"),
        ("jsonl", None),
        ("a.parquet", None),
        ("a.csv/b", None),
    ],
)
def test_the_format_is_told_by_the_name(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind


def test_a_name_that_tells_nothing_asks_for_the_format(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = tmp_path / "instances"
    path.write_text("[1, 2]\n")
    wrong = told(understand_source(context, path, signature=NUMBERS))
    assert "has a name that tells no format" in wrong
    assert "format='jsonl' or 'csv'" in wrong
    given = good(understand_source(context, path, signature=NUMBERS, format="jsonl")).stage(context, "p")
    assert written(objects, given) == [b'{"vertexkit_key":"0","x":[1, 2]}\n']


def test_formats_that_do_not_exist_or_do_not_fit_are_refused(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[1, 2]\n")
    assert "format='json': is not a format of instances" in told(
        understand_source(context, path, format="json")
    )
    assert "is the format of a table" in told(understand_source(context, path, format="bigquery"))
    assert "is for files" in told(understand_source(context, [[1, 2]], format="csv"))
    assert "is packed" in told(understand_source(context, _file(tmp_path / "a.jsonl.gz", b"x")))


def test_everything_wrong_is_told_at_once(context: Context) -> None:
    config = InstanceConfig(key_field="id")
    understood = understand_source(context, "nowhere.csv", format="json", config=config)
    assert "format='json'" in told(understood)
    assert "source='nowhere.csv': does not exist" in told(understood)


# JSON lines --------------------------------------------------------------------------------------


def test_lines_keep_their_bytes_and_get_a_position(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b'{"x": [1.50, 2e0]}\n [ 3,4 ] \r\n\n{}\n12345678901234567890123\n')
    understood = understand_source(context, path, signature=NUMBERS)
    assert understood.stem == "a"
    assert written(objects, understood.stage(context, "p")) == [
        b'{"vertexkit_key":"0","x": [1.50, 2e0]}\n'
        b'{"vertexkit_key":"1","x":[ 3,4 ]}\n'
        b'{"vertexkit_key":"2"}\n'
        b'{"vertexkit_key":"3","x":12345678901234567890123}\n'
    ]


def test_bytes_are_a_value_and_no_object_of_inputs(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b'{"b64": "eA=="}\n{"image": {"b64": "eA=="}}\n"text"\n')
    given = good(understand_source(context, path, signature=ENCODED)).stage(context, "p")
    assert written(objects, given) == [
        b'{"vertexkit_key":"0","image":{"b64": "eA=="}}\n'
        b'{"vertexkit_key":"1","image": {"b64": "eA=="}}\n'
        b'{"vertexkit_key":"2","image":"text"}\n'
    ]


def test_the_users_own_fields_or_an_unknown_model_leave_lines_as_they_are(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    content = b'{"id": 1, "x": [1, 2]}\r\n\n{"id": 2, "x": [3, 4]}'
    path = _file(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + content)
    config = InstanceConfig(key_field="id")
    given = good(understand_source(context, path, signature=NUMBERS, config=config)).stage(context, "p")
    assert b"".join(written(objects, given)) == content + b"\n"
    assert (given.count, given.config, given.config.has_positions) == (2, config, False)
    objects.content.clear()
    given = good(understand_source(context, path)).stage(context, "p")
    assert b"".join(written(objects, given)) == content + b"\n"
    assert given.config.is_default


def test_a_file_that_wrote_itself_into_a_folder_of_ours_can_be_predicted_again(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b'{"vertexkit_key": "7", "x": [1, 2]}\n')
    wrong = told(understand_source(context, path, signature=NUMBERS))
    assert "unknown: vertexkit_key" in wrong
    assert "add excluded_fields=['vertexkit_key']" in wrong
    config = InstanceConfig(excluded_fields=("vertexkit_key",))
    given = good(understand_source(context, path, signature=NUMBERS, config=config)).stage(context, "p")
    assert not given.config.has_positions


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1, 2, 3]\n" * 20, r"line 1 \(and 7 of the next\) has the shape \(3,\), which is not what"),
        (b"[1, 2, 3]\n" * 20, r"write one instance a line, as float32\[2\]"),
        (b'["a", "b"]\n', r"line 1 holds 'a', which is not what the model takes"),
        (b"nonsense\n", r"line 1 is not JSON by itself"),
        (b"[true, false]\n", r"line 1 holds True, which is not what the model takes, x: float32"),
        (b'{"x": [true, 1]}\n', r"line 1 holds True"),
        (b"[NaN, 1]\n", r"line 1 is not JSON by itself"),
        (b'{"y": [1, 2]}\n', r"missing: x; unknown: y"),
        (b"\n \n\r\n", r"holds no instances"),
        (b"", r"is empty: it holds no instances"),
        (b"[[1, 2], [3, 4]]\n", r"line 1 has the shape \(2, 2\)"),
        (b"[" + b"1.0, " * 100_000 + b"1]\n", r"line 1 has the shape \(100001,\)"),
    ],
)
def test_a_file_whose_first_instances_are_all_wrong_is_refused(
    content: bytes, words: str, context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", content)
    assert re.search(words, told(understand_source(context, path, signature=NUMBERS)))
    objects.content["gs://my-bucket/a.jsonl"] = content
    assert re.search(words, told(understand_source(context, "gs://my-bucket/a.jsonl", signature=NUMBERS)))


def test_one_wrong_instance_among_good_ones_is_for_the_job_to_report(
    context: Context, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n[1]\n[3, 4]\n")
    understood = understand_source(context, path, signature=NUMBERS)
    assert told(understood) == ""
    assert "line 2 has the shape (1,)" in told(understood, warnings=True)


def test_files_with_marks_put_together_lose_one_line_and_spoil_none(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"x":[1,2]}\n\xef\xbb\xbf{"x":[3,4]}\n{"x":[5,6]}\n')
    given = understand_source(context, path, signature=NUMBERS).stage(context, "p")
    assert written(objects, given) == [b'{"vertexkit_key":"0","x":[1,2]}\n{"vertexkit_key":"2","x":[5,6]}\n']
    (kept,) = [data for name, data in objects.content.items() if "_refused" in name]
    assert json.loads(kept)["reason"] == "is not JSON: it begins with a byte order mark"


def test_a_line_longer_than_any_instance_may_be_is_kept_apart(
    context: Context, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.batch_files.MOST_RECORD_BYTES", 100)
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n[" + b"1," * 1000 + b"1]\n[3, 4]\n")
    given = understand_source(context, path, signature=NUMBERS).stage(context, "p")
    assert written(objects, given) == [
        b'{"vertexkit_key":"0","x":[1, 2]}\n{"vertexkit_key":"2","x":[3, 4]}\n'
    ]
    (kept,) = [data for name, data in objects.content.items() if "_refused" in name]
    assert json.loads(kept)["reason"] == "is longer than 100 bytes"


def test_where_each_instance_was_is_told_beside_what_is_sent(
    context: Context, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def where(source: Any, **options: Any) -> list[tuple[int, str, int | None]]:
        objects.content.clear()
        given = good(understand_source(context, source, **options)).stage(context, "p")
        # In another process there is no more than the URIs of the job's input.
        return [(one.index, one.file, one.number) for one in origins(context, given.uris)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vertexkit.batch_files._BLOCK_BYTES", 20)
    folder = Path("f")
    _file(folder / "a.jsonl", b"\n[1, 2]\n[3, 4]\n\n[5, 6]\n")
    _file(folder / "b.jsonl", b"[7, 8]\n")
    assert where(folder, signature=NUMBERS) == [
        (0, "f/a.jsonl", 2),
        (2, "f/a.jsonl", 5),
        (3, "f/b.jsonl", 1),
    ]
    assert _lines_of(where(folder)) == ["a.jsonl 2", "a.jsonl 3", "a.jsonl 5", "b.jsonl 1"]
    _file(Path("t/a.csv"), b"\np,q\n1,2\n\n3,4\n5,6\n7,8\n9,10\n")
    assert _lines_of(where("t/*.csv", signature=NUMBERS)) == [f"a.csv {n}" for n in (3, 5, 6, 7, 8)]
    _file(Path("r.tfrecord"), record(b"a") + record(b"b") + record(b"c"))
    assert _lines_of(where("r.tfrecord", signature=ENCODED)) == [f"r.tfrecord {n}" for n in (1, 2, 3)]
    assert where([[1, 2]], signature=NUMBERS) == []


def _lines_of(found: list[tuple[int, str, int | None]]) -> list[str]:
    """The file and line of every instance, where some have those after the last one's."""
    count = found[-1][0] + 1
    lines = []
    for index in range(count):
        at, file, number = next(one for one in reversed(found) if one[0] <= index)
        assert number is not None
        lines.append(f"{file.rpartition('/')[2]} {number + index - at}")
    return lines


# CSV ---------------------------------------------------------------------------------------------


def test_rows_go_whole_and_every_part_of_a_large_file_has_the_header(
    context: Context, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    monkeypatch.setattr("vertexkit.batch_files._BLOCK_BYTES", 8)
    _file(tmp_path / "1.csv", b"\xef\xbb\xbfp,q\r\n1,2\r\n3,4\r\n5,6")
    _file(tmp_path / "2.csv", b"p,q\n7,8\n")
    given = good(understand_source(context, tmp_path, signature=NUMBERS)).stage(context, "p")
    parts = written(objects, given)
    assert len(parts) > 2
    assert [part.split(b"\n")[0].strip() for part in parts] == [b"p,q"] * len(parts)
    rows = [row.strip() for part in parts for row in part.split(b"\n")[1:] if row]
    assert rows == [b"1,2", b"3,4", b"5,6", b"7,8"]
    assert (given.format, given.count) == ("csv", 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"p,q\n1,2,3\n", "line 2 has 3 values, and the header names 2 columns"),
        (b"p,q\n1,red\n", "line 2 holds 'red', which is neither a number nor in double quotes"),
        (b'p,q\n1,"red"\n', "line 2 holds"),
        (b"p,p\n1,2\n", "gives two columns the same name"),
        (b"p,q,r\n1,2,3\n", r"line 2 has the shape \(3,\)"),
        (b"p,q\n", "holds no instances"),
        (b"p,q\n1,nan\n", "line 2 holds 'nan', which is neither a number nor in double quotes"),
        (b"p,q\n1_000,inf\n", "line 2 holds '1_000', which is neither"),
        (b'p,q\n1,"a"b\n', "line 2 is not CSV: there is text beside a quotation mark"),
        (b"p,\xff\n1,2\n", "line 1 is not UTF-8"),
        (b'p,q\n1,"a\nb"\n', "line 2 .*has a double quote that is not closed in it"),
    ],
)
def test_csv_that_the_model_cannot_take_is_refused_by_line(
    content: bytes, words: str, context: Context, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.csv", content)
    assert re.search(words, told(understand_source(context, path, signature=NUMBERS)))


def test_a_cell_may_be_as_long_as_a_line(context: Context, objects: Objects, tmp_path: Path) -> None:
    long = b'"' + b"a" * 150_000 + b'"\n'
    path = _file(tmp_path / "a.csv", b"image\n" + long)
    good(understand_source(context, path, signature=ENCODED, config=InstanceConfig("object")))
    path = _file(tmp_path / "b.csv", long + b"1\n")
    assert written(objects, good(understand_source(context, path)).stage(context, "q")) == [long + b"1\n"]


def test_rows_of_csv_can_be_objects_and_have_a_key(context: Context, tmp_path: Path) -> None:
    signature = Signature(
        {"p": TensorSpec("p", "float32", (None,)), "q": TensorSpec("q", "string", (None,))}, OUT
    )
    path = _file(tmp_path / "a.csv", b'id,p,q\n1,2.5,"a ""quoted"" word"\n')
    config = InstanceConfig(instance_type="object", key_field="id")
    good(understand_source(context, path, signature=signature, config=config))
    config = InstanceConfig(key_field="nothing")
    assert "has no column 'nothing'" in told(
        understand_source(context, path, signature=signature, config=config)
    )
    config = InstanceConfig(excluded_fields=("id",))
    assert "excluded_fields=['id']: is not for csv" in told(understand_source(context, path, config=config))


def test_how_rows_become_what_the_model_takes_is_told(context: Context, tmp_path: Path) -> None:
    scalar = Signature({"x": TensorSpec("x", "float32", (None,))}, OUT)
    path = _file(tmp_path / "a.csv", b"x\n1\n2.5\n")
    wrong = told(understand_source(context, path, signature=scalar))
    assert "line 2 (and 1 of the next) has the shape (1,)" in wrong
    assert "axes" not in wrong
    assert "add instance_type='object'" in wrong
    good(understand_source(context, path, signature=scalar, config=InstanceConfig(instance_type="object")))
    path = _file(tmp_path / "a.csv", b"y\n1\n")
    wrong = told(understand_source(context, path, signature=scalar))
    assert "have the columns x, and add instance_type='object'" in wrong


def test_a_header_that_looks_like_a_row_is_warned_of(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.csv", b"1.5,2\n3,4\n")
    assert "has numbers in its first row, 1.5, 2," in told(understand_source(context, path), warnings=True)
    good(understand_source(context, _file(tmp_path / "a.csv", b"0,1\n3,4\n"), signature=NUMBERS))


def test_a_field_of_one_line_alone_is_no_key(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.jsonl", b'{"x": [1, 2]}\n{"x": [1, 2], "c": 3}\n')
    found = told(understand_source(context, path, signature=NUMBERS), warnings=True)
    assert "line 2 holds ['x', 'c'], which are not the model's inputs (unknown: c)" in found
    assert "key_field" not in found


def test_files_of_csv_must_have_the_same_columns(context: Context, objects: Objects, tmp_path: Path) -> None:
    for number in range(6):
        _file(tmp_path / f"{number}.csv", b'"p", q\n1,2\n' if number % 2 else b"p,q\n1,2\n")
    good(understand_source(context, tmp_path, signature=NUMBERS)).stage(context, "p").undo()
    _file(tmp_path / "5.csv", b"q,p\n1,2\n")
    understood = good(understand_source(context, tmp_path, signature=NUMBERS))
    with pytest.raises(errors.InvalidArgument, match=r"5.csv.*\['q', 'p'\]"):
        understood.stage(context, "p")
    assert objects.content == {}
    _file(tmp_path / "1.csv", b"q,p\n1,2\n")
    assert "1.csv': has the columns ['q', 'p']" in told(
        understand_source(context, tmp_path, signature=NUMBERS)
    )


# TFRecord ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_records_are_checked_by_their_frames_and_against_the_model(
    packed: bool, context: Context, tmp_path: Path
) -> None:
    name = "a.tfrecord.gz" if packed else "a.tfrecord"

    def file(content: bytes) -> Path:
        return _file(tmp_path / name, gzip.compress(content) if packed else content)

    understood = good(understand_source(context, file(record(b"one") + record(b"")), signature=ENCODED))
    assert understood.format == ("tf-record-gzip" if packed else "tf-record")
    wrong = told(understand_source(context, file(record(b"one")), signature=NUMBERS))
    assert "record 1 holds" in wrong
    assert "use a model of one input, of text or bytes" in wrong
    damaged = bytearray(record(b"one"))
    damaged[13] ^= 1
    assert "record 1 is damaged" in told(understand_source(context, file(bytes(damaged))))
    damaged = bytearray(record(b"one"))
    damaged[2] ^= 1
    assert "is not framed as in a TFRecord file" in told(understand_source(context, file(bytes(damaged))))
    assert "record 1 breaks off" in told(understand_source(context, file(record(b"one")[:-2])))


def test_what_is_said_to_be_gzip_must_be(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.tfrecord.gz", record(b"one"))
    assert "the file is not gzip" in told(understand_source(context, path))


def test_fields_are_not_for_records(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.tfrecord", record(b"one"))
    understood = understand_source(context, path, config=InstanceConfig(key_field="id"))
    assert "key_field='id': is not for tf-record, whose instances are bytes" in told(understood)


# Folders, patterns, lists of files ---------------------------------------------------------------


def test_a_folder_is_read_by_name_without_what_is_no_data(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    for name, content in (
        ("b.jsonl", b"[3, 4]"),
        ("a.jsonl", b"[1, 2]\n"),
        ("sub/c.jsonl", b"[5, 6]\n"),
        ("empty.jsonl", b""),
        ("_SUCCESS", b""),
        (".hidden", b"x"),
    ):
        _file(tmp_path / name, content)
    understood = good(understand_source(context, tmp_path, signature=NUMBERS))
    given = understood.stage(context, "p")
    assert [json.loads(line)["x"] for line in b"".join(written(objects, given)).splitlines()] == [
        [1, 2], [3, 4], [5, 6],
    ]  # fmt: skip
    pattern = good(understand_source(context, str(tmp_path / "*.jsonl"), signature=NUMBERS))
    assert pattern.stem == understood.stem == tmp_path.name
    assert pattern.stage(context, "q").count == 2
    listed = [tmp_path / "b.jsonl", tmp_path / "a.jsonl"]
    given = good(understand_source(context, listed, signature=NUMBERS)).stage(context, "r")
    assert [json.loads(line)["x"] for line in b"".join(written(objects, given)).splitlines()] == [
        [3, 4], [1, 2],
    ]  # fmt: skip


def test_a_folder_of_several_kinds_is_refused_but_for_a_format_that_chooses(
    context: Context, tmp_path: Path
) -> None:
    _file(tmp_path / "a.jsonl", b"[1, 2]\n")
    _file(tmp_path / "a.csv", b"p,q\n1,2\n")
    _file(tmp_path / "README.md", b"words")
    wrong = told(understand_source(context, tmp_path, signature=NUMBERS))
    assert "holds files of several kinds: 1 of no known kind (README.md), 1 csv (a.csv), 1 jsonl" in wrong
    assert good(understand_source(context, tmp_path, signature=NUMBERS, format="csv")).format == "csv"


def test_paths_that_lead_nowhere_are_each_named(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n")
    wrong = told(understand_source(context, [path, tmp_path / "b.jsonl", tmp_path]))
    assert "source[1]=" in wrong
    assert "does not exist" in wrong
    assert "source[2]=" in wrong
    assert "is a folder" in wrong
    assert "matches no file" in told(understand_source(context, str(tmp_path / "*.csv")))
    assert "holds no files" in told(understand_source(context, _folder(tmp_path / "empty")))
    assert "cannot be read: No such file" in told(understand_source(context, "nowhere/*.csv"))


def test_names_of_files_that_are_passed_as_texts_are_not_taken_for_instances(
    context: Context, tmp_path: Path
) -> None:
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n")
    wrong = told(understand_source(context, [str(path)], signature=NUMBERS))
    assert "are texts, which are the names of files" in wrong
    understood = understand_source(context, [str(path)], signature=ENCODED)
    assert told(understood) == ""
    assert "are texts, which are the names of files" in told(understood, warnings=True)


def test_remedies_fit_what_is_wrong(context: Context, tmp_path: Path) -> None:
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n")
    wrong = told(understand_source(context, path, signature=ENCODED, format="tf-record"))
    assert "record 1 breaks off. Remedy: say what else it is, with format=" in wrong
    listed = _file(tmp_path / "l.txt", b"gs://my-bucket/nothing\n")
    wrong = told(understand_source(context, listed, signature=ENCODED))
    assert "which does not exist. Remedy: list gs:// URIs of files that are there" in wrong
    wrong = told(understand_source(context, [path, "gs://my-bucket/a.jsonl"], signature=NUMBERS))
    assert "mixes paths with what is none" in wrong


@pytest.mark.parametrize("end", [b"\n", b""])
def test_of_a_file_without_line_ends_no_more_is_held_or_sent_than_shows_it(
    end: bytes, context: Context, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.batch_files.MOST_RECORD_BYTES", 100)
    monkeypatch.setattr("vertexkit.batch_files._BLOCK_BYTES", 8)
    long = b"[" + b"1," * 1000 + b"1]"
    path = _file(tmp_path / "a.jsonl", b"[1, 2]\n" + long + b"\n[3, 4]\n" + long + end)
    given = understand_source(context, path).stage(context, "p")
    lines = written(objects, given)[0].splitlines()
    assert (lines[0], lines[2]) == (b"[1, 2]", b"[3, 4]")
    assert all(100 < len(line) < 120 and long.startswith(line) for line in (lines[1], lines[3]))
    assert given.count == len(lines) == 4


def test_a_header_without_an_end_is_refused_before_it_is_held(
    context: Context, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path / "a.csv", b"p,q" * 100 + b"\n1,2\n")
    understood = understand_source(context, path)
    monkeypatch.setattr("vertexkit.batch_files.MOST_RECORD_BYTES", 100)
    with pytest.raises(errors.InvalidArgument, match="first line of more than 100 bytes"):
        understood.stage(context, "p")
    assert objects.content == {}


# In the cloud ------------------------------------------------------------------------------------


def test_an_object_a_folder_and_a_pattern_are_passed_on(context: Context, objects: Objects) -> None:
    for name in ("in/a.jsonl", "in/b.jsonl", "in/_SUCCESS", "in/", "in/deep/c.jsonl", "other.csv"):
        objects.content[f"gs://my-bucket/{name}"] = b"" if name.endswith(("/", "SUCCESS")) else b"[1, 2]\n"
    objects.content["gs://my-bucket/other.csv"] = b"p,q\n1,2\n"

    def uris(source: Any) -> tuple[str, ...]:
        understood = good(understand_source(context, source, signature=NUMBERS))
        assert not understood.is_local
        assert understood.ready is not None
        assert understood.stage(context, "p") == understood.ready
        return understood.ready.uris

    assert uris("gs://my-bucket/in/a.jsonl") == ("gs://my-bucket/in/a.jsonl",)
    assert uris("gs://my-bucket/in/*.jsonl") == ("gs://my-bucket/in/*.jsonl",)
    folder = tuple(f"gs://my-bucket/in/{name}.jsonl" for name in ("a", "b", "deep/c"))
    assert uris("gs://my-bucket/in") == uris("gs://my-bucket/in/") == folder
    assert uris([folder[1], folder[0]]) == (folder[1], folder[0])
    assert uris("gs://my-bucket/other.csv") == ("gs://my-bucket/other.csv",)
    assert set(objects.content) == {one for one in objects.content if "/p/" not in one}


def test_what_is_not_in_the_cloud_is_refused_by_name(context: Context, objects: Objects) -> None:
    objects.content["gs://my-bucket/empty.jsonl"] = b""
    source = ["gs://my-bucket/a.jsonl", "gs://nowhere/a.jsonl", "gs://my-bucket/*.csv", "gs://B"]
    wrong = told(understand_source(context, source))
    assert "source[0]='gs://my-bucket/a.jsonl': does not exist" in wrong
    assert "source[1]='gs://nowhere/a.jsonl': is in a bucket that does not exist" in wrong
    assert "source[2]='gs://my-bucket/*.csv': matches no object" in wrong
    assert "source[3]='gs://B': the bucket 'B'" in wrong
    assert "is empty" in told(understand_source(context, "gs://my-bucket/empty.jsonl"))
    objects.locations["far-bucket"] = "asia-east1"
    objects.content["gs://far-bucket/a.jsonl"] = b"[1, 2]\n"
    assert "is in asia-east1" in told(understand_source(context, "gs://far-bucket/a.jsonl"))


def test_of_what_is_stored_compressed_no_more_is_expanded_than_is_looked_at(
    context: Context, objects: Objects
) -> None:
    uri = "gs://my-bucket/a.jsonl"
    packed = zlib.compressobj(wbits=31)
    objects.content[uri] = packed.compress(b"[1, 2]\n" + b" " * 2**26) + packed.flush()
    objects.encodings[uri] = "gzip"
    tracemalloc.start()
    try:
        good(understand_source(context, uri, signature=NUMBERS))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    # What is behind the part that was read is not missed: these rows are not all there are.
    objects.content[uri] = gzip.compress(b"\n" * 2**19 + b"[1, 2]\n")
    good(understand_source(context, uri, signature=NUMBERS))
    objects.content["gs://my-bucket/list"] = gzip.compress(b"gs://my-bucket/a.jsonl\n")
    objects.encodings["gs://my-bucket/list"] = "gzip"
    listed = good(understand_source(context, "gs://my-bucket/list", format="file-list"))
    assert not listed.is_local


def test_what_is_said_to_be_stored_compressed_must_be(context: Context, objects: Objects) -> None:
    for name in ("a.jsonl", "list"):
        objects.content[f"gs://my-bucket/{name}"] = b"[1, 2]\n"
        objects.encodings[f"gs://my-bucket/{name}"] = "gzip"
    wrong = told(understand_source(context, "gs://my-bucket/a.jsonl", signature=NUMBERS))
    assert "the file cannot be read: it is said to be gzip, and is not" in wrong
    assert good(understand_source(context, "gs://my-bucket/list", format="file-list")).is_local


def test_without_a_session_only_what_is_said_is_looked_at() -> None:
    understood = good(understand_source(None, "gs://my-bucket/a.tfrecord"))
    assert understood.format == "tf-record"
    assert "is no table" in told(understand_source(None, "bq://project.dataset"))
    table = good(understand_source(None, "bq://project.dataset.table"))
    assert table.ready == BatchInput("bigquery", bigquery="bq://project.dataset.table")
    assert table.stem == "table"


def test_images_in_the_cloud_are_put_on_a_list(context: Context, objects: Objects) -> None:
    for name in ("2.png", "1.png", "notes/_x.txt"):
        objects.content[f"gs://my-bucket/in/{name}"] = b"image"
    understood = good(understand_source(context, "gs://my-bucket/in/", signature=ENCODED))
    assert (understood.format, understood.count, understood.is_local) == ("file-list", 2, True)
    given = understood.stage(context, "p")
    assert given.uris == ("gs://my-bucket/p/instances-000000.txt",)
    assert written(objects, given) == [b"gs://my-bucket/in/1.png\ngs://my-bucket/in/2.png\n"]
    wrong = told(understand_source(context, "gs://my-bucket/in/1.png", signature=NUMBERS))
    assert "use a model of one input, of text or bytes" in wrong


def test_a_list_of_files_is_known_by_what_is_in_it(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    objects.content["gs://my-bucket/in/1.pdf"] = b"document"
    listed = b"gs://my-bucket/in/1.pdf\ngs://my-bucket/in/2.pdf\n"
    path = _file(tmp_path / "files.txt", listed)
    understood = understand_source(context, path, signature=ENCODED)
    assert told(understood) == ""
    assert "line 2 names gs://my-bucket/in/2.pdf, which does not exist" in told(understood, warnings=True)
    assert written(objects, understood.stage(context, "p")) == [listed]
    unnamed = understand_source(context, _file(tmp_path / "files", listed), format="file-list")
    assert written(objects, unnamed.stage(context, "q")) == [listed]
    objects.content["gs://my-bucket/list"] = listed[:24]
    remote = good(understand_source(context, "gs://my-bucket/list", format="file-list"))
    assert remote.ready is not None
    assert remote.ready.uris == ("gs://my-bucket/list",)
    document = good(understand_source(context, "gs://my-bucket/in/1.pdf", format="file-list"))
    assert document.is_local
    path = _file(tmp_path / "files.txt", b"images/1.png\n")
    wrong = told(understand_source(context, path, signature=ENCODED))
    assert "line 1 is 'images/1.png', and no gs:// URI of a file" in wrong
    assert "list gs:// URIs of files that are there, or pass [pathlib.Path(...), ...]" in wrong


def test_patterns_stand_for_objects_as_cloud_storage_has_them(context: Context, objects: Objects) -> None:
    for name in ("a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl", "c.jsonl"):
        objects.content[f"gs://my-bucket/{name}"] = b"x"

    def names(*uris: str) -> list[str]:
        return [found.name for found in expanded(context, uris)]

    assert names("gs://my-bucket/a/*") == ["a/1.jsonl", "a/2.jsonl"]
    assert names("gs://my-bucket/a/**") == ["a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl"]
    assert names("gs://my-bucket/**/*.jsonl", "gs://my-bucket/c.jsonl")[-1] == "c.jsonl"
    assert names("gs://my-bucket/a/[!1]*") == ["a/2.jsonl"]
    assert names("gs://my-bucket/?.jsonl") == ["c.jsonl"]
    with pytest.raises(errors.NotFound):
        names("gs://my-bucket/c.jsonl", "gs://my-bucket/*.csv")


def _file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
