"""What Vertex AI checks of a BatchPredictionJob, in its words, and what of it the batch engine is told.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs and
https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
"""

from __future__ import annotations

from typing import Final

from vertexkit._core.names import parse_gcs_uri
from vertexkit.emulator.batch.types import BatchSpec, InputFormat, Instances, OutputFormat
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.services.machine_spec import check_machine_spec
from vertexkit.emulator.services.prediction_values import from_value
from vertexkit.emulator.validation import (
    check_display_name,
    check_labels,
    check_supported,
    invalid_field,
    invalid_fields,
)
from vertexkit.machines import machine_types

FIELD: Final = "batch_prediction_job"
_DEFAULT_BATCH_SIZE: Final = 64
_MOST_SHARDS: Final = 64
_REQUESTS_PER_REPLICA: Final = 3
"""One is answered, one is on its way, and one is made or its answer written."""
_DEFAULT_MAX_REPLICAS: Final = 10
_BIGQUERY: Final = "bigquery"
_WITHOUT_FIELDS: Final = ("tf-record", "tf-record-gzip", "file-list")
"""Formats whose instances are bytes, and are sent as ``{"b64": ...}``."""
_TAKES: Final = {"key_field": ("jsonl", "csv"), "included_fields": ("jsonl",), "excluded_fields": ("jsonl",)}
"""The formats that parts of ``instance_config`` are for."""

_SUPPORTED: Final = frozenset(
    {
        "dedicated_resources",
        "disable_container_logging",
        "display_name",
        "input_config",
        "instance_config",
        "labels",
        "manual_batch_tuning_parameters",
        "model",
        "model_parameters",
        "output_config",
        # Whose rights the container would have in Google Cloud, where local ones have nothing to do.
        "service_account",
        # Output only, which services ignore in requests.
        "completion_stats",
        "create_time",
        "end_time",
        "error",
        "model_version_id",
        "name",
        "output_info",
        "partial_failures",
        "resources_consumed",
        "start_time",
        "state",
        "update_time",
    }
)
_RESOURCES: Final = frozenset({"machine_spec", "max_replica_count", "starting_replica_count"})
_MACHINE: Final = frozenset({"accelerator_count", "accelerator_type", "machine_type"})

_Problems = list[tuple[str, str]]


def check_batch_job(asked: Raw, objects: ObjectStore) -> None:
    """Refuse a job that Vertex AI refuses, or that asks for what the local one does not do.

    Its model, and whether its inputs are there, are left to whoever looks for them.

    Args:
        asked: The BatchPredictionJob of the request.
        objects: The local Cloud Storage, which is to hold the output.

    Raises:
        ApiError: INVALID_ARGUMENT, naming every wrong field; UNIMPLEMENTED, naming one.
    """
    check_display_name(asked.display_name, f"{FIELD}.display_name")
    check_labels(asked.labels, f"{FIELD}.labels")
    check_supported(asked, _SUPPORTED, FIELD)
    _check_bigquery(asked)
    problems: _Problems = []
    if not asked.model:
        problems.append((f"{FIELD}.model", "Required field is not set."))
    problems += _input_problems(asked.input_config)
    problems += _instance_problems(asked.instance_config, asked.input_config.instances_format)
    problems += _output_problems(asked.output_config, objects)
    problems += _resource_problems(asked)
    if asked.manual_batch_tuning_parameters.batch_size < 0:
        problems.append(
            (
                f"{FIELD}.manual_batch_tuning_parameters.batch_size",
                f"It is {asked.manual_batch_tuning_parameters.batch_size}, and must not be negative.",
            )
        )
    if problems:
        raise invalid_fields(problems)
    machine = asked.dedicated_resources.machine_spec
    check_machine_spec(machine, machine_types(), f"{FIELD}.dedicated_resources.machine_spec")


def starting_replicas(job: Raw) -> int:
    """How many replicas a job begins with; Vertex AI decides where it does not say, and one will do here."""
    return int(job.dedicated_resources.starting_replica_count) or 1


def most_replicas(job: Raw) -> int:
    """How many replicas a job may have at most."""
    return int(job.dedicated_resources.max_replica_count) or _DEFAULT_MAX_REPLICAS


def engine_spec(job: Raw, uris: tuple[str, ...], replicas: int) -> BatchSpec:
    """What the batch engine is to do.

    Args:
        job: The BatchPredictionJob, checked.
        uris: The objects to read.
        replicas: How many model servers there are.
    """
    config = job.instance_config
    return BatchSpec(
        input_format=InputFormat(job.input_config.instances_format),
        uris=uris,
        output_format=OutputFormat(job.output_config.predictions_format),
        instances=Instances(
            instance_type=config.instance_type,
            key_field=config.key_field,
            included=tuple(config.included_fields),
            excluded=tuple(config.excluded_fields),
        ),
        parameters=from_value(job.model_parameters) if job.HasField("model_parameters") else b"",
        batch_size=job.manual_batch_tuning_parameters.batch_size or _DEFAULT_BATCH_SIZE,
        # Of the job alone, so that it has as many when it goes on on a fuller machine.
        shards=min(starting_replicas(job), _MOST_SHARDS),
        in_flight=_REQUESTS_PER_REPLICA * replicas,
    )


