"""What every suite shares: a real local Vertex AI, and Google's own client pointed at it.

One emulator serves the whole run, in a process of its own, started as a user starts it. Tests stay
apart by their ``project``. A test that needs to break or restart an emulator launches one of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import vertexkit as vk

READY_SECONDS = 60
STOP_SECONDS = 30

# A shell starts what runs in its background with Ctrl-C ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class RunningEmulator:
    """An emulator's process, and where it answers."""

    process: subprocess.Popen[str]
    grpc: str
    rest: str
    storage: str
    proxy: str
    ca: str
    ca_bundle: str
    credentials: str
    project: str
    location: str
    pid: int
    version: str

    @property
    def env(self) -> dict[str, str]:
        """What a program of Google's clients needs in its environment to work with this emulator."""
        return {
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": self.ca,
            "REQUESTS_CA_BUNDLE": self.ca,
            "STORAGE_EMULATOR_HOST": self.storage,
            "GOOGLE_APPLICATION_CREDENTIALS": self.credentials,
            "GOOGLE_CLOUD_PROJECT": self.project,
            "NO_GCE_CHECK": "true",
        }

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


Launch = Callable[..., contextlib.AbstractContextManager[RunningEmulator]]


def descendants(pid: int) -> set[int]:
    """Every process below a process."""
    listing = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listing.splitlines())}
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def model_servers(pid: int) -> set[int]:
    """The processes of an emulator that serve models."""
    listing = subprocess.run(["ps", "-axwwo", "pid=,ppid=,command="], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    return {int(child) for child, parent, command in rows if "model_server" in command and int(parent) == pid}


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that is dead and not yet collected does not)."""
    listing = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return listing.returncode == 0 and not listing.stdout.strip().startswith("Z")


def left_alive(pids: set[int], within: float = 10.0) -> set[int]:
    """Those of ``pids`` that are still there after a while."""
    deadline = time.monotonic() + within
    while (alive := {pid for pid in pids if is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


@contextlib.contextmanager
def launched(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[RunningEmulator]:
    """An emulator of one's own; fails if it leaves a process behind.

    Args:
        arguments: For ``vertexkit emulator start``.
        env: Added to the environment.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "vertexkit", "emulator", "start", "--json", "--exit-with-stdin", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    below: set[int] = set()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the emulator ended with {process.wait(READY_SECONDS)} before it was ready"
        yield RunningEmulator(process, **json.loads(line))
        below = descendants(process.pid)
    finally:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert not left_alive(below), "the emulator left processes behind"


@pytest.fixture(scope="session")
def launch_emulator() -> Launch:
    """``with launch_emulator("--data-dir", folder) as emulator``: an emulator of the test's own."""
    return launched


@pytest.fixture(scope="session")
def emulator() -> Iterator[RunningEmulator]:
    """The emulator that the whole run shares."""
    with launched("--allow-faults") as running:
        # gRPC reads the roots once per process, so one emulator's are all that a run can have.
        os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = running.ca
        yield running


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"p-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def session(emulator: RunningEmulator, project: str) -> Iterator[vk.Session]:
    """A session of vertexkit whose resources are deleted after the test."""
    import vertexkit as vk

    with vk.connect(project, emulator=emulator.rest, temporary=True) as connected:
        yield connected


@pytest.fixture
def grpc_env(emulator: RunningEmulator) -> dict[str, str]:
    """The environment of a subprocess that uses Google's clients with the shared emulator."""
    return {**os.environ, **emulator.env}


@pytest.fixture(params=["grpc", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the transports of Google's client."""
    return str(request.param)


@pytest.fixture
def aiplatform(
    emulator: RunningEmulator, project: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Google's high-level client, unmodified, pointed at the shared emulator over each transport."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    aiplatform.init(
        project=project,
        location=emulator.location,
        api_endpoint=emulator.grpc,
        api_transport=transport,
        credentials=AnonymousCredentials(),
    )
    yield aiplatform
    # init() is global, and another test may want the defaults.
    aiplatform.initializer.global_config.__init__()


@pytest.fixture
def inject(emulator: RunningEmulator) -> Iterator[Callable[..., Callable[[], list[int]]]]:
    """``struck = inject(RULE, ...)``: make the shared emulator fail; ``struck()`` counts how often each did.

    The rules (``vertexkit/emulator/faults.py`` describes them) are gone after the test.
    """
    import requests

    url = f"{emulator.rest}/emulator/faults"

    def put(*rules: Mapping[str, Any]) -> Callable[[], list[int]]:
        answer = requests.put(url, json={"rules": rules}, timeout=10)
        assert answer.ok, answer.text
        return lambda: [rule["struck"] for rule in requests.get(url, timeout=10).json()["rules"]]

    yield put
    put()


@pytest.fixture(scope="session")
def scaling_models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """Real SavedModels by what they multiply their input ``x: float32[?, 3]`` with: 2 and 3."""
    folder, factors = tmp_path_factory.mktemp("scaling"), (2, 3)
    script = Path(__file__).with_name("write_scaling_models.py")
    run = subprocess.run(
        [sys.executable, str(script), str(folder), *map(str, factors)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return {factor: folder / str(factor) for factor in factors}


@pytest.fixture(scope="session")
def mnist_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``write_mnist_batch.py`` writes: models, test images in every format, what Keras says of these.

    ``MNIST_NPZ`` names the full MNIST, in place of the packaged subset.
    """
    folder = tmp_path_factory.mktemp("mnist_batch")
    tests = Path(__file__).parent
    subset = tests.parent / "trainer_scripts" / "data" / "mnist_subset.npz"
    data = os.environ.get("MNIST_NPZ", str(subset))
    command = [sys.executable, str(tests / "write_mnist_batch.py"), str(folder), data]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder
