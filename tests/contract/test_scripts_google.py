"""What scripts written for Vertex AI do with Google's clients, in the order in which they do it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@pytest.fixture
def staging(emulator: Any, aiplatform: Any, project: str) -> str:
    """A bucket that Google's client stages what it uploads in."""
    from google.cloud import storage

    bucket = f"staging-{project}"
    storage.Client(project=project).create_bucket(bucket)
    return f"gs://{bucket}"


@pytest.fixture(scope="module")
def halving_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SavedModel of pixels, ``x: uint8[?, 2]``, that answers with their halves."""
    folder = tmp_path_factory.mktemp("halving")
    script = f"""
import tensorflow as tf
module = tf.Module()
pixels = tf.TensorSpec([None, 2], tf.uint8, "x")
module.serve = tf.function(lambda x: {{"halves": tf.cast(x, tf.float32) / 2}}, input_signature=[pixels])
tf.saved_model.save(module, {str(folder)!r}, signatures=module.serve)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


def upload(aiplatform: Any, staging: str, folder: Path, **options: Any) -> Any:
    """Upload a SavedModel as a script that has it in a local folder does."""
    return aiplatform.Model.upload_tensorflow_saved_model(
        str(folder), tensorflow_version="2.15", staging_bucket=staging, **options
    )


def test_a_models_object_is_still_good_after_others_changed_around_it(
    aiplatform: Any, staging: str, scaling_models: Mapping[int, Path]
) -> None:
    model = upload(aiplatform, staging, scaling_models[2], display_name="scaling")
    endpoint = model.deploy(machine_type="n1-standard-2")
    model.update(display_name="deployed")
    second = upload(
        aiplatform, staging, scaling_models[3], display_name="new", parent_model=model.resource_name
    )
    second.versioning_registry.update_version("2", version_description="three")
    second.versioning_registry.add_version_aliases(["golden"], "2")
    model.update(description="times two", labels={"stage": "prod"})
    found = aiplatform.Model(model.resource_name, version="1")
    assert (found.display_name, found.description, found.labels) == (
        "deployed",
        "times two",
        {"stage": "prod"},
    )
    endpoint.update(display_name="kept")
    second.deploy(endpoint, machine_type="n1-standard-2", traffic_percentage=50)
    endpoint.update(description="of two")
    assert aiplatform.Endpoint(endpoint.resource_name).gca_resource.description == "of two"
    endpoint.delete(force=True)


def test_versions_are_listed_from_the_first_with_aliases_as_they_were_given(
    aiplatform: Any, staging: str, scaling_models: Mapping[int, Path]
) -> None:
    given = ["system-test", "canary"]
    model = upload(aiplatform, staging, scaling_models[2], version_aliases=given, model_id="habits")
    assert model.version_aliases == ["system-test", "canary", "default"]
    second = upload(aiplatform, staging, scaling_models[3], parent_model="habits", is_default_version=False)
    assert (second.version_id, second.version_aliases) == ("2", [])
    registry = model.versioning_registry
    first, last = registry.list_versions()
    assert (first.version_id, last.version_id) == ("1", "2")
    assert first == registry.get_version_info("canary")
    assert first.version_update_time == model.version_update_time
    registry.add_version_aliases(["zeta", "alpha"], "default")
    registry.remove_version_aliases(["canary"], "alpha")
    assert registry.get_model("zeta").version_aliases == ["system-test", "default", "zeta", "alpha"]


def test_pixels_that_are_doubles_on_the_wire_are_pixels_for_the_model(
    aiplatform: Any, staging: str, halving_model: Path, emulator: Any
) -> None:
    import requests
    from google.api_core import exceptions

    endpoint = upload(aiplatform, staging, halving_model).deploy(machine_type="n1-standard-2")
    assert endpoint.predict(instances=[[0, 255], [7, 1]]).predictions == [[0, 127.5], [3.5, 0.5]]
    assert endpoint.predict(instances=[{"x": [0, 255]}]).predictions == [[0, 127.5]]
    with pytest.raises(exceptions.GoogleAPICallError, match=r"1\.5 Type: Number is not of .* uint8"):
        endpoint.predict(instances=[[0, 1.5]])
    # A raw request is no message of Values: the model server reads it as it is written.
    url = f"{emulator.rest}/v1/{endpoint.resource_name}:rawPredict"
    for body, status in [({"instances": [[0, 255]]}, 200), ({"instances": [[0.0, 255.0]]}, 400)]:
        assert requests.post(url, data=json.dumps(body)).status_code == status
    endpoint.delete(force=True)
