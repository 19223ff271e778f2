"""The format of instances in files, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from vertexkit.batch_input import FORMATS
from vertexkit.errors import Finding

__all__ = ["IMAGE", "Kind", "check_format", "common_kind", "is_data", "kind_of_name"]

IMAGE: Final = "image"

Kind = Literal["jsonl", "csv", "tf-record", "tf-record-gzip", "file-list", "image"]
"""A format of instances, or a file that is itself an instance."""

_SUFFIXES: Final[dict[str, Kind]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    ".csv": "csv",
    **dict.fromkeys((".tfrecord", ".tfrecords", ".tfrec"), "tf-record"),
    **dict.fromkeys((".tfrecord.gz", ".tfrecords.gz", ".tfrec.gz"), "tf-record-gzip"),
    ".txt": "file-list",
    **dict.fromkeys(
        (".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".heic", ".heif", ".ico"),
        "image",
    ),
}
_OF_SHARDS: Final = re.compile(r"-\d{5,}-of-\d{5,}")
_REMEDY: Final = f"say what it is, with format={' or '.join(map(repr, FORMATS[:-1]))}"


def kind_of_name(name: str) -> Kind | None:
    """What the name of a file or object says that is in it; None where it says nothing.

    The number of a shard, as TensorFlow writes it, is no part of the name: ``a.tfrecord-00000-of-00002``.
    """
    base = _OF_SHARDS.sub("", name.rpartition("/")[2].lower())
    return next((kind for suffix, kind in _SUFFIXES.items() if base.endswith(suffix)), None)


def is_data(relative: str) -> bool:
    """Whether a file of a folder is meant as data: hidden ones and marks such as ``_SUCCESS`` are not."""
    return not any(part.startswith((".", "_")) or not part for part in relative.split("/"))


def check_format(given: object) -> list[Finding]:
    """Whether ``format`` is one."""
    if given is None or given in FORMATS:
        return []
    return [Finding("format", given, "is not a format of instances", f"use {', '.join(map(repr, FORMATS))}")]


def common_kind(
    argument: str, source: object, names: Sequence[str], wanted: str | None
) -> tuple[Kind | None, list[str], list[Finding]]:
    """What is in the files of one source, which must be of one kind.

    Args:
        argument: What the caller calls the source.
        source: What the caller gave, for messages.
        names: The files' names.
        wanted: The format that the caller says, a proper one; it goes before the names.

    Returns:
        The kind, the names of the files that are of it, and what is wrong.
    """
    kinds = {name: kind_of_name(name) for name in names}
    if wanted is not None:
        return _as_wanted(kinds, wanted)
    found = set(kinds.values())
    if len(found) > 1:
        problem = f"holds files of several kinds: {_counted(kinds)}"
        remedy = "pass a pattern for those that are meant, or say which, with format="
        return None, [], [Finding(argument, source, problem, remedy)]
    kind = found.pop() if found else None
    if kind is None:
        packed = names and all(name.endswith((".gz", ".zip", ".bz2", ".xz", ".zst")) for name in names)
        problem = "is packed, and only TFRecord files may be" if packed else "has a name that tells no format"
        return None, [], [Finding(argument, source, problem, "unpack it" if packed else _REMEDY)]
    return kind, list(names), []


def _as_wanted(kinds: dict[str, Kind | None], wanted: str) -> tuple[Kind | None, list[str], list[Finding]]:
    """The files whose names say what the caller says; where none does all, whose names say nothing."""
    same: tuple[str, ...] = (wanted, IMAGE) if wanted == "file-list" else (wanted,)
    of_it = [name for name, kind in kinds.items() if kind in same]
    chosen = of_it or list(kinds)
    if wanted != "file-list":
        return wanted, chosen, []  # type: ignore[return-value]  # one of FORMATS that files have
    lists = [name for name in chosen if kinds[name] == "file-list"]
    return ("file-list", lists, []) if lists else (IMAGE, chosen, [])


def _counted(kinds: Mapping[str, Kind | None]) -> str:
    """``3 jsonl (a.jsonl, ...), 1 of no known kind (README.md)``."""
    named: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        named.setdefault(kind or "of no known kind", []).append(name)
    return ", ".join(
        f"{len(names)} {kind} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for kind, names in named.items()
    )
