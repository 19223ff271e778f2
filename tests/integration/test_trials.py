"""The packaged trial, run by hand: what it reports is how good the model is that it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SUBSET = ROOT / "trainer_scripts" / "data" / "mnist_subset.npz"
SECONDS = 120


def run(folder: Path, *args: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    """One trial to its end, as its job would start it."""
    return subprocess.run(
        [sys.executable, "-m", "trainer_scripts.mnist_trial", *args],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": path,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "CLOUD_ML_TRIAL_ID": "7",
            "CLOUD_ML_HP_METRIC_FILE": str(folder / "metrics" / "output.metrics"),
            "AIP_MODEL_DIR": str(folder / "model") + "/",
            "AIP_TENSORBOARD_LOG_DIR": str(folder / "logs") + "/",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def reports(folder: Path) -> list[tuple[int, float]]:
    """Step and accuracy of every report."""
    lines = (folder / "metrics" / "output.metrics").read_text().splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {one["trial"] for one in found} == {"7"}
    return [(int(one["global_step"]), float(one["accuracy"])) for one in found]


def test_a_trial_reports_every_epoch_and_at_last_the_model_that_it_leaves(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "--epochs=3",
        "--train_images=2000",
        "--n_hidden=2",
        "--cpus=2",
        "--learning_rate=0.005",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2,000 digits, 2 device(s)" in done.stdout
    *epochs, (_, last) = reports(tmp_path)
    assert [step for step, _ in epochs] == [1, 2, 3]
    assert last == pytest.approx(max(accuracy for _, accuracy in epochs)) and last > 0.8
    assert f"Validation accuracy: {last:.4f} after 3 epochs" in done.stdout
    assert any((tmp_path / "logs" / "validation").iterdir())

    import tensorflow as tf

    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    with np.load(SUBSET) as digits:
        images, labels = digits["x_train"][5000:], digits["y_train"][5000:]
    (probabilities,) = signature(tf.constant(images)).values()
    assert float(np.mean(probabilities.numpy().argmax(axis=1) == labels)) == pytest.approx(last, abs=1e-3)


def test_a_hopeless_trial_ends_early_and_says_how_bad_it_was(tmp_path: Path) -> None:
    hopeless = ("--learning_rate=10", "--optimizer=sgd", "--n_hidden=4", "--patience=2", "--epochs=50")
    done = run(tmp_path, *hopeless, "--train_images=500")
    assert done.returncode == 0, done.stdout + done.stderr
    found = reports(tmp_path)
    assert len(found) <= 5 and found[-1][1] < 0.3
    assert (tmp_path / "model" / "saved_model.pb").exists()


def test_a_trial_without_cloudml_hypertune_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "hypertune.py").write_text("raise ModuleNotFoundError('hypertune')")
    done = run(tmp_path, path=f"{tmp_path}:{ROOT}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install cloudml-hypertune" in done.stderr and "Traceback" not in done.stderr
