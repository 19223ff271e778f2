"""What storage calls return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vertexkit.progress import amount


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a bucket, as a listing shows it."""

    name: str
    """Its name in the bucket, without ``gs://``."""
    size: int
    """Bytes."""
    crc32c: str
    """CRC-32C of its bytes: big-endian, in base64, as Cloud Storage writes it."""
    generation: int
    """Changes with every write."""
    uri: str = ""
    """``gs://bucket/name``."""
    content_encoding: str | None = None
    """``"gzip"`` for an object stored compressed that readers get uncompressed."""
    updated: datetime | None = field(default=None, compare=False)
    """When it was last written, in UTC."""

    def __str__(self) -> str:
        """``gs://b/model/saved_model.pb (51.2 kB)``."""
        return f"{self.uri} ({amount(self.size, 'bytes')})"


@dataclass(frozen=True)
class UploadReport:
    """What an upload did. Every file of the folder that matched is in ``files``.

    Printed, it is one line: ``gs://b/model: 3 files uploaded (51.2 MB in 0.4 s), 1 there already``.
    """

    uri: str
    """Where the files are: ``gs://bucket/prefix``."""
    files: int
    """Files found; each of them is there now, byte for byte."""
    uploaded: int
    """Files sent."""
    skipped: int
    """Files that were there already, equal by size and crc32c."""
    bytes: int
    """Bytes of the files sent."""
    seconds: float
    """Time taken."""

    def __str__(self) -> str:
        """``gs://b/model: 3 files uploaded (51.2 MB in 0.4 s), 1 there already``."""
        sent = f"{amount(self.bytes, 'bytes')} in {self.seconds:.1f} s"
        text = f"{self.uri}: {_files(self.uploaded)} uploaded ({sent})"
        return f"{text}, {self.skipped:,} there already" if self.skipped else text


@dataclass(frozen=True)
class DownloadReport:
    """What a download did. Every object that matched is in ``files``.

    Printed, it is one line: ``model: 3 files downloaded (51.2 MB in 0.4 s), 1 there already``.
    """

    folder: Path
    """Where the files are."""
    files: int
    """Objects found; each of them is a file now, byte for byte."""
    downloaded: int
    """Files fetched."""
    skipped: int
    """Files that were there already, equal by size and crc32c."""
    bytes: int
    """Bytes of the files fetched."""
    seconds: float
    """Time taken."""

    def __str__(self) -> str:
        """``model: 3 files downloaded (51.2 MB in 0.4 s), 1 there already``."""
        fetched = f"{amount(self.bytes, 'bytes')} in {self.seconds:.1f} s"
        text = f"{self.folder}: {_files(self.downloaded)} downloaded ({fetched})"
        return f"{text}, {self.skipped:,} there already" if self.skipped else text


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
