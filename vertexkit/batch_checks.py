"""What of a batch prediction can be checked by looking at its options alone. Every function here is pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import orjson

from vertexkit.batch_input import InstanceConfig, is_own_key
from vertexkit.batch_request import OutputFormat
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.identifiers import check_display_name, check_gcs_uri, check_labels, check_service_account
from vertexkit.instances import json_value
from vertexkit.preflight import check_deploy, finding_of
from vertexkit.types import Machine

__all__ = ["GivenOptions", "check_config", "check_options", "config_of", "parameters_of"]

_OUTPUT_FORMATS: Final[tuple[OutputFormat, ...]] = get_args(OutputFormat)

_DATASET: Final = re.compile(r"bq://[^\s./]+(?:\.[^\s./]+)?")
_MOST_BATCH: Final = 2**31 - 1
_WITHOUT_FIELDS: Final = ("tf-record", "tf-record-gzip", "file-list")


@dataclass(frozen=True)
class GivenOptions:
    """The options of `Model.batch_predict` as the caller gives them."""

    machine: object
    """None for the usual one."""
    replicas: object
    """How many to begin with and at most, or one number for both."""
    batch_size: object = None
    destination: object = None
    output_format: object = "jsonl"
    parameters: object = None
    labels: object = None
    name: object = None
    service_account: object = None


def check_options(
    given: GivenOptions, *, image: str | None = None, fixed_batch: int | None = None
) -> list[Finding]:
    """Whether a job can be made with these options.

    Args:
        given: The options.
        image: URI of the model's container, where that is known.
        fixed_batch: How many instances the model takes at a time, where it takes no other number.

    Returns:
        What is wrong and what would do.
    """
    machine = Machine() if given.machine is None else given.machine
    findings = check_deploy(machine=machine, replicas=given.replicas, image=image)
    findings += _check_batch_size(given.batch_size, fixed_batch)
    findings += _check_output(given.output_format, given.destination)
    try:
        parameters_of(given.parameters)
    except InvalidArgument as error:
        findings.append(finding_of(error))
    if given.labels is not None:
        findings += check_labels(given.labels)
    if given.name is not None:
        findings += check_display_name(given.name)
    if given.service_account is not None:
        findings += check_service_account(given.service_account)
    return findings


def config_of(
    *, instance_type: object, key_field: object, included_fields: object, excluded_fields: object
) -> tuple[InstanceConfig, list[Finding]]:
    """How instances are to be made, and what is wrong with how that is said."""
    findings: list[Finding] = []
    if instance_type not in (None, "object", "array"):
        findings.append(Finding("instance_type", instance_type, "is neither 'object' nor 'array'"))
    if key_field is not None and not (isinstance(key_field, str) and key_field):
        findings.append(Finding("key_field", key_field, "is not the name of a field"))
    elif isinstance(key_field, str) and is_own_key(key_field):
        problem = "is what vertexkit calls an instance's position in what it writes itself"
        remedy = f"rename the field, or leave it out with excluded_fields=[{key_field!r}]"
        findings.append(Finding("key_field", key_field, problem, remedy))
    lists = {}
    for argument, names in (("included_fields", included_fields), ("excluded_fields", excluded_fields)):
        listed = list(names) if isinstance(names, list | tuple) else []
        good = names is None or (
            isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in listed)
        )
        if not good:
            remedy = f"write {argument}=['width', 'height'], for example"
            findings.append(Finding(argument, names, "is no list of names of fields", remedy))
        elif len(set(listed)) < len(listed):
            findings.append(Finding(argument, names, "names a field twice"))
        lists[argument] = tuple(listed) if good else ()
    included, excluded = lists["included_fields"], lists["excluded_fields"]
    if included and excluded:
        problem = "is given with included_fields, which says already what is left out"
        findings.append(Finding("excluded_fields", list(excluded), problem, "give one of them"))
    if key_field is not None and key_field in included:
        problem = "is one of included_fields, and the key is not sent to the model"
        findings.append(Finding("key_field", key_field, problem, "take it out of included_fields"))
    if findings:
        return InstanceConfig(), findings
    kind: Any = instance_type
    key: Any = key_field
    return InstanceConfig(kind, key, included, excluded), []


def check_config(config: InstanceConfig, format: str) -> list[Finding]:
    """Whether instances of this format have what the configuration speaks of."""
    given = {
        "instance_type": config.instance_type,
        "key_field": config.key_field,
        "included_fields": list(config.included_fields),
        "excluded_fields": list(config.excluded_fields),
    }
    if format in _WITHOUT_FIELDS:
        wrong = [argument for argument, value in given.items() if value]
    elif format == "csv":
        wrong = [argument for argument in ("included_fields", "excluded_fields") if given[argument]]
    else:
        return []
    what = "whose instances are bytes" if format in _WITHOUT_FIELDS else "whose rows are sent whole"
    return [
        Finding(argument, given[argument], f"is not for {format}, {what}", "leave it out, or write jsonl")
        for argument in wrong
    ]


def parameters_of(parameters: object) -> Any:
    """The model's parameters as JSON carries them.

    Raises:
        InvalidArgument: JSON cannot carry them.
    """
    if parameters is None:
        return None
    if not isinstance(parameters, Mapping):
        raise InvalidArgument("parameters", parameters, "is no mapping from names to values")
    ready = json_value("parameters", parameters)
    return orjson.loads(orjson.dumps(ready, option=orjson.OPT_SERIALIZE_NUMPY))


def _check_batch_size(size: object, fixed: int | None) -> list[Finding]:
    if size is None:
        return []
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MOST_BATCH:
        return [Finding("batch_size", size, "is not a number of instances from 1 up")]
    if fixed is not None and size % fixed:
        remedy = f"leave it out, or give a multiple of {fixed}"
        problem = f"is not a multiple of {fixed}, the number of instances that the model takes at a time"
        return [Finding("batch_size", size, problem, remedy)]
    return []


def _check_output(format: object, destination: object) -> list[Finding]:
    if format not in _OUTPUT_FORMATS:
        remedy = f"use {', '.join(map(repr, _OUTPUT_FORMATS))}"
        return [Finding("output_format", format, "is not a format of results", remedy)]
    if format == "bigquery":
        if isinstance(destination, str) and _DATASET.fullmatch(destination):
            return []
        problem = "is no place in BigQuery, where the results are to go"
        return [Finding("destination", destination, problem, "write bq://project or bq://project.dataset")]
    if destination is None:
        return []
    found = check_gcs_uri(destination, "destination")
    if isinstance(destination, str) and destination.startswith("bq://"):
        return [replace(one, remedy="add output_format='bigquery'") for one in found]
    return found
