"""Every error that vertexkit raises, drawn once.

::

    VertexkitError
    ├── InvalidArgument (ValueError)      an argument is wrong; nothing was sent
    │   └── PreflightFailed               several findings at once
    ├── ConfigurationError                no usable project, credentials or configuration
    ├── ServiceError                      the service answered with an error
    │   ├── BadRequest                    INVALID_ARGUMENT, OUT_OF_RANGE
    │   ├── NotFound (LookupError)
    │   ├── AlreadyExists
    │   ├── FailedPrecondition
    │   ├── Conflict                      ABORTED: somebody else changed it first
    │   ├── Unauthenticated
    │   ├── PermissionDenied
    │   ├── QuotaExceeded                 RESOURCE_EXHAUSTED
    │   ├── Unimplemented                 the local Vertex AI names what it does not do
    │   ├── DeadlineExceeded (TimeoutError)
    │   ├── Cancelled
    │   ├── Unavailable (ConnectionError) worth trying again
    │   └── InternalError
    ├── DeployFailed                      a model did not come up; what was made is gone again
    ├── PredictionFailed                  the model refused the instances, or answered nonsense
    ├── TrainingFailed                    names the replica that failed, how, and its last lines
    ├── TuningFailed                      names the trials that failed, and the last lines of the first
    ├── BatchPredictionFailed             names instances that have no prediction, and why
    ├── TransferFailed                    names every file that did not arrive, and why
    │   └── ChecksumMismatch
    ├── CleanupIncomplete                 names every resource that could not be deleted
    └── EmulatorFailed                    the local Vertex AI did not start, or has gone

Nothing of grpc, requests or google.api_core escapes: ``_core/rpc.py`` turns their failures
into these, and a test looks for one that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AlreadyExists",
    "BadRequest",
    "BatchPredictionFailed",
    "Cancelled",
    "ChecksumMismatch",
    "CleanupIncomplete",
    "ConfigurationError",
    "Conflict",
    "DeadlineExceeded",
    "DeployFailed",
    "EmulatorFailed",
    "FailedPrecondition",
    "Finding",
    "InternalError",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "PredictionFailed",
    "PreflightFailed",
    "QuotaExceeded",
    "ServiceError",
    "TrainingFailed",
    "TransferFailed",
    "TuningFailed",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VertexkitError",
]


class VertexkitError(Exception):
    """Base of every error of vertexkit.

    Attributes:
        resource: Name of the resource concerned (``projects/.../endpoints/1``, ``gs://b/o``), or None.
        remedy: What would do, in one sentence, or None.
    """

    def __init__(self, message: str, *, resource: str | None = None, remedy: str | None = None) -> None:
        self.resource = resource
        self.remedy = remedy
        text = message if resource is None or resource in message else f"{resource}: {message}"
        super().__init__(text if remedy is None else f"{text}\n  Remedy: {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        """What copies and other processes get: by default, ``__init__`` would be given the message only."""
        return _rebuilt, (type(self), self.args), self.__dict__.copy()


def _rebuilt(kind: type[VertexkitError], args: tuple[Any, ...]) -> VertexkitError:
    error = kind.__new__(kind)
    error.args = args
    return error


class InvalidArgument(VertexkitError, ValueError):
    """An argument is wrong. Raised before anything is sent, created or paid for.

    Attributes:
        argument: The name of the argument as the caller wrote it.
        value: The value it had.
        problem: What is wrong with it.
    """

    def __init__(self, argument: str, value: object, problem: str, *, remedy: str | None = None) -> None:
        self.argument = argument
        self.value = value
        self.problem = problem
        super().__init__(f"{argument}={_shown(value)}: {problem}", remedy=remedy)


@dataclass(frozen=True)
class Finding:
    """One thing that a preflight check found wrong."""

    argument: str
    """The argument or setting concerned."""
    value: object
    problem: str
    remedy: str | None = None
    warning: bool = False
    """Whether to tell and go on, rather than to refuse."""

    def __str__(self) -> str:
        """One line: the argument, its value, the problem and the remedy."""
        stop = "" if self.problem.endswith((".", "?", ")")) else "."
        line = f"{self.argument}={_shown(self.value)}: {self.problem}{stop}"
        return line if self.remedy is None else f"{line} Remedy: {self.remedy}"


class PreflightFailed(InvalidArgument):
    """A preflight check found several things wrong; nothing was created.

    Attributes:
        findings: Every finding, in the order of checking.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        first = self.findings[0]
        super().__init__(first.argument, first.value, first.problem)
        self.args = ("\n".join(["Nothing was created:", *(f"  - {found}" for found in self.findings)]),)


class ConfigurationError(VertexkitError):
    """There is no usable project, credential or configuration."""


class ServiceError(VertexkitError):
    """The service answered a call with an error.

    Attributes:
        service_message: The service's own words.
    """

    def __init__(
        self, service_message: str, *, resource: str | None = None, remedy: str | None = None
    ) -> None:
        self.service_message = service_message
        super().__init__(service_message, resource=resource, remedy=remedy)


class BadRequest(ServiceError):
    """The service refused the request as malformed (INVALID_ARGUMENT, OUT_OF_RANGE)."""


class NotFound(ServiceError, LookupError):
    """There is no such resource."""


class AlreadyExists(ServiceError):
    """A resource of that name is there already."""


class FailedPrecondition(ServiceError):
    """The resource is not in a state that allows the call."""


class Conflict(ServiceError):
    """Somebody else changed the resource first (ABORTED)."""


class Unauthenticated(ServiceError):
    """The credentials are missing, expired or not accepted."""


class PermissionDenied(ServiceError):
    """The credentials do not allow the call."""


class QuotaExceeded(ServiceError):
    """A quota is used up; the message says which, and the remedy where to raise it."""


class Unimplemented(ServiceError):
    """The service does not do this; the local Vertex AI refuses by name."""


class DeadlineExceeded(ServiceError, TimeoutError):
    """The call, or the whole of a retried call, ran past its deadline."""


class Cancelled(ServiceError):
    """The call or operation was cancelled."""


class Unavailable(ServiceError, ConnectionError):
    """The service could not be reached, and went on so until the deadline."""


class InternalError(ServiceError):
    """The service failed in a way that it does not explain."""


class DeployFailed(VertexkitError):
    """A model did not come up on its endpoint. What the deploy had created is gone again.

    Attributes:
        log_tail: The last lines of the model server's log, oldest first; empty if none were given.
    """

    def __init__(
        self,
        message: str,
        *,
        resource: str | None = None,
        remedy: str | None = None,
        log_tail: Sequence[str] = (),
    ) -> None:
        self.log_tail = tuple(log_tail)
        if self.log_tail:
            message = "\n".join([message, "Last lines of the model server:", *("  | " + x for x in log_tail)])
        super().__init__(message, resource=resource, remedy=remedy)


class PredictionFailed(VertexkitError):
    """The model refused the instances, or answered what its signature does not allow.

    Attributes:
        instances: Half-open range of instance indices in the failed request, or None if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        resource: str | None = None,
        remedy: str | None = None,
        instances: range | None = None,
    ) -> None:
        self.instances = instances
        super().__init__(message, resource=resource, remedy=remedy)


class TrainingFailed(VertexkitError):
    """A training job failed. Its logs, and what it has written, are still there.

    Attributes:
        job: Resource name of the job.
        replica: The replica because of which it failed, such as ``"workerpool0-0"``; None for no replica's
            fault.
        exit_code: Its exit code; None where it is not known, or a signal ended it.
        signal: Number of the signal that ended it, else None.
        last_lines: The last lines of its log, oldest first; empty if there are none.
    """

    def __init__(
        self,
        message: str,
        *,
        job: str | None = None,
        replica: str | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
        last_lines: Sequence[str] = (),
        remedy: str | None = None,
    ) -> None:
        self.job = job
        self.replica = replica
        self.exit_code = exit_code
        self.signal = signal
        self.last_lines = tuple(last_lines)
        if self.last_lines:
            of = f" of {replica}" if replica else ""
            message = "\n".join([message, f"Last lines{of}:", *("  | " + line for line in last_lines)])
        super().__init__(message, resource=job, remedy=remedy)


class TuningFailed(VertexkitError):
    """A search failed. Its trials, their logs, and what they have written are still there.

    Attributes:
        job: Resource name of the job.
        failures: The trials that came to no metric, by id, and why.
        last_lines: The last lines of the first of these, oldest first; empty if there are none.
    """

    def __init__(
        self,
        message: str,
        *,
        job: str | None = None,
        failures: Mapping[str, str] | None = None,
        last_lines: Sequence[str] = (),
        remedy: str | None = None,
    ) -> None:
        self.job = job
        self.failures = dict(failures or {})
        self.last_lines = tuple(last_lines)
        lines = [message, *(f"  - trial {name}: {why}" for name, why in self.failures.items())]
        if self.last_lines:
            of = f" of trial {next(iter(self.failures))}" if self.failures else ""
            lines += [f"Last lines{of}:", *(f"  | {line}" for line in self.last_lines)]
        super().__init__("\n".join(lines), resource=job, remedy=remedy)


class BatchPredictionFailed(VertexkitError):
    """A batch prediction job failed, or its results are not what was asked for. Its files are still there.

    Attributes:
        job: Resource name of the job.
        failures: Instances without a prediction, by their position in the input, and why; the first few.
    """

    def __init__(
        self,
        message: str,
        *,
        job: str | None = None,
        failures: Mapping[int, str] | None = None,
        remedy: str | None = None,
    ) -> None:
        self.job = job
        self.failures = dict(failures or {})
        lines = [message, *(f"  - instance {index}: {why}" for index, why in self.failures.items())]
        super().__init__("\n".join(lines), resource=job, remedy=remedy)


class TransferFailed(VertexkitError):
    """Some files of a transfer did not arrive. Those that did are whole.

    Attributes:
        failures: What failed (a local path or a ``gs://`` URI) and why.
    """

    def __init__(self, message: str, failures: Mapping[str, str], *, remedy: str | None = None) -> None:
        self.failures = dict(failures)
        lines = [message, *(f"  - {name}: {why}" for name, why in self.failures.items())]
        super().__init__("\n".join(lines), remedy=remedy)


class ChecksumMismatch(TransferFailed):
    """Bytes arrived, but not the bytes that were sent."""


class CleanupIncomplete(VertexkitError):
    """Some resources could not be deleted, and may go on costing money.

    Attributes:
        failures: Resource name and why it is still there.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures = dict(failures)
        lines = ["Not deleted, and perhaps still paid for:"]
        super().__init__("\n".join([*lines, *(f"  - {name}: {why}" for name, why in failures.items())]))


class EmulatorFailed(VertexkitError):
    """The local Vertex AI did not start, cannot be reached, or has gone."""


def _shown(value: object, limit: int = 120) -> str:
    """``repr(value)``, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
