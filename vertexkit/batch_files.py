"""Local files of instances: which there are, and what is sent of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import simdjson

from vertexkit._transfer.local_tree import LocalFile, local_path, read_tree, reason, shown
from vertexkit.batch_csv import cells
from vertexkit.batch_format import Kind, common_kind, is_data
from vertexkit.batch_lines import BLANKS, BOM, MOST_RECORD_BYTES
from vertexkit.batch_samples import Sample
from vertexkit.batch_uris import is_pattern
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.instances import is_b64
from vertexkit.tf_record import CHECK_BYTES, LENGTH_BYTES, length_of

__all__ = [
    "Block",
    "LocalFiles",
    "Origin",
    "Refused",
    "blocks",
    "columns",
    "find_files",
    "head_of",
    "header",
    "keyed_blocks",
    "record_blocks",
    "refused_sample",
]

_BLOCK_BYTES: Final = 1024 * 1024
_SHOWN_BYTES: Final = 1000


@dataclass(frozen=True)
class LocalFiles:
    """The files of a source, in the order of their instances."""

    kind: Kind
    files: tuple[LocalFile, ...]
    root: Path
    """The folder that they are below, after which their upload is called; of a list the working folder."""


@dataclass(frozen=True)
class Refused:
    """An instance that is not sent, since it is none."""

    index: int
    """Its position in the input."""
    text: str
    """What is there in its place."""
    reason: str


@dataclass(frozen=True)
class Origin:
    """Where an instance is on this machine, and those after it, one a line or record, up to the next one."""

    index: int
    """Its position in the input."""
    file: str
    number: int | None = None
    """Of the line or record, from 1; None where the file is itself the instance."""


@dataclass
class Block:
    """Whole lines of a file."""

    data: bytes = b""
    count: int = 0
    """How many instances they are, with those that are refused."""
    refused: list[Refused] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    """By position in the block."""


def find_files(
    argument: str, source: str | os.PathLike[str] | Sequence[os.PathLike[str]], wanted: str | None
) -> tuple[LocalFiles | None, list[Finding]]:
    """The files that a path, a folder, a pattern or a list of paths means.

    Args:
        argument: What the caller calls it.
        source: What the caller gave.
        wanted: The format that the caller says, a proper one.

    Returns:
        The files, all of one kind, and what is wrong with them.
    """
    if isinstance(source, str | os.PathLike):
        root, files, findings = _at(argument, source)
    else:
        root, files, findings = Path(), [], []
        for number, path in enumerate(source):
            _, found, wrong = _single(f"{argument}[{number}]", path)
            # Names that are unique, and that sort as the caller has them.
            files += [LocalFile(one.path, f"{number:06d}-{one.relative}", one.size) for one in found]
            findings += wrong
    if findings:
        return None, findings
    kind, names, findings = common_kind(argument, _value(source), [file.relative for file in files], wanted)
    if kind is None:
        return None, findings
    chosen = set(names)
    files = [file for file in files if file.relative in chosen]
    if not any(file.size for file in files):
        return None, [Finding(argument, _value(source), "is empty: it holds no instances")]
    return LocalFiles(kind, tuple(files), root), findings


def keyed_blocks(files: Sequence[LocalFile], key_field: str, name: str) -> Iterator[Block]:
    """The lines of JSON files, each with its position written into it and otherwise as it is.

    Args:
        files: The files.
        key_field: The field for the position.
        name: The model's input that a line which is no object of inputs is for.

    Raises:
        OSError: A file cannot be read.
    """
    parser = simdjson.Parser()
    key, named = orjson.dumps(key_field), orjson.dumps(name)
    index, block, parts, held = 0, Block(), [], 0
    for file in files:
        following = 0
        for number, raw in enumerate(_lines(file), start=1):
            line = raw.strip(BLANKS)
            if not line:
                continue
            if number != following:
                block.origins.append(Origin(block.count, shown(file.path), number))
            following = number + 1
            reason = _why_refused(line)
            if reason is None:
                kind, reason = _kind(parser, line, key_field)
            if reason is not None:
                text = line[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
                block.refused.append(Refused(index, text, reason))
            elif kind == "value":
                parts.append(b'{%b:"%d",%b:%b}\n' % (key, index, named, line))
            elif kind == "empty":
                parts.append(b'{%b:"%d"}\n' % (key, index))
            else:
                parts.append(b'{%b:"%d",%b\n' % (key, index, line[1:]))
            index += 1
            block.count += 1
            held += len(line)
            if held >= _BLOCK_BYTES:
                block.data = b"".join(parts)
                yield block
                block, parts, held = Block(), [], 0
    if block.count:
        block.data = b"".join(parts)
        yield block


def blocks(file: LocalFile, start: int = 0, number: int = 1) -> Iterator[Block]:
    """The lines of a file as they are, each with an end, and without a byte order mark before the first.

    Of a line that is too long, no more is given than shows that: the job lists it as such.

    Args:
        file: The file.
        start: The byte to begin at.
        number: Of the line that begins there.

    Raises:
        OSError: The file cannot be read.
    """
    with file.path.open("rb") as opened:
        opened.seek(start)
        parts = [opened.read(len(BOM)).removeprefix(BOM)] if start == 0 else []
        held = 0
        while data := opened.read(_BLOCK_BYTES):
            cut = data.rfind(b"\n") + 1
            if not cut:
                parts.append(data)
                held += len(data)
                if held <= MOST_RECORD_BYTES:
                    continue
                _skip_line(opened)
                data, cut = b"\n", 1
            whole = b"".join((*parts, data[:cut]))
            parts, held = [data[cut:]], len(data) - cut
            yield _block(whole, file, number)
            number += whole.count(b"\n")
        rest = b"".join(parts)
        if rest.strip(BLANKS):
            yield _block(rest if rest.endswith(b"\n") else rest + b"\n", file, number)


def record_blocks(file: LocalFile) -> Iterator[Block]:
    """The records of a TFRecord file as they are.

    Behind a broken frame nothing can be told apart any more: of the rest, no more is given than shows that.

    Raises:
        OSError: The file cannot be read.
    """
    parts: list[bytes] = []
    held, number = 0, 1
    with file.path.open("rb", buffering=_BLOCK_BYTES) as opened:
        while head := opened.read(LENGTH_BYTES):
            length = length_of(head, MOST_RECORD_BYTES)
            rest = b"" if length is None else opened.read(length + CHECK_BYTES)
            parts += (head, rest)
            held += len(head) + len(rest)
            is_broken = length is None or len(rest) < length + CHECK_BYTES
            if held >= _BLOCK_BYTES or is_broken:
                yield Block(b"".join(parts), len(parts) // 2, origins=[Origin(0, shown(file.path), number)])
                number += len(parts) // 2
                parts, held = [], 0
            if is_broken:
                return
        if parts:
            yield Block(b"".join(parts), len(parts) // 2, origins=[Origin(0, shown(file.path), number)])


def header(file: LocalFile) -> tuple[bytes, int, int]:
    """The first line of a CSV file, with an end, and byte and number of the next.

    Raises:
        InvalidArgument: It is longer than any line may be.
        OSError: The file cannot be read.
    """
    position = 0
    with file.path.open("rb") as opened:
        lines = iter(partial(opened.readline, MOST_RECORD_BYTES + 2), b"")
        for number, line in enumerate(lines, start=1):
            if len(line) > MOST_RECORD_BYTES:
                problem = f"has a first line of more than {MOST_RECORD_BYTES:,} bytes, and is no CSV"
                raise InvalidArgument("source", shown(file.path), problem)
            position += len(line)
            bare = line.removeprefix(BOM)
            if bare.strip(BLANKS):
                return bare if bare.endswith(b"\n") else bare + b"\n", position, number + 1
    return b"", position, 1


def columns(first: bytes) -> list[str]:
    """The names in the first line of a CSV file; none if that is no row, and a job reads nothing of it."""
    try:
        return [name for name, _ in cells(first.strip(BLANKS))] if first else []
    except ValueError:
        return []


def head_of(file: LocalFile, most: int) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether they are all."""
    with file.path.open("rb") as opened:
        content = opened.read(most)
        return content, not opened.read(1)


