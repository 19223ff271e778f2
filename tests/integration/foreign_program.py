"""A user's program of Google's clients: ``foreign_program.py SAVED_MODEL LOCATION [TRANSPORT] [STAGING]``.

Written for Google Cloud: no endpoint, no credentials, nothing of an emulator. Prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from google.cloud import aiplatform, aiplatform_v1, storage

PROJECT = "my-first-project"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
INSTANCES = [[1.0, 2.0, 3.0], [0.0, 0.5, -1.0]]


def stored(folder: str, location: str) -> tuple[str, list[str]]:
    """Upload a folder to a bucket of one's own; its URI and what a listing shows."""
    from pathlib import Path

    client = storage.Client(project=PROJECT)
    bucket = client.create_bucket(f"{PROJECT}-models", location=location)
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    for path in files:
        bucket.blob(f"scaling/{path.relative_to(folder)}").upload_from_filename(str(path))
    return f"gs://{bucket.name}/scaling", sorted(blob.name for blob in client.list_blobs(bucket.name))


def main() -> None:
    """Do what there is to do with a model."""
    folder, location, transport, staging = (*sys.argv[1:], "", "")[:4]
    options: dict[str, Any] = {"api_transport": transport} if transport else {}
    if staging:
        storage.Client(project=PROJECT).create_bucket(staging.removeprefix("gs://"))
        options["staging_bucket"] = staging
    aiplatform.init(project=PROJECT, location=location, **options)

    uri, listed = stored(folder, location)
    by_uri = aiplatform.Model.upload(
        display_name="by-uri", artifact_uri=uri, serving_container_image_uri=IMAGE
    )
    staged = aiplatform.Model.upload_tensorflow_saved_model(
        folder, tensorflow_version="2.15", display_name="staged"
    )
    endpoint = aiplatform.Endpoint.create(display_name="mine")
    endpoint.deploy(staged, machine_type="n1-standard-2", traffic_percentage=100)
    body = json.dumps({"instances": INSTANCES}).encode()
    raw = endpoint.raw_predict(body, {"Content-Type": "application/json"})

    host = {"api_endpoint": f"{location}-aiplatform.googleapis.com"}
    models = aiplatform_v1.ModelServiceClient(client_options=host)
    names = [
        model.display_name for model in models.list_models(parent=f"projects/{PROJECT}/locations/{location}")
    ]
    found = {
        "listed": listed,
        "models": sorted(names),
        "staged_in": staged.uri.split("/")[2],
        "predictions": endpoint.predict(instances=INSTANCES).predictions,
        "async": asyncio.run(endpoint.predict_async(instances=INSTANCES)).predictions,
        "raw": json.loads(raw.text)["predictions"],
    }
    endpoint.delete(force=True)
    for model in (by_uri, staged):
        model.delete()
    found["left"] = [model.display_name for model in aiplatform.Model.list()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
