"""The files of a run, and the journal that says how much of them counts.

Results are appended first, then the journal's line that covers them. Whoever finds the folder after a
sudden end cuts the files off where the last whole line says, and goes on reading where it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from vertexkit.emulator.batch.inputs import Position, Taken
from vertexkit.emulator.batch.outputs import Outcome, Results, Rows, error_line, joined, results_writer
from vertexkit.emulator.batch.records import Fault
from vertexkit.emulator.batch.types import MOST_FAILURES_TOLD, BatchSpec, Failure

_JOURNAL = "journal"
# The journal is written anew before it gets longer than what it is about.
_MOST_LINES = 10_000


@dataclass
class _State:
    """What the journal says."""

    position: Position = field(default_factory=Position)
    shard: int = 0
    sizes: list[int] = field(default_factory=lambda: [0, 0])
    """Bytes of the results and of the errors of that shard; those before are whole, those behind empty."""
    succeeded: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    settled: Any = None
    """Of the results' writer."""
    complete: bool = False


class Ledger:
    """Keeps what was answered. For one thread at a time.

    Args:
        spec: The job.
        sizes: Bytes of its inputs, None for those that are gone. Where they were others, it starts anew.
        folder: Of the run.
    """

    def __init__(self, spec: BatchSpec, sizes: Sequence[int | None], folder: Path) -> None:
        self._spec = spec
        self._identity = _identity(spec)
        self.sizes = [size or 0 for size in sizes]
        """Bytes of the inputs, also of those that have gone since it began."""
        self._folder = folder
        self._journal: FileIO | None = None
        self._lines = 0
        self._open: list[FileIO] = []
        self.results = [folder / f"results-{shard:05d}" for shard in range(spec.shards)]
        """A file for every shard."""
        self.errors = [folder / f"errors-{shard:05d}" for shard in range(spec.shards)]
        """A file for every shard."""
        self._state = self._read(sizes)
        self._writer: Results = results_writer(spec.output_format, self._state.settled)

    @property
    def position(self) -> Position:
        """Up to where the input has been answered."""
        return self._state.position

    @property
    def succeeded(self) -> int:
        """How many instances have a prediction."""
        return self._state.succeeded

    @property
    def failed(self) -> int:
        """How many have none, and never will."""
        return self._state.failed

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first of those."""
        return tuple(self._state.failures)

    @property
    def complete(self) -> bool:
        """Whether that is all."""
        return self._state.complete

    def open(self) -> None:
        """Have the files hold what the journal says, and no more.

        Raises:
            OSError: They cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        state = self._state
        for shard, paths in enumerate(zip(self.results, self.errors, strict=True)):
            for path, size in zip(paths, state.sizes, strict=True):
                if shard >= state.shard:
                    with path.open("ab") as file:
                        file.truncate(size if shard == state.shard else 0)
        self._write_anew()
        self._open_shard()

    def commit(self, taken: Taken, answered: Rows | Sequence[Outcome]) -> None:
        """Keep what came of the next records.

        Raises:
            OSError: It cannot be written; nothing may be kept after that.
        """
        state = self._state
        shard = max(state.shard, min(self._spec.shards - 1, int(taken.begin_fraction * self._spec.shards)))
        if shard > state.shard:
            state.shard, state.sizes = shard, [0, 0]
            self._open_shard()
        if isinstance(answered, Rows):
            rows, succeeded = [answered.content], answered.succeeded
            errors, failures = list[bytes](), list[Failure]()
        else:
            rows, errors, failures = self._written(answered)
            succeeded = len(rows)
        header = self._writer.header if rows else b""
        for index, (lines, head) in enumerate(((rows, header), (errors, b""))):
            content = joined(lines, head, begins=not state.sizes[index])
            if content:
                _append(self._open[index], content)
                state.sizes[index] += len(content)
        state.position = taken.end
        state.succeeded += succeeded
        state.failed += len(errors)
        told = failures[: MOST_FAILURES_TOLD - len(state.failures)]
        state.failures += told
        self._note(told)

    def finish(self) -> None:
        """Keep that it is complete.

        Raises:
            OSError: It cannot be written.
        """
        self._state.complete = True
        self._note([])

    def close(self) -> None:
        """Close the files. Nothing is lost by not doing so."""
        for file in (*self._open, *([] if self._journal is None else [self._journal])):
            file.close()
        self._open, self._journal = [], None

    def _written(self, outcomes: Sequence[Outcome]) -> tuple[list[bytes], list[bytes], list[Failure]]:
        rows: list[bytes] = []
        errors: list[bytes] = []
        failures: list[Failure] = []
        for outcome in outcomes:
            answer = outcome.answer
            if not isinstance(answer, Fault):
                assert outcome.instance is not None, "what was answered was asked"
                answer = self._writer.row(outcome, outcome.instance, answer)
            if isinstance(answer, Fault):
                line, failure = error_line(outcome, answer, self._spec.input_format)
                errors.append(line)
                failures.append(failure)
            else:
                rows.append(answer)
        return rows, errors, failures

    def _open_shard(self) -> None:
        for file in self._open:
            file.close()
        shard = self._state.shard
        self._open = [_opened(paths[shard]) for paths in (self.results, self.errors)]

    def _note(self, failures: Sequence[Failure]) -> None:
        if self._lines >= _MOST_LINES:
            self._write_anew()
            return
        assert self._journal is not None, "the ledger is open"
        _append(self._journal, self._line(failures))
        self._lines += 1

    def _line(self, failures: Sequence[Failure]) -> bytes:
        state, position = self._state, self._state.position
        line = {
            "position": [position.file, position.offset, position.number],
            "shard": state.shard,
            "sizes": state.sizes,
            "counts": [state.succeeded, state.failed],
            "failures": [[failure.instance, failure.code, failure.message] for failure in failures],
            "settled": self._writer.settled,
            "complete": state.complete,
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _write_anew(self) -> None:
        if self._journal is not None:
            self._journal.close()
        aside = self._folder / f"{_JOURNAL}.new"
        of = {"identity": self._identity, "sizes": self.sizes}
        aside.write_bytes(
            orjson.dumps(of, option=orjson.OPT_APPEND_NEWLINE) + self._line(self._state.failures)
        )
        aside.replace(self._folder / _JOURNAL)
        self._journal = _opened(self._folder / _JOURNAL)
        self._lines = 0

    def _read(self, sizes: Sequence[int | None]) -> _State:
        state = _State()
        try:
            lines = (self._folder / _JOURNAL).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return state
        try:
            of = orjson.loads(lines[0])
        except (IndexError, orjson.JSONDecodeError):
            return state  # the power went before it was on the disk
        # What is gone was as it was: what had been answered of it stays.
        now = [was if size is None else size for was, size in zip(of["sizes"], sizes, strict=False)]
        if of["identity"] != self._identity or of["sizes"] != now:
            return state
        self.sizes = now
        for line in lines[1:]:
            try:
                told = orjson.loads(line)
            except orjson.JSONDecodeError:
                told = None
            if told is None or not line.endswith(b"\n"):
                # It was being written when everything ended.
                break
            state.position = Position(*told["position"])
            state.shard, state.sizes = told["shard"], told["sizes"]
            state.succeeded, state.failed = told["counts"]
            state.failures += [Failure(*failure) for failure in told["failures"]]
            state.settled, state.complete = told["settled"], told["complete"]
        return state


def _identity(spec: BatchSpec) -> str:
    """A name for all of a job that its results depend on, but for what the inputs hold."""
    return hashlib.sha256(repr(replace(spec, batch_size=0, in_flight=0)).encode()).hexdigest()


def _opened(path: Path) -> FileIO:
    """A file to append to: unbuffered, lest closing it tries once more to write what could not be written."""
    return FileIO(path, "ab")


def _append(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
