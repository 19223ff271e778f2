"""Batch prediction held against a loop written by hand: how quick, with what memory, and how right it is.

``MNIST_NPZ`` names the full MNIST; without it, the packaged subset is repeated.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson

import vertexkit as vk
from tests.bench.batch_by_hand import BATCH
from tests.bench.deployed import ROOT
from tests.bench.report import Row, in_turn
from tests.conftest import RunningEmulator, descendants, launched

_INSTANCES, _FEW = 100_000, 1_000
_MEMORY_INSTANCES = (10_000, 200_000)
_TIMES = 3
_MACHINE = "n1-standard-2"
_MEGABYTES_OF_GROWTH = 100
_SAMPLE_SECONDS = 0.1

_CLIENT = """
import sys
import vertexkit as vk
with vk.connect(emulator=sys.argv[1]) as session:
    model = session.models.get(sys.argv[2])
    job = model.batch_predict(sys.argv[3], machine=sys.argv[4], batch_size=int(sys.argv[5]))
    assert job.progress.failed == 0
    print(sum(row.error is None for row in job.rows()) if sys.argv[6:] else job.progress.succeeded)
"""


@dataclass(frozen=True)
class Place:
    """Models and files that the bench made, on an emulator of its own."""

    folder: Path
    emulator: RunningEmulator
    session: vk.Session

    @functools.cached_property
    def digits(self) -> dict[str, np.ndarray[Any, Any]]:
        """Images and labels."""
        return dict(np.load(_npz()))

    @functools.cached_property
    def models(self) -> dict[str, vk.Model]:
        """The models by what they take."""
        names = ("images", "pixels", "records", "files")
        return {name: self.session.models.upload(name, str(self.folder / name)) for name in names}

    def lines(self, count: int) -> Path:
        """So many images as jsonl, the digits over and over."""
        path = self.folder / f"{count}.jsonl"
        if not path.exists():
            images = np.concatenate([self.digits["x_train"], self.digits["x_test"]])
            lines = [orjson.dumps(image, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for image in images]
            with path.open("wb") as file:
                file.writelines(itertools.islice(itertools.cycle(lines), count))
        return path

    def predict(self, model: str, source: Path) -> float:
        """Seconds that a program takes to have a file predicted, from its start to its end."""
        started = time.perf_counter()
        with self._client(model, source) as client:
            words, _ = client.communicate()
        seconds = time.perf_counter() - started
        _check(client, words)
        return seconds

    def peaks(self, model: str, source: Path, count: int) -> tuple[float, float]:
        """The most MB of emulator and replica meanwhile, and of the program, which reads the answers too."""
        with self._client(model, source, "read") as client:
            server_peak, client_peak = _Peak(self.emulator.pid), _Peak(client.pid)
            with server_peak, client_peak:
                words, _ = client.communicate()
        assert int(_check(client, words)) == count
        return server_peak.megabytes, client_peak.megabytes

    def right(self, model: str, source: Any) -> int:
        """How many of the test images are told right."""
        predictions = self.models[model].batch_predict(source, machine=_MACHINE).to_numpy()
        return _right(predictions, self.digits["y_test"])

    def _client(self, model: str, source: Path, *more: str) -> subprocess.Popen[str]:
        name = self.models[model].resource_name
        arguments = [self.emulator.rest, name, str(source), _MACHINE, str(BATCH), *more]
        return subprocess.Popen(
            [sys.executable, "-c", _CLIENT, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )


def run() -> list[Row]:
    """Measure throughput, memory and accuracy."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "mnist"
        program = [sys.executable, str(ROOT / "tests" / "write_mnist_batch.py"), str(folder), str(_npz())]
        written = subprocess.run(
            [*program, "--records", str(_INSTANCES)], capture_output=True, text=True, timeout=600
        )
        if written.returncode != 0:
            raise RuntimeError(f"models and files could not be written:\n{written.stderr}")
        emulator = stack.enter_context(launched())
        place = Place(folder, emulator, stack.enter_context(vk.connect(emulator=emulator.rest)))
        records = (folder / "records.tfrecord", folder / "test" / "records.tfrecord")
        return [
            *_throughput(place, "jsonl", "images", place.lines(_INSTANCES), place.lines(_FEW), target=0.5),
            *_throughput(place, "tf-record", "records", records[0], _first(records[1], _FEW), target=0.7),
            *_memory(place),
            *_accuracy(place),
        ]


