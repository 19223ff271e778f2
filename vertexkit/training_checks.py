"""What of a training request can be checked by looking at it alone.

Every function here is pure. ``training_plan.py`` puts them together, with what is to be asked of others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta

from vertexkit._core.names import is_resource_name, parse_resource_name
from vertexkit.errors import Finding
from vertexkit.identifiers import check_display_name, check_gcs_uri, check_service_account
from vertexkit.images import check_image
from vertexkit.training_images import check_training_image, check_training_image_on, parse_training_image
from vertexkit.training_request import TrainingRequest

__all__ = [
    "check_account",
    "check_command",
    "check_container",
    "check_model",
    "check_named_resource",
    "check_network",
    "check_output",
    "check_switches",
    "check_timeout",
    "timeout_seconds",
]

# The service runs a job for a week unless it is told otherwise.
_LONGEST_SECONDS = 30 * 24 * 3600.0
_NETWORK = re.compile(r"projects/[^/\s]+/global/networks/[^/\s]+")


def check_container(request: TrainingRequest, *, gpu: bool) -> list[Finding]:
    """Whether image, program and command go together.

    Args:
        request: What is asked for.
        gpu: Whether a machine has accelerators.
    """
    image = request.image
    if image is None:
        if request.program is None:
            remedy = "give a script, a package or 'trainer_scripts.NAME'; or image=, a container of your own"
            return [Finding("program", None, "is not given, and neither is an image", remedy)]
        return []
    findings = check_training_image(image)
    if not isinstance(image, str):
        return findings
    if request.framework_version is not None:
        findings.append(
            Finding(
                "framework_version",
                request.framework_version,
                "is given with an image, which has its own",
                "leave one of them out",
            )
        )
    findings += check_training_image_on(image, gpu=gpu)
    if request.program is not None:
        return findings
    if parse_training_image(image) is not None:
        findings.append(
            Finding("program", None, "is not given, and a prebuilt container has none", "give a script")
        )
    for argument, value in (("module", request.module), ("requirements", request.requirements)):
        if value is not None:
            findings.append(
                Finding(argument, value, "is given without a program", "leave it out, or give a program")
            )
    return findings


def check_command(request: TrainingRequest) -> list[Finding]:
    """Whether there can be such a command of a container."""
    command = request.command
    if command is None:
        return []
    remedy = 'write command=["python", "train.py"], for example'
    if isinstance(command, str | bytes) or not isinstance(command, Sequence):
        return [Finding("command", command, "is no list of texts", remedy)]
    if not command or not all(isinstance(part, str) and "\0" not in part for part in command):
        return [Finding("command", command, "is empty or holds what is no text", remedy)]
    if request.program is not None or request.image is None:
        return [
            Finding(
                "command",
                command,
                "is for a container of your own without a program of this machine",
                "leave it out, or give image= and no program",
            )
        ]
    return []


def check_switches(request: TrainingRequest) -> list[Finding]:
    """Whether what is on or off is one of these."""
    values = (
        ("restart_on_worker_restart", request.restart_on_worker_restart),
        ("spot", request.spot),
    )
    return [
        Finding(name, value, "is neither True nor False")
        for name, value in values
        if not isinstance(value, bool)
    ]


def check_model(request: TrainingRequest) -> list[Finding]:
    """Whether there can be such a model."""
    model, image = request.model, request.serving_image
    if model is False:
        without = "is given with model=False, for which there is no pipeline"
        given = (("serving_image", image), ("dataset", request.dataset))
        return [
            Finding(name, value, without, "leave one of them out")
            for name, value in given
            if value is not None
        ]
    findings = []
    if isinstance(model, bool):
        findings.append(
            Finding("model", model, "is no display name", "leave it out: a model is made by default")
        )
    elif model is not None:
        findings += check_display_name(model, "model")
    if image is not None:
        findings += check_image(image, "serving_image")
    return findings


def check_timeout(timeout: object) -> list[Finding]:
    """Whether a job may run so long."""
    if timeout is None:
        return []
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds < math.inf:
        return [
            Finding(
                "timeout",
                timeout,
                "is neither a number of seconds from 1 up nor a timedelta",
                "write timeout=3600, or timeout=timedelta(hours=1)",
            )
        ]
    if seconds > _LONGEST_SECONDS:
        return [Finding("timeout", timeout, "is more than 30 days, the longest that a job may run")]
    return []


def timeout_seconds(timeout: float | timedelta | None) -> float | None:
    """The time that a job may run, in seconds; it has passed `check_timeout`."""
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def check_account(request: TrainingRequest) -> list[Finding]:
    """Whether the job can run as this service account, and has one where it needs one."""
    if request.service_account is not None:
        return check_service_account(request.service_account)
    if request.tensorboard is None:
        return []
    return [
        Finding(
            "service_account",
            None,
            "is not given, and a job with tensorboard= needs one, to write to it",
            "give the account: https://cloud.google.com/vertex-ai/docs/experiments/tensorboard-training",
        )
    ]


def check_named_resource(argument: str, name: object, collection: str) -> list[Finding]:
    """Whether this names one of a collection: by its resource name or its numeric id."""
    if name is None:
        return []
    if isinstance(name, str):
        if name.isascii() and name.isdecimal():
            return []
        if is_resource_name(name) and parse_resource_name(name).collection == collection:
            return []
    return [
        Finding(
            argument,
            name,
            f"is neither the id nor the resource name of one of {collection}",
            f"write projects/PROJECT/locations/LOCATION/{collection}/ID",
        )
    ]


def check_network(network: object) -> list[Finding]:
    """Whether a job can be peered with this network."""
    if network is None or (isinstance(network, str) and _NETWORK.fullmatch(network)):
        return []
    return [
        Finding(
            "network", network, "is not the name of a network", "write projects/NUMBER/global/networks/NAME"
        )
    ]


def check_output(uri: object) -> list[Finding]:
    """Whether a job can write its output there."""
    return [] if uri is None else check_gcs_uri(uri, "base_output_dir")
