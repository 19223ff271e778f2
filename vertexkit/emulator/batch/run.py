"""One batch prediction: from the files of instances to the files of results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from vertexkit.emulator.batch.asking import Asker, Patience, Stopped, Trust
from vertexkit.emulator.batch.in_turn import InTurn
from vertexkit.emulator.batch.inputs import Inputs, Position, Taken
from vertexkit.emulator.batch.instances import InstanceMaker
from vertexkit.emulator.batch.ledger import Ledger
from vertexkit.emulator.batch.lots import LotAnswerer
from vertexkit.emulator.batch.outputs import Outcome, Rows
from vertexkit.emulator.batch.types import (
    BatchEnd,
    BatchFailed,
    BatchSpec,
    InputMissing,
    Predict,
    Progress,
    Sources,
)

_AHEAD: Final = 3
"""So many times as many lots as are in flight may be held: done, and behind one that takes long."""


class BatchRun:
    """Answers every instance of a job, in the order of the input, with memory that does not grow.

    Results, errors and a journal stay in ``folder``. A new run over the same folder goes on where the journal
    ends, whatever ended the one before, and no instance is lost or there twice. Where the inputs
    have changed meanwhile, it starts anew.

    Args:
        spec: What to do.
        sources: Opens the inputs.
        predict: Asks the model.
        folder: The run's own; made where it is not there.
        patience: How long to try for an answer.

    Raises:
        ValueError: ``spec`` asks for what is not done: a key or fields of records that have no fields.
    """

    def __init__(
        self,
        spec: BatchSpec,
        sources: Sources,
        predict: Predict,
        folder: Path,
        *,
        patience: Patience | None = None,
    ) -> None:
        InstanceMaker(spec, sources)  # Refuses what is not done.
        self._spec = spec
        self._sources = sources
        self._predict = predict
        self._patience = patience or Patience()
        self._ledger = Ledger(spec, [_size(sources, uri) for uri in spec.uris], folder)
        self._total: int | None = None
        self._told = self._progress()

    @property
    def progress(self) -> Progress:
        """How far it is. From any thread, at any time, also before ``run``."""
        told = self._told
        return told if told.total is not None else replace(told, total=self._total)

    def run(self, cancelled: threading.Event) -> BatchEnd:
        """Do it, or the rest of it. Blocks.

        Args:
            cancelled: Set from outside to have it end soon: when the requests in flight are answered.

        Raises:
            BatchFailed: No replica answers any more, or files cannot be read or written.
        """
        ledger = self._ledger
        try:
            if not ledger.complete:
                ledger.open()
                if self._answer_all(cancelled):
                    ledger.finish()
                    self._told = self._progress()
        except OSError as error:
            raise BatchFailed(f"The files of the batch prediction: {error}") from error
        finally:
            ledger.close()
        return BatchEnd(ledger.complete, self.progress, tuple(ledger.results), tuple(ledger.errors))

    def _answer_all(self, cancelled: threading.Event) -> bool:
        inputs = self._inputs(self._ledger.position)
        trust, mine = Trust(self._patience), threading.local()

        def take() -> Taken | None:
            return inputs.take(self._spec.batch_size)

        def work(taken: Taken) -> Rows | list[Outcome]:
            if not hasattr(mine, "answerer"):
                asker = Asker(self._predict, self._spec.parameters, self._patience, trust, lots.stopped)
                mine.answerer = LotAnswerer(self._spec, InstanceMaker(self._spec, self._sources), asker)
            answerer: LotAnswerer = mine.answerer
            return answerer.answer(taken)

        def keep(taken: Taken, answered: Rows | list[Outcome]) -> None:
            self._ledger.commit(taken, answered)
            self._told = self._progress()

        lots = InTurn(take, work, keep, self._spec.in_flight * _AHEAD)
        counting = threading.Thread(target=self._count, args=(lots.stopped,), name="batch-count", daemon=True)
        counting.start()
        try:
            return lots.run(self._spec.in_flight, cancelled)
        except Stopped:
            return False
        finally:
            counting.join()
            inputs.close()

    def _count(self, stopped: Callable[[], bool]) -> None:
        """Find out how many instances there are, while the first are answered."""
        counted = 0
        try:
            for found in self._inputs(Position()).count():
                if stopped():
                    return
                counted += found
            self._total = max(0, counted)
        except OSError:
            # Whoever reads the same to answer it says so.
            pass

    def _inputs(self, start: Position) -> Inputs:
        return Inputs(self._spec, self._sources, self._ledger.sizes, start)

    def _progress(self) -> Progress:
        ledger = self._ledger
        total = ledger.succeeded + ledger.failed if ledger.complete else self._total
        return Progress(ledger.succeeded, ledger.failed, total, ledger.failures)


def _size(sources: Sources, uri: str) -> int | None:
    try:
        return sources.size(uri)
    except InputMissing:
        return None
