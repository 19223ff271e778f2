"""Writes the log of one replica, as ``logs.py`` reads it. Part of the keeper: the standard library only."""

from __future__ import annotations

import os
import time

LINE_LIMIT = 256 * 1024
"""Bytes of a line; what is longer becomes several, as in Cloud Logging."""
HEADER_BYTES = 22
"""Of a record of the log: 19 digits of nanoseconds, a space, ``O`` or ``E`` for the stream, a space."""

_REDRAW_SECONDS = 5.0


def header(time_ns: int, stream: str) -> bytes:
    """What a record of the log begins with; the text and a newline follow."""
    return b"%019d %s " % (time_ns, stream.encode())


class Log:
    """The log file of a replica: survives a full disk, and stays below a limit.

    Args:
        path: The file; appended to.
        after: No record gets a time before this one.
        limit: Bytes that the file may have.
    """

    def __init__(self, path: str, after: int, limit: int) -> None:
        self.lost = 0
        self._path = path
        self._limit = limit
        self._fd = -1
        self._size = 0
        self._last = after
        self._why = ""
        self._is_full = False

    def now(self) -> int:
        """The time of the next record: never before that of the last one."""
        self._last = max(self._last, time.time_ns())
        return self._last

    def write(self, records: bytes) -> None:
        """Append whole records; what finds no room is counted in ``lost``."""
        if self.lost and not self._is_full:
            note = self._note()
            if self._put(note) < len(note):
                self.lost += records.count(b"\n")
                return
            self.lost = 0
        room = self._limit - self._size
        fits = records if len(records) <= room else records[: records.rfind(b"\n", 0, max(room, 0)) + 1]
        if not self._is_full and len(fits) < len(records):
            gibibytes = self._limit / 2**30
            fits += header(self.now(), "E") + (
                b"vertexkit: this log has reached its limit of %.3g GiB: what follows is left out\n"
                % gibibytes
            )
            self._put(fits)
            self.lost = records.count(b"\n") - fits.count(b"\n") + 1
            self._is_full = True
        elif self._is_full:
            self.lost += records.count(b"\n")
        else:
            self.lost += records.count(b"\n", self._put(fits))

    def close(self) -> None:
        """Say what was left out, if there is room to say it."""
        if self.lost:
            self._put(self._note())
        if self._fd >= 0:
            os.close(self._fd)

    def _note(self) -> bytes:
        why = f"the log is at its limit of {self._limit / 2**30:.3g} GiB" if self._is_full else self._why
        text = f"vertexkit: {self.lost} lines were left out here: {why}\n"
        return header(self.now(), "E") + text.encode()

    def _put(self, records: bytes) -> int:
        """Write; the bytes of whole records that the file took."""
        written = 0
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._size = os.fstat(self._fd).st_size
            view = memoryview(records)
            while written < len(records):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            # Full, most likely. The program goes on, and so does the reading of what it writes.
            self._why = f"they could not be written ({error.strerror})"
            whole = records.rfind(b"\n", 0, written) + 1
            if whole != written:
                os.ftruncate(self._fd, self._size + whole)
            written = whole
        self._size += written
        return written


class Stream:
    """One of the program's outputs, cut into lines.

    Args:
        fd: The reading end of its pipe.
        name: ``O`` or ``E``.
        log: Where lines go.
    """

    def __init__(self, fd: int, name: str, log: Log) -> None:
        self.fd = fd
        self._name = name
        self._log = log
        self._rest = b""
        self._shown = time.monotonic()

    def pump(self) -> int:
        """Take what there is; how many bytes: 0 for none now, -1 for none ever again."""
        try:
            data = os.read(self.fd, LINE_LIMIT)
        except BlockingIOError:
            return 0
        if not data:
            return -1
        self.feed(data)
        return len(data)

    def feed(self, data: bytes) -> None:
        """Take some bytes."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        lines = data[: end - 1].split(b"\n") if end else []
        self._rest = data[end:]
        if b"\r" in self._rest:
            lines += self._superseded()
        while len(self._rest) > LINE_LIMIT:
            piece, self._rest = _cut(self._rest)
            lines.append(piece)
        self._write(lines)

    def flush(self) -> None:
        """Take what there is as a line, though its end has not come."""
        if self._rest:
            lines, self._rest = [self._rest], b""
            self._write(lines)

    def _superseded(self) -> list[bytes]:
        """Of a line that is drawn over and over, keep the last state; now and then it makes a line."""
        *drawn, current = self._rest.rstrip(b"\r").split(b"\r")
        self._rest = current + b"\r" * self._rest.endswith(b"\r")
        drawn = [state for state in drawn if state]
        if not drawn or time.monotonic() - self._shown < _REDRAW_SECONDS:
            return []
        self._shown = time.monotonic()
        return [drawn[-1]]

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        prefix = header(self._log.now(), self._name)
        block = b"\n".join(lines)
        if b"\r" in block or len(block) > LINE_LIMIT:
            block = b"\n".join(piece for line in lines for piece in _pieces(_as_shown(line)))
        self._log.write(prefix + block.replace(b"\n", b"\n" + prefix) + b"\n")


def _as_shown(line: bytes) -> bytes:
    """What a terminal shows of a line that was drawn over."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _pieces(line: bytes) -> list[bytes]:
    pieces = []
    while len(line) > LINE_LIMIT:
        piece, line = _cut(line)
        pieces.append(piece)
    return [*pieces, line]


def _cut(line: bytes) -> tuple[bytes, bytes]:
    """Cut a long line, but no character."""
    end = LINE_LIMIT
    while end > LINE_LIMIT - 4 and line[end] & 0xC0 == 0x80:
        end -= 1
    return line[:end], line[end:]
