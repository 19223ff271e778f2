"""A session: where vertexkit connects, and the managers of everything there."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vertexkit import config
from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients, load_credentials
from vertexkit._core.target import DEFAULT_LOCATION, Target
from vertexkit.cleanup import CleanupReport, Created, Order
from vertexkit.errors import ConfigurationError, Finding, NotFound, ServiceError, VertexkitError
from vertexkit.identifiers import check_labels

if TYPE_CHECKING:
    from vertexkit._core.emulator_process import EmulatorProcess
    from vertexkit.batch import BatchPrediction
    from vertexkit.endpoints import Endpoints
    from vertexkit.keras_tuner import KerasTuner
    from vertexkit.models import Models
    from vertexkit.storage import Bucket, Buckets
    from vertexkit.training import Training
    from vertexkit.tuning import Tuning
    from vertexkit.types import Machine

__all__ = ["Session", "connect"]

_log = logging.getLogger("vertexkit")

_LOOK_SECONDS = 5.0


def connect(
    project: str | None = None,
    location: str | None = None,
    bucket: str | None = None,
    *,
    emulator: str | bool | None = None,
    credentials: Any = None,
    key_file: str | os.PathLike[str] | None = None,
    labels: Mapping[str, str] | None = None,
    temporary: bool = False,
    progress: bool | None = None,
) -> Session:
    """Connect to Vertex AI: in Google Cloud, or on this machine.

    Every setting that is not given is looked for in the environment, then in ``[tool.vertexkit]`` of
    the nearest ``pyproject.toml`` (see `vertexkit.config` for the names). When nothing names a project,
    a key file or credentials, the session gets a local Vertex AI of its own, which ends with it.

    Args:
        project: Project id; by default the one that the credentials name.
        location: Region; ``us-central1`` when nothing names one.
        bucket: Default bucket; ``{project}-vertexkit-{location}`` by default. Created when first needed.
        emulator: The ``rest`` address of a running local Vertex AI (``"http://127.0.0.1:PORT"``); True
            to start one; False for Google Cloud.
        credentials: google-auth credentials; by default those of ``key_file``, else application
            default credentials. Giving any means Google Cloud unless ``emulator`` says otherwise: a
            local Vertex AI needs none.
        key_file: Path of a service-account key file. Means Google Cloud, as ``credentials`` do.
        labels: Labels for everything that the session creates, beside its own (``vertexkit_session``).
        temporary: Whether to delete what the session created when it is closed.
        progress: True to show the progress of long work anywhere, False never, None when standard error
            is a terminal.

    Returns:
        The session; use it as a context manager, or close it.

    Raises:
        InvalidArgument: A setting is not possible.
        ConfigurationError: There are no credentials or no project for Google Cloud, or
            ``pyproject.toml`` is wrong.
        EmulatorFailed: The local Vertex AI did not start, or none answers at the address.
    """
    settings = config.resolve(
        project=project,
        location=location,
        bucket=bucket,
        emulator=emulator,
        key_file=key_file,
        has_credentials=credentials is not None,
    )
    config.refuse(check_labels(labels or {}))
    process = None
    if not settings.local:
        target = _cloud(settings, credentials)
    elif isinstance(settings.emulator, str):
        target = _attached(settings, settings.emulator)
    else:
        target, process = _started(settings)
    try:
        session = Session(
            target,
            bucket=settings.bucket,
            labels=labels,
            temporary=temporary,
            progress=progress,
            emulator_process=process,
        )
        _announce(target, progress)
    except BaseException:
        if process is not None:
            process.stop()
        raise
    return session


class Session:
    """One connection to Vertex AI and Cloud Storage. Independent of every other session; thread-safe.

    Made by `connect`. Leaving it closes it, and stops the local Vertex AI that it started; it deletes
    nothing, unless it is temporary.

    Attributes:
        target: Where it is connected, and what decided so (``target.chosen_by``).
        id: The value of the label ``vertexkit_session`` on everything that it creates.
    """

    def __init__(
        self,
        target: Target,
        *,
        bucket: str | None = None,
        labels: Mapping[str, str] | None = None,
        temporary: bool = False,
        progress: bool | None = None,
        emulator_process: EmulatorProcess | None = None,
    ) -> None:
        self.target = target
        self.id = f"s{secrets.token_hex(6)}"
        self._temporary = temporary
        self._process = emulator_process
        self._closing = threading.Lock()
        self._closed = False
        self._context = Context(
            target=target,
            clients=Clients(target),
            created=Created(progress),
            labels={**(labels or {}), "vertexkit_session": self.id},
            bucket=bucket or config.default_bucket(target.project, target.location),
            progress=progress,
        )

    @property
    def project(self) -> str:
        """Project id."""
        return self.target.project

    @property
    def location(self) -> str:
        """Region."""
        return self.target.location

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that everything created in this session carries."""
        return dict(self._context.labels)

    @cached_property
    def buckets(self) -> Buckets:
        """Buckets: create, get, list, delete."""
        from vertexkit.storage import Buckets

        return Buckets(self._context)

    @property
    def bucket(self) -> Bucket:
        """The default bucket, created at the first use if it is not there yet."""
        return self.buckets.default()

    @cached_property
    def models(self) -> Models:
        """Models: upload, get, list, delete."""
        from vertexkit.models import Models

        return Models(self._context)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Endpoints: create, get, list, delete."""
        from vertexkit.endpoints import Endpoints

        return Endpoints(self._context)

    @cached_property
    def training(self) -> Training:
        """Training jobs: run, check, get, list."""
        from vertexkit.training import Training

        return Training(self._context)

    @cached_property
    def tuning(self) -> Tuning:
        """Hyperparameter tuning jobs: run, check, get, list."""
        from vertexkit.tuning import Tuning

        return Tuning(self._context)

    @cached_property
    def keras_tuner(self) -> KerasTuner:
        """Searches by Keras Tuner: run, check, get, list."""
        from vertexkit.keras_tuner import KerasTuner

        return KerasTuner(self._context)

    @cached_property
    def batch(self) -> BatchPrediction:
        """Batch prediction jobs: run, check, get, list."""
        from vertexkit.batch import BatchPrediction

        return BatchPrediction(self._context)

    def check(
        self,
        artifact: str | os.PathLike[str] | None = None,
        machine: Machine | str | None = None,
        image: str | None = None,
        framework: str | None = None,
        *,
        name: str | None = None,
        bucket: str | None = None,
        replicas: int | tuple[int, int] | None = None,
        traffic: int | None = None,
        instances: object = None,
        accelerator: bool = False,
    ) -> list[Finding]:
        """Check what an upload and a deployment would be refused for, without doing anything.

        What is not given is not checked.

        Args:
            artifact: Local folder or ``gs://`` URI of the model.
            machine: Machine, or the name of its type.
            image: URI of the serving container.
            framework: Framework whose prebuilt image would serve the model, such as ``"tensorflow"``.
            name: Display name.
            bucket: Name of a bucket; its region must be the session's.
            replicas: Number of replicas, or the least and the greatest.
            traffic: Percentage of the endpoint's requests that the model is to answer.
            instances: Instances to predict; their requests must not be too large.
            accelerator: Whether the image should be the one for GPUs.

        Returns:
            What is wrong, and what would do. Empty when nothing was found.
        """
        from vertexkit.dry_run import Plan, check_plan

        plan = Plan(
            artifact=artifact,
            machine=machine,
            image=image,
            framework=framework,
            accelerator=accelerator,
            name=name,
            bucket=bucket,
            replicas=replicas,
            traffic=traffic,
            instances=instances,
        )
        return check_plan(plan, self.location, self._context)

    def cleanup(self) -> CleanupReport:
        """Delete what this session created and has not deleted yet: endpoints first, buckets last.

        Returns:
            What was deleted.

        Raises:
            CleanupIncomplete: Some of it could not be deleted; the rest is gone.
        """
        return self._context.created.delete_all()

    def close(self) -> None:
        """Close every connection, and stop the local Vertex AI that the session started.

        A temporary session deletes what it created first. May be called twice.

        Raises:
            CleanupIncomplete: The session is temporary, and something could not be deleted. It is
                closed all the same.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            try:
                # First what looks at the things that are deleted next.
                for end in [*self._context.at_close]:
                    end()
                if self._temporary:
                    self.cleanup()
                if self._process is not None:
                    self._tell_what_ends()
            finally:
                try:
                    self._context.clients.close()
                finally:
                    if self._process is not None:
                        self._process.stop()

    def _tell_what_ends(self) -> None:
        """Warn of jobs that still run, on the local Vertex AI that is about to be stopped."""
        from vertexkit.job_state import job_state

        for name in self._context.created.names_in(Order.JOBS):
            try:
                data = self._context.clients.http_json("GET", name, resource=name, timeout=_LOOK_SECONDS)
            except NotFound:
                continue
            except ServiceError:
                return  # it is not there any more to be asked
            if not job_state(data.get("state")).ended:
                _log.warning(
                    "the job %s still runs, and ends now with the local Vertex AI that this session started; "
                    "to leave jobs running, use one that runs by itself: vertexkit emulator start --data-dir "
                    "DIR, and connect(emulator=URL)",
                    data.get("displayName", name),
                )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except VertexkitError as failure:
            if error is None:
                raise
            # What failed first is what the user must see first.
            error.add_note(str(failure))

    def __repr__(self) -> str:
        return (
            f"<Session {self.id}: {_place(self.target)}, project={self.project!r}, "
            f"location={self.location!r}, chosen by {self.target.chosen_by}>"
        )

    def _repr_html_(self) -> str:
        from vertexkit._core.html import described

        facts = {
            "connected to": _place(self.target),
            "chosen by": self.target.chosen_by,
            "project": self.project,
            "location": self.location,
            "bucket": f"gs://{self._context.bucket}",
            "temporary": "deletes what it creates when it is closed" if self._temporary else "",
        }
        return described(f"Session {self.id}", facts)


