"""What the work of a batch prediction job depends on and its resource does not say, in a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vertexkit.emulator.messages import Model, Raw
from vertexkit.emulator.services.batch_inputs import Input


class Kept:
    """The folder of one job, there from before the job until after its end.

    Args:
        folder: Where it is to be, or is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.results = folder / "results"
        """What the batch engine writes."""
        self._plan = folder / "plan.json"
        self._version = folder / "version.pb"
        self._copied = folder / "copied"

    def write(self, inputs: Sequence[Input], output: str, version: Raw) -> None:
        """Keep what is known when the job is created.

        Args:
            inputs: The objects to read.
            output: The folder that its output will be in.
            version: The row of the model's version, which may be deleted meanwhile.
        """
        self._folder.mkdir(mode=0o700, parents=True)
        plan = {"output": output, "inputs": [asdict(one) for one in inputs]}
        self._plan.write_text(json.dumps(plan))
        self._version.write_bytes(version.SerializeToString())

    def read(self) -> tuple[list[Input], str, Raw]:
        """The objects to read, the folder of the output, and the row of the model's version.

        Raises:
            OSError: The folder is not as it was left.
        """
        plan = json.loads(self._plan.read_text())
        inputs = [Input(**one) for one in plan["inputs"]]
        return inputs, str(plan["output"]), Model.FromString(self._version.read_bytes())

    @property
    def is_copied(self) -> bool:
        """Whether the copy of the model is whole."""
        return self._copied.exists()

    def set_copied(self) -> None:
        """Note that the copy of the model is whole."""
        self._copied.touch()

    def remove(self) -> None:
        """Forget it all."""
        shutil.rmtree(self._folder, ignore_errors=True)