def _check_bigquery(asked: Raw) -> None:
    """Refuse, by name, sources and destinations that are not in Cloud Storage."""
    ways = (
        (asked.input_config, "source", "gcs_source", "instances_format", "input_config"),
        (asked.output_config, "destination", "gcs_destination", "predictions_format", "output_config"),
    )
    for config, of, taken, format_field, path in ways:
        chosen = config.WhichOneof(of)
        if chosen not in (None, taken):
            named = f"{FIELD}.{path}.{chosen}"
        elif getattr(config, format_field) == _BIGQUERY:
            named = f'{FIELD}.{path}.{format_field} "{_BIGQUERY}"'
        else:
            continue
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The local Vertex AI does not support {named}: it reads and writes Cloud Storage only.",
        )


def _input_problems(config: Raw) -> _Problems:
    path = f"{FIELD}.input_config"
    problems = _format_problems(
        config.instances_format, tuple(InputFormat), f"{path}.instances_format", "input"
    )
    if not config.gcs_source.uris:
        problems.append((f"{path}.gcs_source.uris", "Required field is not set."))
    for index, uri in enumerate(config.gcs_source.uris):
        where = f"{path}.gcs_source.uris[{index}]"
        try:
            named = parse_gcs_uri(uri)
        except ValueError as error:
            problems.append((where, f"{error}"))
            continue
        if not named.name or named.name.endswith("/"):
            problems.append(
                (where, f"{uri} is a folder. Name an object, or all that are in it: {uri.rstrip('/')}/*")
            )
    return problems


def _instance_problems(config: Raw, instances_format: str) -> _Problems:
    path = f"{FIELD}.instance_config"
    problems: _Problems = []
    kind = config.instance_type
    if kind not in ("", "object", "array"):
        problems.append((f"{path}.instance_type", f'It is "{kind}", and can be "object" or "array".'))
    elif kind and instances_format in _WITHOUT_FIELDS:
        problems.append((f"{path}.instance_type", f'It does not apply to the format "{instances_format}".'))
    if config.included_fields and config.excluded_fields:
        problems.append(
            (f"{path}.excluded_fields", "It must be empty when included_fields is populated, and is not.")
        )
    for field in ("key_field", "included_fields", "excluded_fields"):
        if not getattr(config, field) or instances_format in _TAKES[field]:
            continue
        if instances_format.startswith("tf-record"):
            raise ApiError(
                Code.UNIMPLEMENTED,
                f"The local Vertex AI does not support {path}.{field} with {instances_format}: it sends each "
                "record as it is, and does not look into it.",
            )
        problems.append((f"{path}.{field}", f'It does not apply to the format "{instances_format}".'))
    return problems


def _output_problems(config: Raw, objects: ObjectStore) -> _Problems:
    path = f"{FIELD}.output_config"
    problems = _format_problems(
        config.predictions_format, tuple(OutputFormat), f"{path}.predictions_format", "output"
    )
    where, uri = f"{path}.gcs_destination.output_uri_prefix", config.gcs_destination.output_uri_prefix
    if not uri:
        problems.append((where, "Required field is not set."))
        return problems
    try:
        bucket = parse_gcs_uri(uri).bucket
    except ValueError as error:
        problems.append((where, f"{error}"))
    else:
        if not objects.bucket_exists(bucket):
            problems.append((where, f"The bucket gs://{bucket} does not exist."))
    return problems


def _format_problems(given: str, known: tuple[str, ...], field: str, direction: str) -> _Problems:
    if given in known:
        return []
    if not given:
        return [(field, "Required field is not set.")]
    names = ", ".join((*known, _BIGQUERY))
    return [
        (field, f'"{given}" is not one of the supported {direction} storage formats of the Model: {names}.')
    ]


def _resource_problems(asked: Raw) -> _Problems:
    path, resources = f"{FIELD}.dedicated_resources", asked.dedicated_resources
    if not asked.HasField("dedicated_resources"):
        return [(path, "Required field is not set: the Model does not support automatic resources.")]
    check_supported(resources, _RESOURCES, path)
    check_supported(resources.machine_spec, _MACHINE, f"{path}.machine_spec")
    problems: _Problems = []
    if not resources.machine_spec.machine_type:
        problems.append((f"{path}.machine_spec.machine_type", "Required field is not set."))
    for field in ("starting_replica_count", "max_replica_count"):
        if getattr(resources, field) < 0:
            problems.append(
                (f"{path}.{field}", f"It is {getattr(resources, field)}, and must not be negative.")
            )
    if not problems and starting_replicas(asked) > most_replicas(asked):
        problems.append(
            (
                f"{path}.starting_replica_count",
                f"It is {starting_replicas(asked)}, and cannot be more than max_replica_count, which is "
                f"{most_replicas(asked)}.",
            )
        )
    return problems


def not_found(index: int, message: str) -> ApiError:
    """The refusal of an input that is not there."""
    return invalid_field(f"{FIELD}.input_config.gcs_source.uris[{index}]", message)
