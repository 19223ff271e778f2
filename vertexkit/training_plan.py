"""From what a caller asks for to what is sent, with everything that is wrong with it. Sends nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertexkit import training_checks as checks
from vertexkit._core.lookup import parent
from vertexkit._core.names import is_resource_name, parse_gcs_uri
from vertexkit.bucket_checks import check_bucket
from vertexkit.command_line import check_args, check_env, command_line
from vertexkit.errors import Finding, InvalidArgument, PermissionDenied
from vertexkit.identifiers import check_display_name, check_labels
from vertexkit.image_packages import provided
from vertexkit.job_creation import run_label
from vertexkit.packaging import Program, understand
from vertexkit.preflight import finding_of, is_refused
from vertexkit.regions import check_region
from vertexkit.training_images import parse_training_image, serving_image_for, training_image
from vertexkit.training_request import TrainingRequest
from vertexkit.worker_pools import Pool, check_pools, pools_of, with_gpu

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["TrainingPlan", "plan_training"]


@dataclass(frozen=True)
class TrainingPlan:
    """A job that is ready to be sent, if nothing of the findings says otherwise."""

    findings: tuple[Finding, ...]
    name: str
    """Display name of the job."""
    model: str | None
    """Display name of the model; None for a job without one."""
    program: Program | None
    """None for what a container of the user's own has in it."""
    image: str
    serving_image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: dict[str, str]
    pools: tuple[Pool, ...]
    labels: dict[str, str]
    output: str | None
    """Where the user wants the output: ``gs://bucket/folder``; None for a place of the job's own."""
    timeout: float | None
    """Seconds that it may run."""
    service_account: str | None
    tensorboard: str | None
    """Resource name."""
    dataset: str | None
    """Id."""
    network: str | None
    restart_on_worker_restart: bool
    spot: bool


def plan_training(context: Context, request: TrainingRequest, *, complete: bool = True) -> TrainingPlan:
    """Look at everything that is asked for, and at where it would go.

    Args:
        context: The session's parts; the service is asked only where the buckets are.
        request: What is asked for.
        complete: Whether the program gets no arguments but those of the request, so that what else it
            requires would be missing.

    Returns:
        The plan. While its findings hold an error it is not fit to be carried out.
    """
    target = context.target
    findings = check_region(target.location)
    pools = pools_of(
        machine=request.machine,
        workers=request.workers,
        parameter_servers=request.parameter_servers,
        evaluators=request.evaluators,
        worker_machine=request.worker_machine,
        parameter_server_machine=request.parameter_server_machine,
        evaluator_machine=request.evaluator_machine,
    )
    wrong_pools = check_pools(pools)
    gpu = not is_refused(wrong_pools) and with_gpu(pools)
    image, wrong_image = _image(request, gpu, target.location)
    program, wrong_program = _program(request, image)
    stem = _stem(request, program, image)
    if request.name is not None:
        findings += check_display_name(request.name)
    labels: dict[str, str] = {}
    try:
        labels = context.labelled(request.labels)
        findings += check_labels({**labels, **run_label()})
    except InvalidArgument as error:
        findings.append(finding_of(error))
    findings += [
        *wrong_program,
        *checks.check_container(request, gpu=gpu),
        *wrong_image,
        *checks.check_command(request),
        *_check_args(request, program, complete),
        *check_env(request.env),
        *wrong_pools,
        *checks.check_switches(request),
        *checks.check_timeout(request.timeout),
        *checks.check_account(request),
        *checks.check_named_resource("tensorboard", request.tensorboard, "tensorboards"),
        *checks.check_named_resource("dataset", request.dataset, "datasets"),
        *checks.check_network(request.network),
        *checks.check_model(request),
        *checks.check_output(request.base_output_dir),
    ]
    serving, wrong_serving = _serving_image(request, image, target.location)
    findings += [*wrong_serving, *_check_buckets(context, request, program)]
    refused = is_refused(findings)
    return TrainingPlan(
        findings=tuple(findings),
        name=request.name or f"{stem[:100]}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        model=None if request.model is False else request.model or request.name or stem[:100],
        program=program,
        image=image,
        serving_image=serving,
        command=() if refused else tuple(request.command or ()),
        args=() if refused else tuple(command_line(request.args)),
        env={} if refused else dict(request.env or {}),
        pools=pools,
        labels=labels,
        output=request.base_output_dir.rstrip("/") if request.base_output_dir and not refused else None,
        timeout=None if refused else checks.timeout_seconds(request.timeout),
        service_account=request.service_account,
        tensorboard=_full_name(context, request.tensorboard, "tensorboards"),
        dataset=None if refused or request.dataset is None else request.dataset.rpartition("/")[2],
        network=request.network,
        restart_on_worker_restart=request.restart_on_worker_restart,
        spot=request.spot,
    )