def _cloud(settings: config.Settings, credentials: Any) -> Target:
    location = settings.location or DEFAULT_LOCATION
    host = f"{location}-aiplatform.googleapis.com"

    def target(project: str, found: Any = None) -> Target:
        return Target(
            project=project,
            location=location,
            rest_url=f"https://{host}",
            grpc_address=f"{host}:443",
            storage_url="https://storage.googleapis.com",
            key_file=settings.key_file,
            credentials=credentials if found is None else found,
            chosen_by=settings.chosen_by,
        )

    # Loaded here, so that a script without credentials ends at its first line and not at its last.
    found, their_project = load_credentials(target(settings.project or ""))
    project = settings.project or their_project
    if not project:
        raise ConfigurationError(
            "the credentials name no project",
            remedy='connect(project="..."), or set VERTEXKIT_PROJECT; for a local Vertex AI, emulator=True',
        )
    return target(project, found if settings.key_file is None else None)


def _attached(settings: config.Settings, url: str) -> Target:
    from vertexkit._core.emulator_process import describe, is_loopback

    if not is_loopback(url):
        _log.warning("%s is not on this machine; a local Vertex AI asks for no credentials", url)
    return _local(settings, describe(url))


def _started(settings: config.Settings) -> tuple[Target, EmulatorProcess]:
    from vertexkit._core.emulator_process import EmulatorProcess

    process = EmulatorProcess()
    return replace(_local(settings, process.addresses), lasting=False), process


def _local(settings: config.Settings, addresses: Any) -> Target:
    return Target(
        project=settings.project or addresses.project,
        location=settings.location or addresses.location,
        rest_url=addresses.rest,
        grpc_address=addresses.grpc,
        storage_url=addresses.storage,
        logging_url=addresses.rest,
        # Nobody counts the calls here, and a line is there once it is written.
        log_poll_seconds=0.1,
        log_settle_seconds=0.0,
        ca_file=Path(addresses.ca),
        anonymous=True,
        chosen_by=settings.chosen_by,
    )


def _place(target: Target) -> str:
    return f"local Vertex AI at {target.rest_url}" if target.anonymous else "Google Cloud"


def _announce(target: Target, progress: bool | None) -> None:
    """Say which target was chosen: in the log, and where somebody is watching."""
    line = (
        f"vertexkit: {_place(target)}, project {target.project}, {target.location} "
        f"(chosen by {target.chosen_by})"
    )
    _log.info(line)
    if progress is not False and sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr)