def _throughput(place: Place, name: str, model: str, source: Path, few: Path, *, target: float) -> list[Row]:
    """With and without what it takes to start: a thousand instances take little else."""
    loops: list[float] = []

    def by_hand() -> float:
        seconds, loop = _by_hand(place, name, model, source)
        loops.append(loop)
        return seconds

    # Once for what the first job of all compiles, and keeps.
    place.predict(model, few)
    ours, theirs = in_turn(lambda: place.predict(model, source), by_hand, _TIMES)
    start = median(place.predict(model, few) for _ in range(_TIMES))
    going = (ours - start) * _INSTANCES / (_INSTANCES - _FEW)
    what = f"batch prediction of {_INSTANCES:,} images, {name}"
    return [
        _ratio(f"{what}: start to end", ours, theirs, target),
        _ratio(f"{what}: without starting up", going, median(loops), target),
    ]


def _ratio(what: str, ours: float, theirs: float, target: float) -> Row:
    return Row(
        what,
        f"{_INSTANCES / ours:,.0f} images/s ({ours:.1f} s)",
        f"loop by hand {_INSTANCES / theirs:,.0f} images/s ({theirs:.1f} s)",
        theirs / ours,
        target=target,
    )


def _by_hand(place: Place, name: str, model: str, source: Path) -> tuple[float, float]:
    """Seconds from start to end, and those of the loop alone."""
    results = place.folder / "by_hand.jsonl"
    arguments = [name, str(place.folder / model), str(source), str(results)]
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.batch_by_hand", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if run.returncode != 0:
        raise RuntimeError(f"the loop by hand failed:\n{run.stderr}")
    results.unlink()
    return seconds, float(run.stdout)


def _memory(place: Place) -> list[Row]:
    peaks = [place.peaks("images", place.lines(count), count) for count in _MEMORY_INSTANCES]
    few, many = (f"{count:,}" for count in _MEMORY_INSTANCES)
    return [
        Row(
            f"batch prediction: memory of the {whose}, {few} to {many} instances",
            f"{at_many:.0f} MB",
            f"{at_few:.0f} MB for {few}",
            at_many - at_few,
            target=_MEGABYTES_OF_GROWTH,
            unit="MB",
            at_most=True,
        )
        for whose, at_few, at_many in zip(("emulator and its replica", "client"), *peaks, strict=True)
    ]


def _accuracy(place: Place) -> list[Row]:
    test, truth = place.folder / "test", place.digits["y_test"]
    in_process = _right(np.load(place.folder / "expected.npy"), truth)
    sources: dict[str, Callable[[], int]] = {
        "an array": lambda: place.right("images", place.digits["x_test"]),
        "jsonl": lambda: place.right("images", test / "images.jsonl"),
        "csv": lambda: place.right("pixels", test / "pixels.csv"),
        "tf-record": lambda: place.right("records", test / "records.tfrecord"),
        "tf-record-gzip": lambda: place.right("records", test / "records.tfrecord.gz"),
        "file-list": lambda: place.right("files", test / "files"),
    }
    rows = []
    for name, count in sources.items():
        right = count()
        rows.append(
            Row(
                f"batch prediction: right of {len(truth):,} test images, {name}",
                f"{right:,}",
                f"Keras in one process {in_process:,}",
                abs(right - in_process),
                target=0,
                unit="images",
                at_most=True,
            )
        )
    return rows


class _Peak:
    """The most memory that a process and all below it took together, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._kilobytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def megabytes(self) -> float:
        return self._kilobytes / 1000

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            pids = ",".join(map(str, {self._pid, *descendants(self._pid)}))
            listing = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True).stdout
            self._kilobytes = max(self._kilobytes, sum(map(int, listing.split())))


def _first(records: Path, count: int) -> Path:
    """A file of the first records of another one."""
    path = records.with_name("few.tfrecord")
    with records.open("rb") as file:
        head = file.read(8)
        # All of them are of the same length.
        size = int.from_bytes(head, "little") + 16
        file.seek(0)
        path.write_bytes(file.read(size * count))
    return path


def _right(probabilities: Any, truth: np.ndarray[Any, Any]) -> int:
    return int(np.sum(probabilities.argmax(axis=1) == truth))


def _check(client: subprocess.Popen[str], words: str) -> str:
    if client.returncode != 0:
        raise RuntimeError("the program that predicts failed; its words are above")
    return words


def _npz() -> Path:
    return Path(os.environ.get("MNIST_NPZ", ROOT / "trainer_scripts" / "data" / "mnist_subset.npz"))
