"""TensorFlow's own ``gs://`` code, compiled and unmodified, on the local Cloud Storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

PROGRAM = Path(__file__).with_name("tensorflow_on_gs.py")


@pytest.fixture(scope="module")
def bucket(emulator: Any) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(
        project="tensorflow-gs",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator.storage},
    )
    return client.create_bucket("tensorflow-gs")


@pytest.fixture(scope="module")
def found(emulator: Any, bucket: Any) -> dict[str, Any]:
    """What the program found, run once for all the tests."""
    environment = requests.get(f"{emulator.rest}/emulator/environment").json()
    run = subprocess.run(
        [sys.executable, str(PROGRAM), f"gs://{bucket.name}"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": ""},
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_files_and_folders_are_as_tensorflow_has_them(found: dict[str, Any]) -> None:
    assert found["files"] == {
        "content": "one\ntwo\n",
        "exists": [True, True, False],
        "isdir": [False, True],
        "listed": ["a b+ü.txt", "sub/"],
        "glob": ["/sub/renamed.txt"],
        "walk": [["", ["a b+ü.txt"]], ["/sub/", ["renamed.txt"]]],
        "length": 8,
        "refused": True,
        "missing": "NotFoundError",
        "gone": True,
    }


def test_a_large_file_is_the_same_after_it(found: dict[str, Any], bucket: Any) -> None:
    assert found["large"]["right"]
    assert bucket.get_blob("large").size == 256 << 20


def test_models_are_saved_and_loaded(found: dict[str, Any], bucket: Any) -> None:
    assert found["models"] == {"saved": True, "keras": True}
    assert bucket.get_blob("saved/saved_model.pb").size > 0
    assert bucket.blob("model.keras").download_as_bytes().startswith(b"PK")


def test_checkpoints_are_kept_and_restored(found: dict[str, Any], bucket: Any) -> None:
    assert found["checkpoints"] == {"step": 3, "kept": 2}
    names = {blob.name for blob in bucket.list_blobs(prefix="checkpoints/")}
    assert {"checkpoints/checkpoint", "checkpoints/ckpt-2.index", "checkpoints/ckpt-3.index"} <= names
    assert not any("ckpt-1" in name for name in names)


def test_records_and_lines_are_read_through_tf_data(found: dict[str, Any]) -> None:
    assert found["records"] == {"records": {"": 1000, "GZIP": 1000}, "lines": 10 * 100}


def test_training_writes_while_it_runs_and_goes_on_after_an_interruption(
    found: dict[str, Any], bucket: Any
) -> None:
    assert found["training"] == {"epochs": [0, 1, 2, 3], "losses": 4, "kept": 4}
    assert any("events.out.tfevents" in blob.name for blob in bucket.list_blobs(prefix="logs/train/"))
