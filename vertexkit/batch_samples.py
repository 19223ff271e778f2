"""The first instances of a file, read as a job will read them, and checked before there is a job."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from vertexkit.batch_csv import cell_values, cells
from vertexkit.batch_input import InstanceConfig
from vertexkit.batch_lines import BLANKS, BOM, MOST_RECORD_BYTES
from vertexkit.batch_rows import leaving_out, loosened, without_axes
from vertexkit.casting import first_leaf, unfit
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.instances import as_batch, b64
from vertexkit.tf_record import CHECK_BYTES, LENGTH_BYTES, is_intact, length_of
from vertexkit.types import Signature, TensorSpec

__all__ = ["HEAD_BYTES", "Sample", "check_samples", "samples", "sent"]

HEAD_BYTES: Final = 256 * 1024
_SAMPLES: Final = 8


@dataclass(frozen=True)
class Sample:
    """One of the first instances of a file."""

    place: str
    """``"line 3"``, ``"record 1"``."""
    value: Any = None
    """What the job makes of it, before its configuration is applied."""
    problem: str | None = None
    """Why nothing can be made of it."""
    columns: tuple[str, ...] = ()
    """Of CSV, what the header calls them."""


def samples(kind: str, content: bytes, *, is_whole: bool) -> list[Sample]:
    """Read the first instances.

    Args:
        kind: A format of instances in files.
        content: How the file starts.
        is_whole: Whether that is all of it.

    Returns:
        The first few; none if the file holds none, or a single one is longer than what was read.
    """
    if kind == "tf-record-gzip":
        return _packed(content, is_whole=is_whole)
    if kind == "tf-record":
        return list(_first(_records(content, is_whole=is_whole)))
    content = content.removeprefix(BOM)
    if not is_whole:
        content = content[: content.rfind(b"\n") + 1]
    if kind == "csv":
        return list(_first(_csv_rows(content)))
    read = _listed_uri if kind == "file-list" else _json_line
    lines = ((f"line {number}", line.strip(BLANKS)) for number, line in enumerate(content.split(b"\n"), 1))
    return list(_first(read(place, line) for place, line in lines if line))


def sent(value: Any, config: InstanceConfig, kind: str = "jsonl") -> Any:
    """What the model is sent of an instance.

    Args:
        value: An instance; a row of CSV by the names of its columns.
        config: How the job makes instances of it.
        kind: The format that it is from.

    Raises:
        ValueError: The configuration does not fit it; says how, of "it".
    """
    if kind in ("file-list", "image"):
        return b64(b"")  # of the file that it names, of which only this much is certain
    if kind == "csv":
        row = {name: cell for name, cell in value.items() if name != config.key_field}
        if config.key_field is not None and len(row) == len(value):
            raise ValueError(f"has no column {config.key_field!r}, which key_field names")
        return row if config.instance_type == "object" else list(row.values())
    if config.is_default:
        return value
    if not isinstance(value, dict):
        raise ValueError("is no JSON object, whose fields could be chosen")
    if config.key_field is not None and config.key_field not in value:
        raise ValueError(f"has no field {config.key_field!r}, which key_field names")
    missing = [name for name in config.included_fields if name not in value]
    if missing:
        raise ValueError(f"has no field {missing[0]!r}, which included_fields names")
    names = config.included_fields or tuple(
        name for name in value if name not in config.excluded_fields and name != config.key_field
    )
    if config.instance_type == "array":
        if not config.included_fields:
            raise ValueError(
                "is an object, of which instance_type='array' needs included_fields for the order"
            )
        return [value[name] for name in names]
    return {name: value[name] for name in names}


def check_samples(
    argument: str,
    found: Sequence[tuple[str, Sequence[Sample]]],
    signature: Signature | None,
    config: InstanceConfig,
    *,
    kind: str,
) -> list[Finding]:
    """Whether the model takes the first instances of files.

    A bad one among good ones is for the job to report, beside the answers for the others; so that is a
    warning. Where all are bad the files are not what they are taken for.

    Args:
        argument: What the caller calls the source.
        found: Names of files, and the first instances of each.
        signature: What the model takes, if that is known.
        config: How the job makes instances of them.
        kind: The files' format.
    """
    loose = None if signature is None else loosened(signature)
    told: dict[str, tuple[str, Sample, int]] = {}
    good = 0
    for file, listed in found:
        for one in listed:
            problem = _problem(one, loose, config, kind)
            if problem is None:
                good += 1
            else:
                where, first, count = told.get(problem, (file, one, 0))
                told[problem] = (where, first, count + 1)
    remedy = None
    every = [one for _, listed in found for one in listed]
    if loose is not None and not good:
        remedy = f"write one instance a line, as {_one_instance(loose)}"
        if kind == "file-list" and all(one.problem is not None for one in every):
            remedy = "list gs:// URIs of files that are there, or pass [pathlib.Path(...), ...]"
        elif kind == "csv":
            remedy = _csv_remedy(every[0].columns if every else (), loose, config)
        elif kind != "jsonl" and all(one.problem is not None for one in every):
            remedy = "say what else it is, with format=" if kind.startswith("tf-record") else None
        elif kind != "jsonl":
            remedy = "use a model of one input, of text or bytes, which decodes what it is sent"
    findings = []
    for problem, (file, one, count) in told.items():
        if kind == "jsonl" and config.is_default:
            told_remedy = leaving_out(one.value, loose, among=[other.value for other in every]) or remedy
        else:
            told_remedy = remedy
        more = f" (and {count - 1} of the next)" if count > 1 else ""
        findings.append(
            Finding(argument, file, f"{one.place}{more} {problem}", told_remedy, warning=good > 0)
        )
    return findings


def _first(found: Iterable[Sample]) -> Iterator[Sample]:
    for number, one in enumerate(found, 1):
        yield one
        if number == _SAMPLES:
            return


def _json_line(place: str, line: bytes) -> Sample:
    try:
        return Sample(place, orjson.loads(line))
    except orjson.JSONDecodeError as error:
        first = error
    try:
        # A whole number of more than 64 bits is JSON all the same; NaN is not.
        return Sample(place, json.loads(line, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return Sample(place, problem=f"is not JSON by itself: {first}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _listed_uri(place: str, line: bytes) -> Sample:
    text = line.decode("utf-8", "backslashreplace")
    if not text.startswith("gs://"):
        return Sample(place, problem=f"is {text[:200]!r}, and no gs:// URI of a file")
    return Sample(place, text)


def _csv_rows(content: bytes) -> Iterator[Sample]:
    """The rows, by the names in the header. A row is a line, and what is not quoted in it a number."""
    names: list[str] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        place = f"line {number}"
        if not (row := line.strip(BLANKS)):
            continue
        try:
            found = cells(row)
        except ValueError as error:
            yield Sample(place, problem=_no_row(row, error))
            if not names:
                return  # without a header nothing is read
            continue
        if not names:
            names = [text for text, _ in found]
            if len(set(names)) < len(names):
                yield Sample(place, problem="is the header, and gives two columns the same name")
                return
            continue
        if len(found) != len(names):
            problem = f"has {len(found)} values, and the header names {len(names)} columns"
            yield Sample(place, problem=problem)
            continue
        values = cell_values(found)
        for (text, quoted), read in zip(found, values, strict=True):
            if not quoted and isinstance(read, str):
                problem = f"holds {text!r}, which is neither a number nor in double quotes, as text is"
                yield Sample(place, problem=problem)
                break
        else:
            yield Sample(place, dict(zip(names, values, strict=True)), columns=tuple(names))


def _no_row(row: bytes, error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8: {error.reason} at byte {error.start}"
    if row.count(b'"') % 2:
        return "has a double quote that is not closed in it: a cell holds no line break"
    return f"is not CSV: {error}"


def _packed(content: bytes, *, is_whole: bool) -> list[Sample]:
    inflate = zlib.decompressobj(wbits=31)
    try:
        unpacked = inflate.decompress(content, 16 * HEAD_BYTES)
    except zlib.error as error:
        return [Sample("the file", problem=f"is not gzip: {error}")] if content else []
    whole = is_whole and inflate.eof and not inflate.unused_data
    return list(_first(_records(unpacked, is_whole=whole)))


def _records(content: bytes, *, is_whole: bool) -> Iterator[Sample]:
    position = number = 0
    while position < len(content):
        number += 1
        place, rest = f"record {number}", len(content) - position
        if rest < LENGTH_BYTES:
            if is_whole:
                yield Sample(place, problem="breaks off")
            return
        length = length_of(content[position : position + LENGTH_BYTES], MOST_RECORD_BYTES)
        if length is None:
            what = "is not framed as in a TFRecord file: its length has another checksum"
            yield Sample(place, problem=what)
            return
        start, stop = position + LENGTH_BYTES, position + LENGTH_BYTES + length
        if stop + CHECK_BYTES > len(content):
            if is_whole:
                yield Sample(place, problem="breaks off")
            return
        data = content[start:stop]
        if not is_intact(data, content[stop : stop + CHECK_BYTES]):
            yield Sample(place, problem="is damaged: it has another checksum")
        else:
            yield Sample(place, b64(data))
        position = stop + CHECK_BYTES


def _problem(one: Sample, signature: Signature | None, config: InstanceConfig, kind: str) -> str | None:
    """What is wrong with an instance, as what follows its place."""
    if one.problem is not None:
        return one.problem
    try:
        value = sent(one.value, config, kind)
    except ValueError as error:
        return str(error)
    try:
        as_batch([value], signature)
    except InvalidArgument as error:
        value = error.value
        if error.argument.endswith(".shape") and isinstance(value, tuple):
            return f"has the shape {value[1:]}, which {without_axes(error.problem)}"
        where = error.argument.removeprefix("instances").replace("[:]", "")
        where = re.sub(r"\[0(?:, ([^\]]*))?\]", lambda at: f"[{at[1]}]" if at[1] else "", where, count=1)
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        return f"holds {shown}{f' at {where}' if where else ''}, which {error.problem}"
    return _true_or_false(value, signature)


def _true_or_false(value: Any, signature: Signature | None) -> str | None:
    """Truth among numbers: an array takes it for 0 and 1, and a line goes to the model as it is written."""
    inputs = {} if signature is None else signature.inputs
    for name, spec in inputs.items():
        own = value.get(name) if isinstance(value, dict) else value
        if isinstance(first_leaf(own), bool) and spec.dtype not in ("bool", "string"):
            return f"holds {first_leaf(own)}, which {unfit(spec)}"
    return None


def _csv_remedy(columns: Sequence[str], signature: Signature, config: InstanceConfig) -> str:
    """How rows become what the model takes."""
    own = [name for name in columns if name != config.key_field]
    as_objects = "" if config.instance_type == "object" else ", and add instance_type='object'"
    if sorted(own) == sorted(signature.inputs) and as_objects:
        return "add instance_type='object', for rows by the names of their columns"
    if all(spec.shape is not None and len(spec.shape) == 1 for spec in signature.inputs.values()):
        return f"have the columns {', '.join(signature.inputs)}{as_objects}"
    return f"have rows that are {_one_instance(signature)}, or write jsonl"


def _one_instance(signature: Signature) -> str:
    """``float32[28, 28]``, or ``{"a": float32[2], "b": string[]}``."""

    def shown(spec: TensorSpec) -> str:
        if spec.dtype == "string":
            kind = 'text or {"b64": ...}'
            return kind if spec.shape is not None and len(spec.shape) == 1 else f"a list of {kind}"
        axes = (
            "..." if spec.shape is None else ", ".join("?" if n is None else str(n) for n in spec.shape[1:])
        )
        return f"{spec.dtype}[{axes}]" if axes else spec.dtype

    parts = [f'"{name}": {shown(spec)}' for name, spec in signature.inputs.items()]
    return shown(next(iter(signature.inputs.values()))) if len(parts) == 1 else f"{{{', '.join(parts)}}}"
