"""A model's whole life through Google's own client, over each of its transports."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@pytest.fixture
def uploaded(aiplatform: Any, emulator: Any, project: str, scaling_models: Mapping[int, Path]) -> str:
    """``gs://`` URI of a model that doubles, uploaded with Google's storage client."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project=project, credentials=AnonymousCredentials())
    bucket = client.create_bucket(f"models-{project}")
    for path in scaling_models[2].rglob("*"):
        if path.is_file():
            name = path.relative_to(scaling_models[2]).as_posix()
            bucket.blob(f"double/{name}").upload_from_filename(str(path))
    return f"gs://models-{project}/double"


@pytest.fixture
def deployed(aiplatform: Any, uploaded: str) -> Iterator[Any]:
    """An endpoint on which that model is deployed, cleaned up by Google's client too."""
    model = aiplatform.Model.upload(
        display_name="double", artifact_uri=uploaded, serving_container_image_uri=IMAGE
    )
    endpoint = model.deploy(machine_type="n1-standard-2")
    yield endpoint
    endpoint.delete(force=True)
    model.delete()
    assert (aiplatform.Endpoint.list(), aiplatform.Model.list()) == ([], [])


def test_a_deployed_model_predicts_over_either_transport_and_refuses_in_its_own_words(
    aiplatform: Any, deployed: Any, emulator: Any
) -> None:
    from google.api_core import exceptions

    answer = deployed.predict([[1, 2, 3], [4, 5, 6]])
    assert answer.predictions == [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]
    (model,) = deployed.list_models()
    assert (answer.deployed_model_id, answer.model_resource_name) == (model.id, model.model)

    path, body = f"/v1/{deployed.resource_name}:predict", {"instances": [[1, 2, 3]]}
    plain = requests.post(emulator.rest + path, json=body).json()
    assert plain["predictions"] == [[2.0, 4.0, 6.0]]
    assert requests.post(f"https://{emulator.grpc}{path}", json=body, verify=emulator.ca).json() == plain
    refused = requests.post(emulator.rest + path, json={**body, "signature_name": "serving_default"})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == (
        'Invalid JSON payload received. Unknown name "signature_name": Cannot find field.'
    )

    aiplatform.Model(model.model).update(display_name="twice")
    assert requests.post(emulator.rest + path, json=body).json() == {**plain, "modelDisplayName": "twice"}

    with pytest.raises((exceptions.InvalidArgument, exceptions.BadRequest)):
        deployed.predict([["not a number"]])
