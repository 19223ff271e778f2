"""Instances that are in Cloud Storage or BigQuery already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vertexkit._core.names import parse_gcs_uri
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit.batch_format import Kind, common_kind, is_data
from vertexkit.batch_uris import below, expanded, is_pattern
from vertexkit.bucket_checks import check_bucket
from vertexkit.errors import Finding, NotFound, PermissionDenied
from vertexkit.preflight import is_refused

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.values import ObjectInfo

__all__ = ["RemoteFiles", "check_bigquery", "find_objects"]

_TABLE: Final = re.compile(r"bq://[^\s./]+(?:\.[^\s./]+){2}")


@dataclass(frozen=True)
class RemoteFiles:
    """The objects of a source."""

    kind: Kind
    uris: tuple[str, ...]
    """What the job is told: URIs of objects, and patterns."""
    objects: tuple[ObjectInfo, ...]
    """What they stand for, in order; empty where nobody could be asked."""


def check_bigquery(argument: str, source: str, wanted: str | None) -> list[Finding]:
    """Whether this is a table that a job can read."""
    findings = []
    if not _TABLE.fullmatch(source):
        findings.append(Finding(argument, source, "is no table", "write bq://project.dataset.table"))
    if wanted not in (None, "bigquery"):
        findings.append(Finding("format", wanted, "is not the format of a table", "leave it out"))
    return findings


def find_objects(
    context: Context | None, argument: str, source: str | Sequence[str], wanted: str | None
) -> tuple[RemoteFiles | None, list[Finding]]:
    """The objects that URIs, folders and patterns mean.

    Args:
        context: The session's parts; None to ask nobody what is there.
        argument: What the caller calls them.
        source: One URI, or several.
        wanted: The format that the caller says, a proper one.

    Returns:
        The objects, all of one kind, and what is wrong with them.
    """
    given = [source] if isinstance(source, str) else list(source)
    uris: list[str] = []
    objects: list[ObjectInfo] = []
    findings: list[Finding] = []
    for number, text in enumerate(given):
        where = argument if isinstance(source, str) else f"{argument}[{number}]"
        told, found, wrong = _at(context, where, text)
        uris += told
        objects += found
        findings += wrong
    if context is not None and not findings:
        findings += _check_buckets(context, argument, uris)
    if is_refused(findings):
        return None, findings
    names = [one.uri for one in objects] or uris
    kind, chosen, wrong = common_kind(argument, source, names, wanted)
    findings += wrong
    if kind is None:
        return None, findings
    if len(chosen) < len(names):
        wanted_names = set(chosen)
        objects = [one for one in objects if one.uri in wanted_names]
        uris = list(chosen)
    if objects and not any(one.size for one in objects):
        findings.append(Finding(argument, source, "is empty: it holds no instances"))
    return RemoteFiles(kind, tuple(uris), tuple(objects)), findings


def _at(  # noqa: PLR0911 - one return per kind of URI
    context: Context | None, where: str, text: str
) -> tuple[list[str], list[ObjectInfo], list[Finding]]:
    """What the job is to be told of one URI, and the objects that it stands for."""
    try:
        uri = parse_gcs_uri(text)
    except ValueError as error:
        return [], [], [Finding(where, text, str(error))]
    if context is None:
        return [text], [], []
    try:
        if is_pattern(uri.name):
            return [text], [one for one in expanded(context, [text]) if not one.name.endswith("/")], []
        api = ObjectsApi(context, uri.bucket)
        found = None if not uri.name or uri.name.endswith("/") else api.find(uri.name)
        if found is not None:
            return [text], [found], []
        prefix = f"{uri.name.rstrip('/')}/" if uri.name else ""
        inside = [one for one in below(context, uri) if is_data(one.name.removeprefix(prefix))]
    except NotFound:
        problem = "matches no object" if is_pattern(uri.name) else "is in a bucket that does not exist"
        return [], [], [Finding(where, text, problem)]
    except PermissionDenied:
        return [text], [], []  # the account that the job runs as may well be allowed to
    if not inside:
        return [], [], [Finding(where, text, "does not exist")]
    return [one.uri for one in inside], inside, []


def _check_buckets(context: Context, argument: str, uris: Sequence[str]) -> list[Finding]:
    """Whether the buckets are where the job runs."""
    first = {parse_gcs_uri(uri).bucket: uri for uri in reversed(uris)}
    return [found for uri in first.values() for found in check_bucket(context, argument, uri)]
