"""One batch prediction: from the files of instances to the files of results."""

from __future__ import annotations

import threading
from pathlib import Path

from vertexkit.emulator.batch.types import BatchEnd, BatchSpec, Predict, Progress, Sources


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

    Raises:
        ValueError: ``spec`` asks for what is not done: a key or fields of records that have no fields.
    """

    def __init__(self, spec: BatchSpec, sources: Sources, predict: Predict, folder: Path) -> None:
        self._spec = spec
        self._sources = sources
        self._predict = predict
        self._folder = folder

    @property
    def progress(self) -> Progress:
        """How far it is. From any thread, at any time, also before ``run``."""
        return Progress()

    def run(self, cancelled: threading.Event) -> BatchEnd:
        """Do it, or the rest of it. Blocks.

        Args:
            cancelled: Set from outside to have it end soon: when the requests in flight are answered.

        Raises:
            BatchFailed: No replica answers any more, or the files cannot be written.
        """
        raise NotImplementedError
