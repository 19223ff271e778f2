"""Writes wheels of pure Python: the same files always make the same bytes.

Source: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
import secrets
import stat
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Entry", "extended_wheel", "wheel_modules", "write_wheel"]

_VERSION: Final = "1.0"
# The earliest time that a ZIP archive can hold: nothing depends on when a file was written.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_PACKED: Final = (".npz", ".gz", ".zip", ".png", ".jpg", ".jpeg", ".keras", ".tfrecord")
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: vertexkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class Entry:
    """One file of a wheel."""

    name: str
    """Its path in the wheel, with ``/``: ``trainer_scripts/__init__.py``."""
    source: Path | bytes
    """The file that it is a copy of, or its bytes."""

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            OSError: The file cannot be read.
        """
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


def write_wheel(
    folder: Path, distribution: str, entries: Iterable[Entry], requirements: Sequence[str] = ()
) -> Path:
    """Write a wheel of pure Python.

    Args:
        folder: Where to; the file is complete when it has its name.
        distribution: What the wheel is called, in letters, digits and ``_``.
        entries: Its files. Of several with one name the first counts.
        requirements: What pip is to install with it, as PEP 508 writes it.

    Returns:
        The wheel: ``distribution-1.0-py3-none-any.whl``.

    Raises:
        ValueError: An entry's name leads out of the wheel.
        OSError: A file cannot be read, or the wheel not be written.
    """
    info = f"{distribution}-{_VERSION}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {distribution.replace('_', '-')}",
        f"Version: {_VERSION}",
        *(f"Requires-Dist: {text}" for text in requirements),
    ]
    files = {
        f"{info}/METADATA": Entry(f"{info}/METADATA", "\n".join([*metadata, ""]).encode()),
        f"{info}/WHEEL": Entry(f"{info}/WHEEL", _WHEEL.encode()),
    }
    for entry in entries:
        if _leads_out(entry.name):
            raise ValueError(f"{entry.name!r} leads out of the wheel")
        files.setdefault(entry.name, entry)
    return _written(folder / f"{distribution}-{_VERSION}-py3-none-any.whl", info, files)


def extended_wheel(
    wheel: Path, folder: Path, entries: Iterable[Entry], requirements: Sequence[str] = ()
) -> Path:
    """Write a wheel again, with more in it.

    Args:
        wheel: A wheel for any machine.
        folder: Where to.
        entries: Files to add. What the wheel has already it keeps.
        requirements: What pip is to install with it, beside what it asks for itself.

    Returns:
        The new wheel, of the same name.

    Raises:
        ValueError: It is no wheel, it holds compiled code, or a file's name in it leads out of it.
        OSError: It cannot be read, or the new one not be written.
    """
    files: dict[str, Entry] = {}
    info = ""
    with _opened(wheel) as archive:
        for member in archive.infolist():
            name = member.filename
            if name.endswith("/"):
                continue
            if _leads_out(name):
                raise ValueError(f"holds {name!r}, which leads out of it")
            content = archive.read(member)
            top, _, rest = name.partition("/")
            if top.endswith(".dist-info"):
                info = top
                if rest == "WHEEL":
                    _check_pure(content)
                elif rest == "METADATA":
                    content = _asking_for(content, requirements)
                elif rest.startswith("RECORD"):  # its signatures, too, are of another file
                    continue
            files[name] = Entry(name, content)
    if f"{info}/WHEEL" not in files or f"{info}/METADATA" not in files:
        raise ValueError("is no wheel: it has no .dist-info with WHEEL and METADATA")
    for entry in entries:
        files.setdefault(entry.name, entry)
    return _written(folder / wheel.name, info, files)


def wheel_modules(wheel: Path) -> frozenset[str]:
    """The modules that a wheel holds: ``mypkg``, ``mypkg.task``, ``mypkg.__main__``.

    Raises:
        ValueError: It is no wheel.
        OSError: It cannot be read.
    """
    with _opened(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
    modules = (name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names)
    return frozenset(modules)


def _written(path: Path, info: str, files: Mapping[str, Entry]) -> Path:
    """Write the files, and the record of them, as one archive."""
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    record = []
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            # What describes the wheel comes last, as the specification recommends.
            for name in sorted(files, key=lambda name: (name.startswith(f"{info}/"), name)):
                content = files[name].read()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                record.append(f"{_quoted(name)},sha256={digest},{len(content)}\n")
                _add(archive, name, content)
            record.append(f"{info}/RECORD,,\n")
            _add(archive, f"{info}/RECORD", "".join(record).encode())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _TIME)
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.create_system = 3  # Unix, whose permissions these are
    # What is compressed already would only take longer.
    member.compress_type = zipfile.ZIP_STORED if name.endswith(_PACKED) else zipfile.ZIP_DEFLATED
    archive.writestr(member, content, compresslevel=6)


def _quoted(name: str) -> str:
    """A name as a field of CSV."""
    return '"' + name.replace('"', '""') + '"' if re.search(r'[",]', name) else name


def _leads_out(name: str) -> bool:
    return posixpath.normpath(name) != name or name.startswith(("/", "..")) or "\\" in name


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile:
        raise ValueError("is no wheel: it is no ZIP archive") from None


def _check_pure(described: bytes) -> None:
    from email.parser import HeaderParser

    found = HeaderParser().parsestr(described.decode("utf-8", "replace"))
    tags = [str(tag) for tag in found.get_all("Tag", [])]
    if tags and not any(tag.endswith("-none-any") for tag in tags):
        raise ValueError(f"holds code compiled for one kind of machine ({tags[0]})")


def _asking_for(metadata: bytes, requirements: Sequence[str]) -> bytes:
    """METADATA with more requirements, which belong into its header, before the description."""
    header, blank, description = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")
    added = b"".join(f"\nRequires-Dist: {text}".encode() for text in requirements)
    return header.rstrip(b"\n") + added + (blank or b"\n") + description