def refused_sample(error: OSError) -> Sample:
    """A file that cannot be read."""
    return Sample("the file", problem=f"cannot be read: {reason(error)}")


def _kind(  # noqa: PLR0911 - one return per kind
    parser: simdjson.Parser, line: bytes, key_field: str
) -> tuple[str, str | None]:
    """Whether a line is an object of inputs or the value of one, or why it is neither."""
    try:
        value = parser.parse(line)
    except (ValueError, RuntimeError):
        pass
    else:
        if not isinstance(value, simdjson.Object):
            return "value", None
        keys = list(value.keys())
        if keys == ["b64"] and isinstance(value["b64"], str):
            return "value", None
        if key_field in keys:
            return "", f"has the field {key_field!r}, which is for its position"
        return ("object" if keys else "empty"), None
    try:
        # What simdjson does not take may be JSON all the same: a whole number of more than 64 bits.
        loaded = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return "", f"is not JSON: {error}"
    if not isinstance(loaded, dict) or is_b64(loaded):
        return "value", None
    if key_field in loaded:
        return "", f"has the field {key_field!r}, which is for its position"
    return ("object" if loaded else "empty"), None


def _block(whole: bytes, file: LocalFile, number: int) -> Block:
    """Whole lines, of which the first has a number."""
    block, following = Block(whole), 0
    for at, line in enumerate(whole.split(b"\n"), start=number):
        if line.strip(BLANKS):
            if at != following:
                block.origins.append(Origin(block.count, shown(file.path), at))
            following = at + 1
            block.count += 1
    return block


