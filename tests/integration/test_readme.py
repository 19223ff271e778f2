"""The README's marked snippets, run as they stand, and its command line against a running emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"<!-- runs: \S+ -->\n```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone, in which the README's first snippet has run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "trainer_scripts").symlink_to(ROOT / "trainer_scripts")
    # What the first version answers is kept, for the tests to compare with.
    compared = (
        "    if version == '0001':\n        np.save('expected.npy', model.predict(np.load('images.npy')))\n"
    )
    subprocess.run(
        [sys.executable, "-c", SNIPPETS[0] + compared], cwd=folder, check=True, capture_output=True
    )
    return folder


def run_snippet(source: str, folder: Path) -> list[str]:
    """Run a snippet as a script of its own, and give the lines that it prints."""
    finished = subprocess.run(
        [sys.executable, "-c", source], cwd=folder, env=clean_env(), capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def clean_env() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("VERTEXKIT_", "GOOGLE_"))
    }


def test_there_are_snippets_to_run() -> None:
    assert len(SNIPPETS) == 9


def test_the_first_script_predicts_what_the_model_does(folder: Path) -> None:
    shown = " ".join(run_snippet(SNIPPETS[1], folder)[1:])
    expected = np.load(folder / "expected.npy").argmax(axis=1).tolist()
    assert [int(digit) for digit in re.findall(r"\d+", shown)] == expected


def test_the_training_program_trains_and_its_model_answers(folder: Path) -> None:
    (folder / "train.py").write_text(SNIPPETS[2])
    shown = run_snippet(SNIPPETS[3], folder)
    accuracies = [line for line in shown if re.fullmatch(r"[01] +0\.\d+ +0\.\d+", line)]
    assert len(accuracies) == 2, shown  # epochs; of training and of validation
    predicted = np.array([int(digit) for digit in re.findall(r"\d", shown[-1])])
    truth = np.load(ROOT / "trainer_scripts" / "data" / "mnist_subset.npz")["y_test"][:20]
    assert np.mean(predicted == truth) > 0.8


def test_the_search_finds_a_model(folder: Path) -> None:
    shown = run_snippet(SNIPPETS[4], folder)
    assert len([line for line in shown if re.match(r"[1-4] .* (sgd|adam) +0\.\d+", line)]) == 4, shown
    assert re.search(r"trial [1-4]: SUCCEEDED, .*accuracy=0\.\d+ <Model 'digits'", shown[-1]), shown


@pytest.mark.slow
def test_the_search_by_keras_tuner_finds_a_model(folder: Path) -> None:
    shown = run_snippet(SNIPPETS[5], folder)
    assert re.search(r"trial [01]: SUCCEEDED, .*val_accuracy=0\.\d+.* <Model '", shown[-1]), shown


def test_a_batch_prediction_is_in_order_and_says_what_failed(folder: Path) -> None:
    shown = run_snippet(SNIPPETS[6], folder)
    digits = np.load(ROOT / "trainer_scripts" / "data" / "mnist_subset.npz")
    assert float(shown[0]) > 0.8
    assert "50" in shown[1]
    assert "shape" in shown[1] or "instances" in shown[1], shown
    predicted = [line.split() for line in shown[2:]]
    assert [index for index, _ in predicted] == ["0", "1", "2"]
    assert np.mean([int(digit) for _, digit in predicted] == digits["y_test"][:3]) > 0.6


def test_the_nightly_update_can_run_again_and_again(folder: Path, emulator: Any) -> None:
    script = SNIPPETS[7].replace("http://127.0.0.1:8080", emulator.rest)
    for _ in range(2):
        assert run_snippet(script, folder)[-1].endswith("100 %")


def test_google_s_own_client_creates_an_endpoint(folder: Path) -> None:
    shown = run_snippet(SNIPPETS[8], folder)[-1]
    assert re.fullmatch(r"projects/\d+/locations/us-central1/endpoints/\d+", shown)


@pytest.fixture
def vertexkit(folder: Path, emulator: Any, project: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in the README's folder, against the shared emulator."""
    env = {**clean_env(), "VERTEXKIT_EMULATOR": emulator.rest, "VERTEXKIT_PROJECT": project}

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vertexkit", *arguments]
        return subprocess.run(command, cwd=folder, env=env, input=stdin, capture_output=True, text=True)

    return run


def test_the_command_line_shows_predicts_and_deletes(
    folder: Path, emulator: Any, project: str, vertexkit: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import vertexkit as vk

    with vk.connect(project, emulator=emulator.rest) as session:
        model = session.models.upload("mnist", folder / "my_mnist_model" / "0001")
        session.endpoints.create("mnist").deploy(model)

    assert vertexkit("models", "list").stdout.split("\t")[1] == "mnist"
    shown = json.loads(vertexkit("models", "show", "mnist", "--json").stdout)
    assert shown["resource_name"] == model.resource_name
    assert [version["version"] for version in shown["versions"]] == ["1"]
    shown = json.loads(vertexkit("endpoints", "show", "mnist", "--json").stdout)
    assert [one["traffic"] for one in shown["deployed"]] == [100]
    (bucket,) = json.loads(vertexkit("buckets", "list", "--json").stdout)
    assert json.loads(vertexkit("buckets", "show", bucket["name"], "--json").stdout)["objects"] > 2

    expected = np.load(folder / "expected.npy")
    finished = vertexkit("predict", "mnist", "images.npy", "--out", "predictions.npz")
    assert finished.returncode == 0, finished.stderr
    np.testing.assert_allclose(np.load(folder / "predictions.npz")["predictions"], expected, rtol=1e-5)
    instances = json.dumps(np.load(folder / "images.npy")[:2].tolist())
    lines = vertexkit("predict", "mnist", "-", stdin=instances).stdout.splitlines()
    np.testing.assert_allclose([json.loads(line) for line in lines], expected[:2], rtol=1e-5)

    good = [
        "check",
        "--artifact",
        "my_mnist_model/0001",
        "--framework",
        "tensorflow",
        "--bucket",
        bucket["name"],
    ]
    assert vertexkit(*good).returncode == 0
    assert "0001" in vertexkit("check", "--artifact", "my_mnist_model").stdout

    refused = vertexkit("endpoints", "delete", "mnist", "--force")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    refused = vertexkit("endpoints", "delete", "mnist", "--yes")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert vertexkit("endpoints", "delete", "mnist", "--force", "--yes").returncode == 0
    assert vertexkit("models", "delete", "mnist", "--yes").returncode == 0
    assert vertexkit("buckets", "delete", bucket["name"], "--force", "--yes").returncode == 0
    for noun in ("endpoints", "models", "buckets"):
        assert vertexkit(noun, "list").stdout == ""
    assert vertexkit("models", "show", "mnist").returncode == 1
