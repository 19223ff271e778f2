"""What the model is sent for a record, and what stands for it in the results.

Neither is parsed and written anew where nothing has to change: their bytes go into requests and results as
they are. So each must be JSON all by itself: two broken lines must not make up two whole ones.

Of lines of nothing but numbers that need not be looked at beforehand: the model server parses the request.
They hold no strings, and as many opening as closing brackets. So where the request is JSON, the commas
between lines are outside of all brackets, and every line is one JSON value or several; that it is not several
is told by the number of predictions. Objects with one name and no string or object below it are safe, too:
the first closing brace can only close the first opening one.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import orjson
import simdjson
from google.rpc import code_pb2

from vertexkit import json_text
from vertexkit.batch_lines import BOM, MOST_RECORD_BYTES
from vertexkit.emulator.batch.csv_rows import BadRow, CsvHeader, row_array, row_values
from vertexkit.emulator.batch.inputs import InputFile
from vertexkit.emulator.batch.records import Fault, Record
from vertexkit.emulator.batch.types import BatchSpec, InputFormat, InputMissing, Instances, Sources

INSTANCE, KEY = b"instance", b"key"
_SCHEME = "gs://"
_TF_RECORDS = (InputFormat.TF_RECORD, InputFormat.TF_RECORD_GZIP)
_LARGE_BYTES = 256
_TOO_DEEP = "Not JSON: it is nested too deeply"


class Instance(NamedTuple):
    """One instance, as JSON."""

    sent: bytes
    """What the model is sent."""
    shown: bytes
    """What stands for it in the results."""
    member: bytes = INSTANCE
    """Under which name."""
    unchecked: bool = False
    """Whether it is only JSON if the model server takes it for it."""


class Together(NamedTuple):
    """The instances of a lot."""

    sent: list[bytes]
    """What the model is sent for each."""
    shown: list[bytes]
    """What stands for each in the results."""
    member: bytes
    """Under which name."""


class BadInstance(Exception):
    """A record of which no instance can be made.

    Attributes:
        fault: Why.
    """

    def __init__(self, message: str, code: int = code_pb2.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.fault = Fault(code, message)


class InstanceMaker:
    """Makes instances of records. For one thread.

    Args:
        spec: How inputs are written, and how they become instances.
        sources: Opens the files of a list.

    Raises:
        ValueError: ``spec`` asks for keys or fields of records that have none.
    """

    def __init__(self, spec: BatchSpec, sources: Sources) -> None:
        self._wanted = spec.instances
        self._sources = sources
        self._parser = simdjson.Parser()
        self._key_head = b'{%b:"' % orjson.dumps(spec.instances.key_field)
        self._key_member = self._key_head[1:-1]
        self._trusts = True
        self.make: Callable[[bytes, InputFile], Instance] = self._maker(spec)
        """Makes the instance of what a record without a fault holds; raises BadInstance."""

    def make_all(self, payloads: list[bytes], file: InputFile) -> Together | None:
        """The instances of records of one file without faults; None where one of them is none."""
        if self.make == self._bytes:
            sent = list(map(_base64, payloads))
            return Together(sent, sent, INSTANCE)
        try:
            made = [self.make(payload, file) for payload in payloads]
        except BadInstance:
            return None
        # With a key field, all are known by their keys, or none is one.
        return Together([one.sent for one in made], [one.shown for one in made], made[0].member)

    def known_by_key(self, record: Record) -> Instance | None:
        """What stands for a record that was not read whole; None where its key is not plain to see."""
        key = self._leading_key(record.payload) if self._wanted.key_field else None
        return None if key is None else Instance(b"", b'"%b"' % key, KEY)

    def check(self, record: Record) -> None:
        """Look at a line of which an unchecked instance was made, and which was refused.

        Raises:
            BadInstance: It is no JSON. More of that kind are likely, and will be checked before.
        """
        try:
            self._check(record.payload)
        except BadInstance:
            self._trusts = False
            raise

    def _maker(self, spec: BatchSpec) -> Callable[[bytes, InputFile], Instance]:
        wanted, has_fields = spec.instances, spec.input_format in (InputFormat.JSONL, InputFormat.CSV)
        if wanted.included and wanted.excluded:
            raise ValueError("included_fields and excluded_fields exclude each other")
        if not has_fields and (wanted.key_field or wanted.included or wanted.excluded):
            raise ValueError(f"the records of {spec.input_format} have no fields")
        selected = bool(wanted.included or wanted.excluded)
        if spec.input_format is InputFormat.JSONL:
            if wanted == Instances():
                return self._line
            return self._keyed_line if wanted == Instances(key_field=wanted.key_field) else self._changed_line
        if spec.input_format is InputFormat.CSV:
            plain = not (selected or wanted.key_field or wanted.instance_type == "object")
            return self._row if plain else self._changed_row
        return self._bytes if spec.input_format in _TF_RECORDS else self._file

    def _line(self, line: bytes, file: InputFile) -> Instance:
        if self._trusts and _is_plain(line):
            return Instance(line, line, unchecked=True)
        self._check(line)
        return Instance(line, line)

    def _keyed_line(self, line: bytes, file: InputFile) -> Instance:
        """Cuts the key out where it is a plain string and comes first, as vertexkit writes it."""
        key = self._leading_key(line)
        if key is None or line.count(self._key_member) != 1:
            return self._changed_line(line, file)
        rest = line[len(self._key_head) + len(key) + 2 :]
        unchecked = self._trusts and _is_plain_field(rest)
        if not unchecked:
            self._check(line)
        return Instance(b"{%b" % rest, b'"%b"' % key, KEY, unchecked)

    def _leading_key(self, line: bytes) -> bytes | None:
        """An object's key, where it comes first and is a string of letters, digits, ``-`` and ``_``."""
        begin = len(self._key_head)
        end = line.find(b'",', begin) if line.startswith(self._key_head) else -1
        key = line[begin:end]
        return key if end >= 0 and key.translate(None, b"-_").isalnum() else None

    def _changed_line(self, line: bytes, file: InputFile) -> Instance:
        self._check(line)
        try:
            fields = _fields(line)
        except RecursionError:
            raise BadInstance(_TOO_DEEP) from None
        if fields is not None:
            return self._selected(fields, line, as_array=False)
        wanted = self._wanted
        if wanted.key_field or wanted.included or wanted.excluded or wanted.instance_type == "object":
            raise BadInstance("instance_config needs an object in every line, and this is none")
        return Instance(line, line)

    def _row(self, row: bytes, file: InputFile) -> Instance:
        try:
            array = row_array(row, len(_header(file).names), self._parser)
        except BadRow as error:
            raise BadInstance(str(error)) from None
        return Instance(array, array)

    def _changed_row(self, row: bytes, file: InputFile) -> Instance:
        names = _header(file).names
        try:
            values = row_values(row, len(names))
        except BadRow as error:
            raise BadInstance(str(error)) from None
        as_array = self._wanted.instance_type != "object"
        fields = dict(zip(names, values, strict=True))
        whole = _array(values) if as_array else _object(fields)
        return self._selected(fields, whole, as_array=as_array)

    def _selected(self, fields: dict[str, bytes], whole: bytes, *, as_array: bool) -> Instance:
        wanted = self._wanted
        key = fields.pop(wanted.key_field, None) if wanted.key_field else None
        if wanted.key_field and key is None:
            raise BadInstance(f"there is no field {wanted.key_field!r}, the instance_config.key_field")
        if wanted.included:
            missing = [name for name in wanted.included if name not in fields and name != wanted.key_field]
            if missing:
                raise BadInstance(f"there is no field {missing[0]!r}, one of instance_config.included_fields")
            fields = {name: fields[name] for name in wanted.included if name != wanted.key_field}
        for name in wanted.excluded:
            fields.pop(name, None)
        as_array = as_array or wanted.instance_type == "array"
        sent = _array(list(fields.values())) if as_array else _object(fields)
        return Instance(sent, whole) if key is None else Instance(sent, key, KEY)

    def _bytes(self, content: bytes, file: InputFile) -> Instance:
        sent = _base64(content)
        return Instance(sent, sent)

    def _file(self, line: bytes, file: InputFile) -> Instance:
        uri = _text(line).strip('"')
        shown = orjson.dumps(uri)
        if not uri.startswith(_SCHEME):
            raise BadInstance(f"{uri[:_LARGE_BYTES]!r} is not the gs:// URI of a file")
        try:
            with self._sources.open(uri) as opened:
                content = opened.read(MOST_RECORD_BYTES + 1)
        except InputMissing as error:
            raise BadInstance(str(error), code_pb2.NOT_FOUND) from None
        if len(content) > MOST_RECORD_BYTES:
            raise BadInstance(f"the file is longer than {MOST_RECORD_BYTES >> 20} MiB")
        return Instance(_base64(content), shown)

    def _check(self, line: bytes) -> None:
        """Raise BadInstance where ``line`` is not one JSON value."""
        if line.startswith(BOM):
            # simdjson skips it, which is right only where a file begins.
            raise BadInstance("Not JSON: it begins with a byte order mark")
        try:
            self._parser.parse(line)
        except (ValueError, RuntimeError):
            # Some JSON is too much for simdjson, such as integers of 65 bits.
            _loads_strictly(line)


def raw_instance(record: Record, file: InputFile) -> bytes:
    """What stands in the errors for a record that is no instance: its text as JSON, or its file's URI."""
    if record.fault is not None and record.fault.of_file:
        return orjson.dumps(file.uri)
    return orjson.dumps(_text(record.payload))


def _is_plain(line: bytes) -> bool:
    """Whether there are no strings in it, and its brackets may match."""
    return b'"' not in line and _is_balanced(line)


def _is_plain_field(rest: bytes) -> bool:
    """Whether it is what may be left of an object with one name, and with no strings or objects below it."""
    return (
        rest.startswith(b'"')
        and rest.find(b'"', rest.find(b'"', 1) + 1) < 0
        and rest.find(b"}") == len(rest) - 1
        and b"{" not in rest
        and b"\\" not in rest
    )


def _is_balanced(text: bytes) -> bool:
    first = text.find(b"[")
    if first >= 0 and text.find(b"[", first + 1) < 0:
        # Looking for a byte is several times as quick as counting it.
        return text.find(b"]") == text.rfind(b"]") >= 0
    return text.count(b"[") == text.count(b"]")


def _fields(line: bytes) -> dict[str, bytes] | None:
    """The JSON of every field of an object; None for anything else."""
    value = json_text.loads(line)
    if not isinstance(value, dict):
        return None
    return {name: json_text.dumps(item) for name, item in value.items()}


def _header(file: InputFile) -> CsvHeader:
    assert file.header is not None, "every CSV file is read with its header"
    return file.header


def _array(values: list[bytes]) -> bytes:
    return b"[%b]" % b",".join(values)


def _object(fields: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (json_text.dumps(name), value) for name, value in fields.items())


def _base64(content: bytes) -> bytes:
    return b'{"b64":"%b"}' % binascii.b2a_base64(content, newline=False)


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _loads_strictly(line: bytes) -> None:
    try:
        json.loads(line.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise BadInstance(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        # Its own words name a line, which is always the first.
        raise BadInstance(f"Not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError as error:
        raise BadInstance(f"Not JSON: byte {error.start + 1} is not UTF-8 text") from None
    except ValueError as error:
        raise BadInstance(f"Not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
