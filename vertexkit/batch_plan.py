"""From what a caller asks of a batch prediction to what is sent, with everything that is wrong with it.

Sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.arguments import machine_of, replicas_of
from vertexkit._core.names import is_gcs_uri
from vertexkit.batch_checks import GivenOptions, check_options, config_of, parameters_of
from vertexkit.batch_request import BatchRequest
from vertexkit.batch_source import Understood, understand_source
from vertexkit.bucket_checks import check_bucket
from vertexkit.codec import numbers_of
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.preflight import finding_of, is_refused
from vertexkit.regions import check_region
from vertexkit.types import Machine, Signature

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.model_state import ModelState

__all__ = ["BatchPlan", "plan_batch"]

_BODY_BYTES: Final = 1_000_000
"""Of a request to the model, from which on a greater batch gains nothing."""
_MOST_IN_BATCH: Final = 1024
_BYTES_A_NUMBER: Final = 8


@dataclass(frozen=True)
class BatchPlan:
    """A job that is ready to be sent, if nothing of the findings says otherwise."""

    findings: tuple[Finding, ...]
    name: str
    """Display name of the job."""
    model: str
    """Resource name, with its version."""
    source: Understood
    machine: Machine
    replicas: tuple[int, int]
    """How many at first, and at most."""
    batch_size: int | None
    """Instances in one request; None for the service's own choice."""
    destination: str | None
    """Where the user wants the results; None for a place of the job's own."""
    output_format: str
    parameters: Any
    """JSON; None for none."""
    labels: dict[str, str]
    service_account: str | None


def plan_batch(context: Context, model: ModelState, request: BatchRequest) -> BatchPlan:
    """Look at everything that is asked for, at where it comes from and where it would go.

    Args:
        context: The session's parts; the service is asked only what the model takes, what of the source is
            in the cloud, and where buckets are.
        model: The model, at the version that is to predict.
        request: What is asked for.

    Returns:
        The plan. While its findings hold an error it is not fit to be carried out.
    """
    config, findings = config_of(
        instance_type=request.instance_type,
        key_field=request.key_field,
        included_fields=request.included_fields,
        excluded_fields=request.excluded_fields,
    )
    findings += [*check_region(context.target.location), *_check_model(model)]
    labels, wrong_labels = _labels(context, request)
    signature = model.signature
    source = understand_source(
        context,
        request.source,
        format=request.format,
        signature=signature,
        config=config,
        keyed=request.output_format != "bigquery",  # whose tables have no room for a key
    )
    given = GivenOptions(
        machine=request.machine,
        replicas=request.replicas,
        batch_size=request.batch_size,
        destination=request.destination,
        output_format=request.output_format,
        parameters=request.parameters,
        labels=labels,
        name=request.name,
        service_account=request.service_account,
    )
    findings += wrong_labels
    findings += check_options(given, image=model.serving_image, fixed_batch=source.batch_size)
    findings += source.findings
    if not is_refused(findings):
        findings += _check_buckets(context, request, source)
    refused = is_refused(findings)
    return BatchPlan(
        findings=tuple(findings),
        name=request.name or f"{source.stem[:100]}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        model=model.versioned_name,
        source=source,
        machine=Machine() if refused else machine_of(request.machine),
        replicas=(1, 1) if refused else replicas_of(request.replicas),
        batch_size=None if refused else request.batch_size or source.batch_size or _fitting(signature),
        destination=request.destination.rstrip("/") if request.destination and not refused else None,
        output_format=request.output_format,
        parameters=None if refused else parameters_of(request.parameters),
        labels=labels,
        service_account=request.service_account,
    )


def _check_model(model: ModelState) -> list[Finding]:
    if model.serving_image is not None:
        return []
    problem = "has no container that serves it, and batch prediction needs one"
    return [Finding("model", model.versioned_name, problem, "upload it with session.models.upload()")]


def _labels(context: Context, request: BatchRequest) -> tuple[dict[str, str], list[Finding]]:
    try:
        return context.labelled(request.labels), []
    except InvalidArgument as error:
        return {}, [finding_of(error)]


def _check_buckets(context: Context, request: BatchRequest, source: Understood) -> list[Finding]:
    """Whether the buckets that the job writes, and the session sends to, are there and where it runs."""
    findings: list[Finding] = []
    if request.destination is not None and is_gcs_uri(request.destination):
        findings += check_bucket(context, "destination", request.destination)
    if source.is_local or request.destination is None:
        findings += check_bucket(context, "bucket", f"gs://{context.bucket}")
    return findings


def _fitting(signature: Signature | None) -> int | None:
    """How many instances make a request of a good size, where the signature tells how large they are."""
    numbers = None if signature is None else numbers_of(signature.inputs)
    return min(max(_BODY_BYTES // (numbers * _BYTES_A_NUMBER), 1), _MOST_IN_BATCH) if numbers else None