def _why_refused(line: bytes) -> str | None:
    if len(line) > MOST_RECORD_BYTES:
        return f"is longer than {MOST_RECORD_BYTES:,} bytes"
    # simdjson would skip it, and it is no JSON: only in front of the first line does it mean something.
    return "is not JSON: it begins with a byte order mark" if line.startswith(BOM) else None


def _lines(file: LocalFile) -> Iterator[bytes]:
    """The lines of a file; of one that is too long, no more than shows that."""
    with file.path.open("rb", buffering=_BLOCK_BYTES) as opened:
        first = opened.readline(MOST_RECORD_BYTES + 2)
        line = first.removeprefix(BOM)
        while line or first:
            first = b""
            yield line
            if len(line) > MOST_RECORD_BYTES and not line.endswith(b"\n"):
                _skip_line(opened)
            line = opened.readline(MOST_RECORD_BYTES + 2)


def _skip_line(opened: BinaryIO) -> None:
    while (part := opened.readline(_BLOCK_BYTES)) and not part.endswith(b"\n"):
        pass


def _at(argument: str, source: str | os.PathLike[str]) -> tuple[Path, list[LocalFile], list[Finding]]:
    """The files at a path, in a folder, or that match a pattern."""
    try:
        path = local_path(argument, source)
    except InvalidArgument as error:
        return Path(), [], [Finding(argument, error.value, error.problem)]
    if path.is_dir():
        return _in_folder(argument, path, path, "**/*")
    if not path.exists() and is_pattern(str(path)):
        wild = next(number for number, part in enumerate(path.parts) if is_pattern(part))
        folder = Path(*path.parts[:wild])
        return _in_folder(argument, path, folder, "/".join(path.parts[wild:]))
    return _single(argument, path)


def _in_folder(
    argument: str, given: Path, folder: Path, pattern: str
) -> tuple[Path, list[LocalFile], list[Finding]]:
    try:
        tree = read_tree(folder, pattern, "")
    except OSError as error:
        return folder, [], [Finding(argument, str(given), f"cannot be read: {reason(error)}")]
    except InvalidArgument as error:
        return folder, [], [Finding(argument, str(given), error.problem, error.remedy)]
    findings = [
        Finding(argument, path, why)
        for path, why in tree.failures.items()
        if is_data(path.rpartition("/")[2])
    ]
    files = [file for file in tree.files if is_data(file.relative)]
    if not files and not findings:
        problem = "holds no files of instances" if pattern == "**/*" else "matches no file"
        findings.append(Finding(argument, str(given), problem))
    return folder, files, findings


def _single(argument: str, given: os.PathLike[str] | str) -> tuple[Path, list[LocalFile], list[Finding]]:
    path = Path(given)
    try:
        status = path.stat()
    except OSError as error:
        problem = (
            "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {reason(error)}"
        )
        return path, [], [Finding(argument, str(given), problem)]
    if not stat.S_ISREG(status.st_mode):
        what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is a pipe, socket or device"
        return path, [], [Finding(argument, str(given), f"{what}, not a file")]
    if not os.access(path, os.R_OK):
        return path, [], [Finding(argument, str(given), "cannot be read: Permission denied")]
    return path.parent, [LocalFile(path, path.name, status.st_size)], []


def _value(source: object) -> object:
    return shown(os.fspath(source)) if isinstance(source, str | os.PathLike) else source
