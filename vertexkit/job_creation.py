"""How a job is created at the service once, though an answer may be lost on the way."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from vertexkit._core.lookup import listed, parent, quoted
from vertexkit._core.retry import retrying
from vertexkit.errors import NotFound
from vertexkit.storage import Bucket

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["RUN_LABEL", "Creation", "Submitted", "delete_folder", "own_place", "run_label"]

RUN_LABEL: Final = "vertexkit_run"
"""A label with a value that no other job has: by it a job is found whose creation was not answered."""

_SECONDS: Final = 120.0


class Submitted(Protocol):
    """A job that was created."""

    @property
    def resource_name(self) -> str:
        """Its resource name."""

    def _discard(self) -> None:
        """Delete it, whatever it is doing."""


@dataclass(frozen=True)
class Creation:
    """One resource to create."""

    context: Context
    collection: str
    body: dict[str, Any]
    job: Callable[[Context, dict[str, Any]], Submitted]

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


def run_label() -> dict[str, str]:
    """The label of a job that is about to be created."""
    return {RUN_LABEL: f"r{secrets.token_hex(9)}"}


def own_place(what: str, name: str) -> str:
    """A place in a bucket for one job alone: ``vertexkit/training/mnist/20261122T120000-0a1b2c``."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "job"
    return f"vertexkit/{what}/{slug}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def delete_folder(context: Context, uri: str) -> None:
    """Delete all below a ``gs://`` URI; nothing there is no error."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    with suppress(NotFound):
        Bucket(context, bucket).delete(name)