def _image(request: TrainingRequest, gpu: bool, location: str) -> tuple[str, list[Finding]]:
    if request.image is not None:
        return request.image, []
    names = {"version": "framework_version", "gpu": "machine"}
    return _found(
        lambda: training_image(request.framework, request.framework_version, gpu=gpu, location=location),
        names,
    )


def _serving_image(request: TrainingRequest, image: str, location: str) -> tuple[str, list[Finding]]:
    """What is to serve the model: the prebuilt container of the version that trains it, if there is one."""
    if request.model is False or not image:
        return "", []
    if request.serving_image is not None:
        return request.serving_image, []
    names = {"version": "framework_version"}
    return _found(lambda: serving_image_for(image, framework=request.framework, location=location), names)


def _program(request: TrainingRequest, image: str) -> tuple[Program | None, list[Finding]]:
    if request.program is None:
        return None, []
    prebuilt = parse_training_image(image) if isinstance(image, str) else None
    try:
        program = understand(
            request.program,
            module=request.module,
            requirements=request.requirements,
            provided=None if prebuilt is None else provided(prebuilt),
        )
    except InvalidArgument as error:
        return None, [finding_of(error)]
    return program, list(program.findings)


def _check_args(request: TrainingRequest, program: Program | None, complete: bool) -> list[Finding]:
    """Whether the arguments are possible, and the program's own parser would take them."""
    findings = check_args(request.args)
    if program is None or is_refused(findings):
        return findings
    from vertexkit.program_args import check_args as check_parsed

    return [*findings, *check_parsed(program, command_line(request.args), complete=complete)]


def _check_buckets(context: Context, request: TrainingRequest, program: Program | None) -> list[Finding]:
    """Whether the buckets that the job reads and writes are there, and where it runs."""
    findings: list[Finding] = []
    given = {"base_output_dir": request.base_output_dir, "program": None if program is None else program.uri}
    for argument, uri in given.items():
        if isinstance(uri, str) and not checks.check_output(uri):
            found = check_bucket(context, argument, uri)
            if argument == "program" and not is_refused(found) and not _exists(context, uri):
                found.append(Finding(argument, uri, "does not exist"))
            findings += found
    needs_default = request.base_output_dir is None or (program is not None and program.uri is None)
    if needs_default:
        findings += check_bucket(context, "bucket", f"gs://{context.bucket}")
    return findings


def _exists(context: Context, uri: str) -> bool:
    from vertexkit.storage import Bucket

    parsed = parse_gcs_uri(uri)
    try:
        return Bucket(context, parsed.bucket).exists(parsed.name)
    except PermissionDenied:
        return True  # for all that is known: the account that the job runs as may see it


def _stem(request: TrainingRequest, program: Program | None, image: str) -> str:
    """What the job and its model are called when the user does not say."""
    if program is not None:
        named = os.fspath(request.program) if request.program is not None else ""
        is_script = isinstance(named, str) and named.endswith(".py")
        stem = Path(named).stem if is_script else program.module.rpartition(".")[2]
    else:
        path = image.partition("@")[0].rpartition("/")[2] if isinstance(image, str) else ""
        stem = path.partition(":")[0]
    return re.sub(r"\s+", "-", stem).strip("-") or "training"


def _full_name(context: Context, name: Any, collection: str) -> str | None:
    if name is None or not isinstance(name, str) or is_resource_name(name):
        return name if isinstance(name, str) else None
    return f"{parent(context)}/{collection}/{name}"


def _found(make: Callable[[], str], names: dict[str, str]) -> tuple[str, list[Finding]]:
    """What `make` makes, or what it says is wrong, in the caller's names of the arguments."""
    try:
        return make(), []
    except InvalidArgument as error:
        found = finding_of(error)
        return "", [replace(found, argument=names.get(found.argument, found.argument))]
