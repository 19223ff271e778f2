"""Batch prediction jobs that are refused, as Vertex AI refuses them, before anything is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from local_bucket import Bucket

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
MACHINE = "n1-standard-2"

Change = Callable[[dict[str, Any]], Any]


def reads(form: str, **config: Any) -> Change:
    """Has a job read another format, with an ``instanceConfig``."""

    def change(job: dict[str, Any]) -> None:
        job["inputConfig"].update(instancesFormat=form)
        job.update(instanceConfig=config)

    return change


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        pytest.param(
            lambda job: job.pop("displayName"), 400, "Field: batch_prediction_job.display_name;", id="no name"
        ),
        pytest.param(lambda job: job.pop("model"), 400, "Field: batch_prediction_job.model;", id="no model"),
        pytest.param(
            lambda job: job.update(model=job["model"].replace("us-central1", "europe-west1")),
            400,
            "is not the name of a model in",
            id="model elsewhere",
        ),
        pytest.param(
            lambda job: job.update(model=job["model"].rpartition("/")[0] + "/404"),
            404,
            "The Model",
            id="no such model",
        ),
        pytest.param(
            lambda job: job["inputConfig"].update(instancesFormat="parquet"),
            400,
            'input_config.instances_format; Message: "parquet" is not one of the supported input',
            id="input format",
        ),
        pytest.param(
            lambda job: job["outputConfig"].update(predictionsFormat="tf-record"),
            400,
            'predictions_format; Message: "tf-record" is not one of the supported output storage formats',
            id="output format",
        ),
        pytest.param(
            lambda job: job["inputConfig"]["gcsSource"].update(uris=["gs://BUCKET/absent-*"]),
            400,
            "input_config.gcs_source.uris[0]; Message: gs://BUCKET/absent-* matches no object.",
            id="pattern",
        ),
        pytest.param(
            lambda job: job["inputConfig"]["gcsSource"]["uris"].append("gs://BUCKET/absent.jsonl"),
            400,
            "input_config.gcs_source.uris[1]; Message: gs://BUCKET/absent.jsonl does not exist.",
            id="object",
        ),
        pytest.param(
            lambda job: job["inputConfig"]["gcsSource"].update(uris=["gs://BUCKET/folder/"]),
            400,
            "uris[0]; Message: gs://BUCKET/folder/ is a folder.",
            id="folder",
        ),
        pytest.param(
            lambda job: job["inputConfig"].pop("gcsSource"),
            400,
            "input_config.gcs_source.uris; Message: Required field is not set.",
            id="no source",
        ),
        pytest.param(
            lambda job: job["outputConfig"]["gcsDestination"].update(outputUriPrefix="/tmp/out"),
            400,
            "output_config.gcs_destination.output_uri_prefix; Message: '/tmp/out' does not start with gs://",
            id="destination",
        ),
        pytest.param(
            lambda job: job["outputConfig"]["gcsDestination"].update(outputUriPrefix="gs://no-such-bucket/x"),
            400,
            "The bucket gs://no-such-bucket does not exist.",
            id="no bucket",
        ),
        pytest.param(
            lambda job: job.update(
                inputConfig={"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}}
            ),
            501,
            "does not support batch_prediction_job.input_config.bigquery_source",
            id="bigquery source",
        ),
        pytest.param(
            lambda job: job.update(
                outputConfig={"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": "bq://p"}}
            ),
            501,
            "does not support batch_prediction_job.output_config.bigquery_destination",
            id="bigquery destination",
        ),
        pytest.param(
            lambda job: job.pop("dedicatedResources"),
            400,
            "batch_prediction_job.dedicated_resources; Message: Required field is not set",
            id="no machine",
        ),
        pytest.param(
            lambda job: job["dedicatedResources"].update(startingReplicaCount=4, maxReplicaCount=2),
            400,
            "starting_replica_count; Message: It is 4, and cannot be more than max_replica_count",
            id="replicas",
        ),
        pytest.param(
            lambda job: job["dedicatedResources"]["machineSpec"].update(machineType="z9-huge"),
            400,
            'Machine type "z9-huge" is not supported.',
            id="machine",
        ),
        pytest.param(
            lambda job: job.update(manualBatchTuningParameters={"batchSize": -1}),
            400,
            "batch_size; Message: It is -1",
            id="batch size",
        ),
        pytest.param(
            lambda job: job.update(instanceConfig={"instanceType": "tuple"}),
            400,
            'instance_config.instance_type; Message: It is "tuple"',
            id="instance type",
        ),
        pytest.param(
            lambda job: job.update(instanceConfig={"includedFields": ["a"], "excludedFields": ["b"]}),
            400,
            "instance_config.excluded_fields; Message: It must be empty",
            id="both fields",
        ),
        pytest.param(
            reads("csv", includedFields=["a"]),
            400,
            'instance_config.included_fields; Message: It does not apply to the format "csv".',
            id="fields of csv",
        ),
        pytest.param(
            reads("tf-record", keyField="a"),
            501,
            "does not support batch_prediction_job.instance_config.key_field with tf-record",
            id="key of records",
        ),
        pytest.param(
            reads("file-list", keyField="a"),
            400,
            'instance_config.key_field; Message: It does not apply to the format "file-list".',
            id="key of files",
        ),
        pytest.param(
            lambda job: job.update(generateExplanation=True),
            501,
            "does not support batch_prediction_job.generate_explanation",
            id="explanation",
        ),
        pytest.param(
            lambda job: job.update(unmanagedContainerModel={"artifactUri": "gs://b/m"}),
            501,
            "does not support batch_prediction_job.unmanaged_container_model",
            id="unmanaged",
        ),
        pytest.param(
            lambda job: job.update(encryptionSpec={"kmsKeyName": "k"}),
            501,
            "does not support batch_prediction_job.encryption_spec",
            id="encryption",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(
    change: Change, status: int, said: str, emulator: Any, shared: tuple[str, str, str]
) -> None:
    parent, model, bucket = shared
    job: dict[str, Any] = {
        "displayName": "b",
        "model": model,
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [f"gs://{bucket}/in.jsonl"]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{bucket}/out"},
        },
        "dedicatedResources": {"machineSpec": {"machineType": MACHINE}},
    }
    change(job)
    url = f"{emulator.rest}/v1/{parent}/batchPredictionJobs"
    answer = requests.post(url, json=json.loads(json.dumps(job).replace("BUCKET", bucket)))
    assert answer.status_code == status, answer.text
    assert said.replace("BUCKET", bucket) in answer.json()["error"]["message"]
    assert requests.get(url).json() == {}


@pytest.fixture(scope="module")
def shared(emulator: Any) -> tuple[str, str, str]:
    """A location, a model in it that nobody serves, and a bucket with an input."""
    storage = Bucket(emulator.storage, "refusals")
    storage.put("in.jsonl", b"[1, 2, 3]\n")
    storage.put("model/saved_model.pb", b"nothing")
    parent = f"projects/refusals/locations/{emulator.location}"
    answer = requests.post(
        f"{emulator.rest}/v1/{parent}/models:upload",
        json={
            "model": {
                "displayName": "m",
                "artifactUri": f"gs://{storage.bucket}/model",
                "containerSpec": {"imageUri": IMAGE},
            }
        },
    )
    return parent, str(answer.json()["response"]["model"]), storage.bucket
