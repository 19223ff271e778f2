"""The options of a batch prediction: what is refused, and the JSON that comes of what is not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from google.cloud.aiplatform_v1.types import BatchPredictionJob

from vertexkit.batch_body import BatchOptions, batch_body
from vertexkit.batch_checks import GivenOptions, check_config, check_options, config_of, parameters_of
from vertexkit.batch_input import BatchInput, InstanceConfig
from vertexkit.errors import InvalidArgument
from vertexkit.types import Machine

GOOD = GivenOptions(machine=Machine("n1-standard-2"), replicas=(1, 3))
NO_CONFIG: dict[str, Any] = dict.fromkeys(
    ("instance_type", "key_field", "included_fields", "excluded_fields")
)
MODEL = "projects/1/locations/us-central1/models/2@3"


def wrong(**options: Any) -> str:
    return "\n".join(map(str, check_options(dataclasses.replace(GOOD, **options))))


def test_good_options_pass() -> None:
    assert wrong() == ""
    assert wrong(batch_size=64, destination="gs://bucket/out", output_format="csv", labels={"a": "b"}) == ""
    assert wrong(output_format="bigquery", destination="bq://project.dataset") == ""
    assert wrong(output_format="bigquery", destination="bq://project") == ""
    assert (
        wrong(parameters={"threshold": np.float32(0.5)}, service_account="a@p.iam.gserviceaccount.com") == ""
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"machine": "n1-standard-3"}, "machine"),
        ({"replicas": (3, 1)}, "replicas=(3, 1): has a greatest number that is below the least"),
        ({"replicas": 0}, "replicas=0"),
        ({"batch_size": 0}, "batch_size=0: is not a number of instances from 1 up"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"output_format": "parquet"}, "use 'jsonl', 'csv', 'bigquery'"),
        ({"destination": "out"}, "destination='out': is not a gs:// URI"),
        ({"destination": "gs://B/out"}, "destination='gs://B/out': the bucket 'B'"),
        ({"destination": "bq://project.dataset"}, "add output_format='bigquery'"),
        ({"output_format": "bigquery"}, "write bq://project or bq://project.dataset"),
        ({"output_format": "bigquery", "destination": "gs://b/o"}, "is no place in BigQuery"),
        ({"parameters": [1]}, "parameters=[1]: is no mapping"),
        ({"parameters": {"a": float("nan")}}, "parameters['a']=nan"),
        ({"labels": {"A": "b"}}, "labels['A']"),
        ({"name": ""}, "name='': is empty"),
        ({"service_account": "somebody"}, "is not the e-mail address of a service account"),
    ],
)
def test_bad_options_are_refused_by_name_and_value(options: dict[str, Any], words: str) -> None:
    assert words in wrong(**options)


def test_everything_is_told_at_once() -> None:
    found = wrong(batch_size=-1, destination="out", name="", machine="n1-standard-3")
    assert all(argument in found for argument in ("batch_size", "destination", "name", "machine"))


def test_a_batch_must_fit_a_model_of_a_fixed_one() -> None:
    given = dataclasses.replace(GOOD, batch_size=6)
    (found,) = check_options(given, fixed_batch=4)
    assert "batch_size=6: is not a multiple of 4" in str(found)
    assert check_options(given, fixed_batch=3) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"instance_type": "row"}, "instance_type='row': is neither 'object' nor 'array'"),
        ({"key_field": 3}, "key_field=3: is not the name of a field"),
        ({"key_field": "vertexkit_key"}, "rename the field, or leave it out with excluded_fields"),
        ({"key_field": "vertexkit_key7"}, "is what vertexkit calls an instance's position"),
        ({"included_fields": "abc"}, "write included_fields=['width', 'height']"),
        ({"excluded_fields": ["a", "a"]}, "excluded_fields=['a', 'a']: names a field twice"),
        ({"included_fields": ["a"], "excluded_fields": ["b"]}, "give one of them"),
        ({"included_fields": ["a"], "key_field": "a"}, "take it out of included_fields"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(options: dict[str, Any], words: str) -> None:
    config, findings = config_of(**{**NO_CONFIG, **options})
    assert words in "\n".join(map(str, findings))
    assert config.is_default


def test_a_configuration_is_for_formats_that_have_fields() -> None:
    config, findings = config_of(**{**NO_CONFIG, "key_field": "id", "excluded_fields": ("a",)})
    assert findings == []
    assert check_config(config, "jsonl") == check_config(config, "bigquery") == []
    assert [found.argument for found in check_config(config, "csv")] == ["excluded_fields"]
    assert [found.argument for found in check_config(config, "file-list")] == ["key_field", "excluded_fields"]


def test_parameters_become_what_json_carries() -> None:
    assert parameters_of({"a": np.arange(2), "b": b"x"}) == {"a": [0, 1], "b": {"b64": "eA=="}}
    assert parameters_of(None) is None
    with pytest.raises(InvalidArgument):
        parameters_of({"a": object()})


def test_a_job_is_written_as_the_service_has_it() -> None:
    options = BatchOptions(
        "digits",
        MODEL,
        "gs://bucket/out",
        machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4"),
        replicas=(2, 5),
        batch_size=128,
        parameters={"threshold": 0.5},
        service_account="a@p.iam.gserviceaccount.com",
    )
    config = InstanceConfig("array", "id", ("a", "b"))
    body = batch_body(options, BatchInput("jsonl", ("gs://bucket/in/*",), config=config), {"team": "a"})
    # Google's own message takes every field of it.
    job = BatchPredictionJob.from_json(json.dumps(body))
    assert job.model == MODEL
    assert list(job.input_config.gcs_source.uris) == ["gs://bucket/in/*"]
    assert job.input_config.instances_format == "jsonl"
    assert list(job.instance_config.included_fields) == ["a", "b"]
    assert (job.instance_config.key_field, job.instance_config.instance_type) == ("id", "array")
    assert job.output_config.gcs_destination.output_uri_prefix == "gs://bucket/out"
    assert job.output_config.predictions_format == "jsonl"
    assert job.dedicated_resources.machine_spec.accelerator_count == 1
    assert job.dedicated_resources.starting_replica_count == 2
    assert job.dedicated_resources.max_replica_count == 5
    assert job.manual_batch_tuning_parameters.batch_size == 128
    assert job.service_account == "a@p.iam.gserviceaccount.com"
    assert dict(job.labels) == {"team": "a"}


def test_what_is_not_said_is_left_out() -> None:
    options = BatchOptions("digits", MODEL, "bq://project.dataset", output_format="bigquery")
    body = batch_body(options, BatchInput("bigquery", bigquery="bq://p.d.t"), {})
    assert body["inputConfig"] == {
        "instancesFormat": "bigquery",
        "bigquerySource": {"inputUri": "bq://p.d.t"},
    }
    assert body["outputConfig"] == {
        "predictionsFormat": "bigquery",
        "bigqueryDestination": {"outputUri": "bq://project.dataset"},
    }
    assert not {"instanceConfig", "modelParameters", "serviceAccount"} & set(body)
    assert "manualBatchTuningParameters" not in body
