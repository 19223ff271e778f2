"""Understands what a caller of ``batch_predict`` passes as its source. Sends nothing until it is staged."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.names import is_gcs_uri, parse_gcs_uri
from vertexkit._transfer.gzipped import NotGzip
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit.batch_checks import check_config
from vertexkit.batch_files import LocalFiles, find_files, head_of, refused_sample
from vertexkit.batch_format import IMAGE, check_format
from vertexkit.batch_input import BatchInput, InstanceConfig, own_key_field
from vertexkit.batch_lines import BOM
from vertexkit.batch_remote import RemoteFiles, check_bigquery, find_objects
from vertexkit.batch_rows import Rows, rows_of
from vertexkit.batch_samples import HEAD_BYTES, Sample, check_samples, samples
from vertexkit.batch_staging import Send, Staging, staged
from vertexkit.batch_uris import head
from vertexkit.errors import Finding, NotFound, PermissionDenied
from vertexkit.preflight import is_refused

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.types import Signature

__all__ = ["Understood", "understand_source"]

_MOST_FILES: Final = 4
"""Of so many files, the first instances are looked at."""
_LONG_HEAD_BYTES: Final = 64 * HEAD_BYTES


@dataclass(frozen=True)
class Understood:
    """A source, looked at before anything is sent."""

    findings: tuple[Finding, ...]
    """What is wrong with it. While there is an error among them, there is nothing to stage."""
    format: str
    """Of the instances as the job will read them; empty where that is not to be told."""
    stem: str
    """What a job on it may be called: ``images`` of ``images.jsonl``."""
    count: int | None
    """How many instances there are, where that is known without reading them all."""
    batch_size: int | None
    """How many instances each request must hold, for a model of a fixed batch size."""
    ready: BatchInput | None
    """What is in the cloud already, and needs no staging."""
    _send: Send | None

    @property
    def is_local(self) -> bool:
        """Whether something is to be sent."""
        return self._send is not None

    def stage(self, context: Context, prefix: str) -> BatchInput:
        """Send what is to be sent; see `vertexkit.batch_staging.staged`.

        Args:
            context: The session's parts.
            prefix: A place in the session's bucket where there is nothing yet.
        """
        if self.ready is not None:
            return self.ready
        assert self._send is not None, "a source that was refused"
        return staged(context, prefix, self._send)


def understand_source(
    context: Context | None,
    source: Any,
    *,
    format: str | None = None,
    signature: Signature | None = None,
    config: InstanceConfig = InstanceConfig(),  # noqa: B008 - a value, and frozen
    keyed: bool = True,
    argument: str = "source",
) -> Understood:
    """Look at what is to be predicted.

    Of an iterator, the first instances are taken (and given again when it is staged).

    Args:
        context: The session's parts; None to ask nobody what is in the cloud.
        source: An array of shape (instances, ...), a list or any iterable of instances, a DataFrame, a
            mapping from input names to arrays; the path of a file, folder or pattern, or a list of
            `pathlib.Path`; the ``gs://`` URI of an object, folder or pattern, or a list of them; ``bq://project.dataset.table``.
        format: The format of files whose names do not tell it.
        signature: What the model takes; None where that is not known.
        config: How the job is to make instances for the model.
        keyed: Whether what is written may have each instance's position beside it.
        argument: What the caller calls the source.

    Returns:
        What it is, and everything that is wrong with it.
    """
    findings = check_format(format)
    wanted = None if findings else format
    look = _Look(context, argument, wanted, signature, config, keyed and config.is_default)
    understood = look.at(source)
    return replace(
        understood,
        findings=(*findings, *check_config(config, understood.format), *understood.findings),
        stem=re.sub(r"[^\w.-]+", "-", understood.stem).strip("-.") or "instances",
    )


@dataclass(frozen=True)
class _Look:
    context: Context | None
    argument: str
    wanted: str | None
    signature: Signature | None
    config: InstanceConfig
    keyed: bool

    def at(self, source: Any) -> Understood:  # noqa: PLR0911 - one return per kind of source
        if isinstance(source, str) and source.startswith("bq://"):
            return self._table(source)
        if self.wanted == "bigquery":
            problem = "is the format of a table, and the source is none"
            remedy = "pass bq://project.dataset.table"
            return self._refused([Finding("format", self.wanted, problem, remedy)])
        listed = list(source) if isinstance(source, list | tuple) and source else []
        if isinstance(source, str) and is_gcs_uri(source):
            return self._objects(source)
        if listed and all(isinstance(one, str) and is_gcs_uri(one) for one in listed):
            return self._objects(listed)
        if isinstance(source, str | os.PathLike):
            if str(source).endswith(".npy") and Path(source).is_file():
                return self._array(source)
            return self._files(source)
        if listed and all(isinstance(one, os.PathLike) for one in listed):
            return self._files(listed)
        if any(isinstance(one, os.PathLike) for one in listed):
            problem = "mixes paths with what is none"
            remedy = "pass a list of pathlib.Path, or a list of gs:// URIs"
            return self._refused([Finding(self.argument, listed, problem, remedy)])
        findings = []
        if listed and _are_files(listed):
            problem = "are texts, which are the names of files"
            remedy = "pass [pathlib.Path(name) for name in names], or a pattern"
            as_text = self._takes_text()
            findings.append(Finding(self.argument, listed, problem, remedy, warning=as_text))
            if not as_text:
                return self._refused(findings)
        return self._rows(source, "instances", findings)

    def _takes_text(self) -> bool:
        inputs = () if self.signature is None else self.signature.inputs.values()
        return any(spec.dtype == "string" for spec in inputs)

    def _table(self, source: str) -> Understood:
        ready = BatchInput("bigquery", bigquery=source, config=self.config)
        findings = check_bigquery(self.argument, source, self.wanted)
        return self._understood(findings, "bigquery", source.rpartition(".")[2], ready=ready)

    def _array(self, source: str | os.PathLike[str]) -> Understood:
        import numpy as np

        try:
            values = np.load(source, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            return self._refused([Finding(self.argument, str(source), f"is no array: {error}")])
        return self._rows(values, Path(source).stem)

    def _rows(self, source: Any, stem: str, found: Sequence[Finding] = ()) -> Understood:
        findings = list(found)
        if self.wanted not in (None, "jsonl"):
            problem = "is for files, and instances in memory are written as 'jsonl'"
            findings.append(Finding("format", self.wanted, problem, "leave it out"))
        # Which of their fields the model is sent, the configuration says.
        signature = self.signature if self.config.is_default else None
        rows, wrong = rows_of(self.argument, source, signature, keyed=self.keyed)
        findings += wrong
        if rows is None:
            return self._refused(findings)
        findings += rows.check() or self._check_first(rows)
        if self.config.key_field is not None:
            findings += rows.check_keys(self.config.key_field)

        def send(staging: Staging, rows: Rows = rows) -> BatchInput:
            return staging.rows(rows, self.config)

        return self._understood(findings, "jsonl", stem, count=rows.count, send=send)

    def _check_first(self, rows: Rows) -> list[Finding]:
        """Whether the model takes what the configuration makes of the first instances."""
        if self.config.is_default:
            return []
        found = samples("jsonl", rows.first(), is_whole=True)
        return self._check([("instances", found)], "jsonl")

    def _check(self, found: Sequence[tuple[str, Sequence[Sample]]], kind: str) -> list[Finding]:
        return check_samples(self.argument, found, self.signature, self.config, kind=kind)

    def _files(self, source: str | os.PathLike[str] | Sequence[os.PathLike[str]]) -> Understood:
        files, findings = find_files(self.argument, source, self.wanted)
        if files is None:
            return self._refused(findings)
        if files.kind == IMAGE and self.wanted == "file-list" and _is_list(head_of(files.files[0], 8)[0]):
            files = LocalFiles("file-list", files.files, files.root)
        looked, wrong = self._first_of(files)
        findings += wrong
        given = source if isinstance(source, str | os.PathLike) else files.files[0].path
        stem = _stem(os.fspath(given))
        send: Send
        if files.kind in (IMAGE, "tf-record-gzip"):
            kind, send = (
                files.kind.replace(IMAGE, "file-list"),
                lambda staging: staging.files(files, self.config),
            )
        elif files.kind == "jsonl" and self.keyed and self.signature is not None:
            inputs = list(self.signature.inputs)
            fields = {name for one in looked if isinstance(one.value, dict) for name in one.value}
            key_field = own_key_field([*inputs, *fields])
            kind, send = "jsonl", lambda staging: staging.keyed(files, self.config, key_field, inputs[0])
        else:
            kind, send = files.kind, lambda staging: staging.parts(files, self.config)
        count = len(files.files) if files.kind == IMAGE else None
        return self._understood(findings, kind, stem, count=count, send=send)

    def _first_of(self, files: LocalFiles) -> tuple[list[Sample], list[Finding]]:
        chosen = [file for file in files.files if file.size][:_MOST_FILES]
        reads = [(os.fspath(file.path), partial(head_of, file)) for file in chosen]
        return self._first(files.kind, reads, is_all=len(chosen) == len(files.files))

    def _objects(self, source: str | list[str]) -> Understood:
        files, findings = find_objects(self.context, self.argument, source, self.wanted)
        if files is None or is_refused(findings):
            return self._refused(findings)
        if files.kind == IMAGE and self.wanted == "file-list" and self._is_remote_list(files):
            files = RemoteFiles("file-list", files.uris, files.objects)
        findings += self._first_of_objects(files)[1]
        first = source if isinstance(source, str) else source[0]
        stem = _stem(parse_gcs_uri(first).name or parse_gcs_uri(first).bucket)
        if files.kind == IMAGE:
            uris = tuple(one.uri for one in files.objects) or files.uris
            return self._understood(
                findings,
                "file-list",
                stem,
                count=len(uris),
                send=lambda staging: staging.uris(uris, self.config),
            )
        ready = BatchInput(files.kind, files.uris, config=self.config)
        return self._understood(findings, files.kind, stem, ready=ready)

    def _is_remote_list(self, files: RemoteFiles) -> bool:
        context = self.context
        if context is None or not files.objects:
            return False
        try:
            # Compressed, the first few bytes say nothing.
            return _is_list(head(context, files.objects[0], 1024)[0])
        except NotGzip:
            return False

    def _first_of_objects(self, files: RemoteFiles) -> tuple[list[Sample], list[Finding]]:
        context = self.context
        if context is None:
            return [], []
        chosen = [one for one in files.objects if one.size][:_MOST_FILES]
        reads = [(one.uri, partial(head, context, one)) for one in chosen]
        try:
            return self._first(files.kind, reads, is_all=len(chosen) == len(files.objects))
        except PermissionDenied:
            return [], []  # the account that the job runs as may well be allowed to

    def _first(
        self, kind: str, reads: Sequence[tuple[str, Callable[[int], tuple[bytes, bool]]]], *, is_all: bool
    ) -> tuple[list[Sample], list[Finding]]:
        """The first instances of some files, and what is wrong with them.

        Args:
            kind: What is in the files.
            reads: Name of each, and what reads its head and tells whether that is all of it.
            is_all: Whether there are no others.
        """
        if kind == IMAGE:
            name = reads[0][0] if reads else ""
            return [], self._check([(name, [Sample("it")])], kind)
        every: list[tuple[str, list[Sample]]] = []
        for name, read in reads:
            found: list[Sample] = []
            try:
                for most in (HEAD_BYTES, _LONG_HEAD_BYTES):
                    content, is_whole = read(most)
                    found = samples(kind, content, is_whole=is_whole)
                    if found or is_whole:
                        break
                else:
                    is_all = False
            except OSError as error:
                found = [refused_sample(error)]
            every.append((name, [self._with_file(one) for one in found] if kind == "file-list" else found))
        looked = [one for _, found in every for one in found]
        if not looked and is_all and reads:
            return [], [Finding(self.argument, reads[0][0], "holds no instances")]
        return looked, [
            *_numbers_for_names(self.argument, every),
            *_other_columns(self.argument, every),
            *self._check(every, kind),
        ]

    def _with_file(self, one: Sample) -> Sample:
        """The line of a list, with what is wrong with the file that it names."""
        if one.problem is not None or self.context is None:
            return one
        try:
            uri = parse_gcs_uri(one.value)
            there = bool(uri.name) and ObjectsApi(self.context, uri.bucket).find(uri.name) is not None
        except ValueError as error:
            return Sample(one.place, problem=f"is no URI of a file: {error}")
        except NotFound:
            there = False
        except PermissionDenied:
            return one
        return one if there else Sample(one.place, problem=f"names {one.value}, which does not exist")

    def _refused(self, findings: Sequence[Finding]) -> Understood:
        return Understood(tuple(findings), "", "", None, None, None, None)

    def _understood(
        self,
        findings: Sequence[Finding],
        kind: str,
        stem: str,
        *,
        count: int | None = None,
        ready: BatchInput | None = None,
        send: Send | None = None,
    ) -> Understood:
        size = _fixed_batch(self.signature)
        found = [*findings, *self._check_batch(size, count)]
        return Understood(tuple(found), kind, stem, count, size, ready, send)

    def _check_batch(self, size: int | None, count: int | None) -> Iterator[Finding]:
        if size is None or (count is not None and count % size == 0):
            return
        what = f"a multiple of {size}, the number of instances that the model takes at a time"
        remedy = f"pass a multiple of {size} instances, or export the model with an open batch axis"
        if count is None:
            problem = f"must hold {what}, and how many it holds shows later"
            yield Finding(self.argument, "...", problem, remedy, warning=True)
        else:
            yield Finding(self.argument, count, f"instances are not {what}", remedy)


def _fixed_batch(signature: Signature | None) -> int | None:
    if signature is None:
        return None
    return next((spec.shape[0] for spec in signature.inputs.values() if spec.shape and spec.shape[0]), None)


def _numbers_for_names(argument: str, found: Sequence[tuple[str, Sequence[Sample]]]) -> Iterator[Finding]:
    """Whether the header of a file of CSV looks like its first row."""
    for file, listed in found:
        names = listed[0].columns if listed else ()
        numbered = [str(number) for number in range(len(names) + 1)]
        # What pandas calls columns without names.
        if list(names) in (numbered[:-1], numbered[1:]) or not names or not all(map(_is_number, names)):
            continue
        problem = f"has numbers in its first row, {', '.join(names)[:80]}, which is taken for the header"
        yield Finding(argument, file, problem, "add a row with the names of the columns", warning=True)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _other_columns(argument: str, found: Sequence[tuple[str, Sequence[Sample]]]) -> list[Finding]:
    """Whether files of CSV have the same columns: their rows are sent without their names."""
    columns = {file: list(listed[0].columns) for file, listed in found if listed and listed[0].columns}
    first = next(iter(columns), "")
    return [
        Finding(argument, file, f"has the columns {names}, and {first} has {columns[first]}")
        for file, names in columns.items()
        if names != columns[first]
    ]


def _are_files(listed: Sequence[object]) -> bool:
    try:
        return all(isinstance(one, str) and Path(one).is_file() for one in listed)
    except (OSError, ValueError):  # no path is so long, or holds a NUL
        return False


def _is_list(content: bytes) -> bool:
    return content.removeprefix(BOM).startswith(b"gs://")


def _stem(path: str) -> str:
    """``images`` of ``data/images.jsonl``, ``data`` of ``data/*.jsonl``."""
    parts = [part for part in re.split(r"[\\/]", path) if part]
    named = [part for part in parts if not re.search(r"[*?\[]", part)]
    return re.split(r"\.(?=[A-Za-z])", named[-1])[0] if named else ""
