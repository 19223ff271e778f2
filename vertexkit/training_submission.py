"""How a training job gets to the service once, and leaves nothing there when that fails."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from vertexkit._core.lookup import listed, parent, quoted
from vertexkit._core.retry import retrying
from vertexkit.cleanup import Order, noting
from vertexkit.errors import NotFound
from vertexkit.storage import Bucket, Buckets
from vertexkit.training_body import training_body
from vertexkit.training_job import CustomTrainingJob

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.training_packages import Packages
    from vertexkit.training_plan import TrainingPlan

__all__ = ["RUN_LABEL", "submit", "submit_job"]

RUN_LABEL: Final = "vertexkit_run"
"""A label with a value that no other job has: by it a job is found whose creation was not answered."""

_SECONDS = 120.0


class _Submitted(Protocol):
    """A job that was created."""

    @property
    def resource_name(self) -> str: ...

    def _discard(self) -> None: ...


_Job = TypeVar("_Job", bound=_Submitted)
Body = Callable[[Sequence[str], str, Mapping[str, str]], tuple[str, dict[str, Any]]]
"""From packages, place for the output and labels to a collection, and the resource to create there."""


@dataclass(frozen=True)
class _Creation:
    """One resource to create."""

    context: Context
    collection: str
    body: dict[str, Any]
    job: Callable[[Context, dict[str, Any]], _Submitted]

    def send(self) -> dict[str, Any]:
        """Create it, once: before it is sent again, it is looked for."""
        path = f"{parent(self.context)}/{self.collection}"
        sent = False

        def attempt() -> dict[str, Any]:
            nonlocal sent
            found = self.found() if sent else None
            if found is not None:
                return found
            sent = True
            return self.context.clients.http_json("POST", path, body=self.body, resource=path, retry=False)

        return retrying(_SECONDS, idempotent=True)(attempt)

    def found(self) -> dict[str, Any] | None:
        """What an attempt has created whose answer was lost."""
        value = self.body["labels"][RUN_LABEL]
        path = f"{parent(self.context)}/{self.collection}"
        return next(
            listed(self.context, path, self.collection, filter=f"labels.{RUN_LABEL}={quoted(value)}"), None
        )

    def undo(self) -> None:
        """Take away what was created all the same."""
        found = self.found()
        if found is not None:
            self.job(self.context, found)._discard()


def submit(context: Context, packages: Packages, plan: TrainingPlan) -> CustomTrainingJob:
    """Send the program, and create the training job; see `submit_job`."""

    def body(uris: Sequence[str], output: str, labels: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        return training_body(plan, packages=uris, output=output, labels=labels)

    return submit_job(context, packages, plan, body, CustomTrainingJob, what="training")


def submit_job(
    context: Context,
    packages: Packages,
    plan: TrainingPlan,
    body: Body,
    job: Callable[[Context, dict[str, Any]], _Job],
    *,
    what: str,
) -> _Job:
    """Send the program, and create a job that runs it.

    Args:
        context: The session's parts.
        packages: Those of the session.
        plan: What the job runs, with which nothing is wrong.
        body: What to create.
        job: What it is then.
        what: Its kind, in words and in the place of its output.

    Raises:
        VertexkitError: It failed; what was sent and created is gone again.
    """
    output = plan.output or f"{Buckets(context).default().uri}/{_own_place(what, plan.name)}"
    uris, sent = ([], []) if plan.program is None else packages.put(plan.program)
    try:
        labels = {**plan.labels, RUN_LABEL: f"r{secrets.token_hex(9)}"}
        creation = _Creation(context, *body(uris, output, labels), job)
        try:
            data = creation.send()
        except BaseException as error:
            noting(error, creation.undo, f"the {what} job {plan.name}")
            raise
    except BaseException as error:  # Ctrl-C too
        noting(error, partial(packages.take_back, sent), f"the package {', '.join(sent)}")
        raise
    created = job(context, data)
    context.created.add(created.resource_name, created._discard, order=Order.JOBS)
    if plan.output is None:
        context.created.add(output, partial(_delete_output, context, output), order=Order.OBJECTS)
    return created


def _own_place(what: str, name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "job"
    return f"vertexkit/{what}/{slug}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _delete_output(context: Context, uri: str) -> None:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    with suppress(NotFound):
        Bucket(context, bucket).delete(name)
