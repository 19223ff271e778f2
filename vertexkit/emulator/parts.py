"""The parts behind the fronts: who answers which service, what they stand on, how they end."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vertexkit.emulator.asgi import Application
from vertexkit.emulator.methods import AIPLATFORM, LOCATIONS, OPERATIONS, PROJECTS, Method
from vertexkit.emulator.options import EmulatorInfo
from vertexkit.emulator.rest_front import HttpPredictor

SERVICE_CLASSES = {
    f"{AIPLATFORM}.ModelService": "vertexkit.emulator.services.model:ModelService",
    f"{AIPLATFORM}.EndpointService": "vertexkit.emulator.services.endpoint:EndpointService",
    f"{AIPLATFORM}.JobService": "vertexkit.emulator.services.job:JobService",
    f"{AIPLATFORM}.PipelineService": "vertexkit.emulator.services.pipeline:PipelineService",
    f"{AIPLATFORM}.PredictionService": "vertexkit.emulator.services.prediction:PredictionService",
    f"{AIPLATFORM}.VizierService": "vertexkit.emulator.services.vizier:VizierService",
    OPERATIONS: "vertexkit.emulator.services.operations:OperationsService",
    LOCATIONS: "vertexkit.emulator.services.locations:LocationsService",
    PROJECTS: "vertexkit.emulator.services.projects:ProjectsService",
}
"""The class that answers each served service, as ``module:class``."""

_log = logging.getLogger(__name__)


def implements(method: Method) -> bool:
    """Whether the emulator implements an RPC; known without starting one."""
    where = SERVICE_CLASSES.get(method.service)
    if where is None:
        return False
    module, _, name = where.partition(":")
    return callable(getattr(getattr(importlib.import_module(module), name), method.name, None))


@dataclass(frozen=True)
class Place:
    """Where parts are to live."""

    data_dir: Path
    """For everything durable."""
    work_dir: Path
    """For sockets and other short-lived files; empty at first, and gone with the process."""
    loop: asyncio.AbstractEventLoop
    """What the fronts run on."""
    info: EmulatorInfo
    """Where the emulator is, which these are to be the parts of."""
    public_buckets: bool = False
    """Whether buckets that do not exist here are read from the real Cloud Storage."""


@dataclass(frozen=True)
class Parts:
    """Everything that a server serves."""

    services: Mapping[str, object]
    """What answers, by full service name."""
    predictor: HttpPredictor | None
    storage: Application
    """Cloud Storage, as an ASGI application."""
    apps: Mapping[str, Application] = field(default_factory=dict)
    """What else answers on the REST port, by exact path (``/v2/entries:list``)."""
    closers: tuple[Callable[[], None], ...] = field(default=())
    """What to call at the end, in this order."""

    def close(self) -> None:
        """End every part, also when one of them fails to; blocks."""
        for close in self.closers:
            try:
                close()
            except Exception:
                _log.exception("a part of the emulator did not close")


def assemble(place: Place) -> Parts:
    """Build the parts on what the data folder holds."""
    from vertexkit.emulator.environment import google_environment
    from vertexkit.emulator.gcs.app import storage_app
    from vertexkit.emulator.gcs.public import PublicBuckets
    from vertexkit.emulator.gcs.store import ObjectStore
    from vertexkit.emulator.jobs.engine import JobsEngine
    from vertexkit.emulator.jobs.environments import Environments
    from vertexkit.emulator.operations import Operations
    from vertexkit.emulator.services.batch_jobs import BatchJobs
    from vertexkit.emulator.services.custom_jobs import CustomJobs
    from vertexkit.emulator.services.endpoint import EndpointService
    from vertexkit.emulator.services.job import JobService
    from vertexkit.emulator.services.locations import LocationsService
    from vertexkit.emulator.services.logging import LoggingService
    from vertexkit.emulator.services.model import ModelService
    from vertexkit.emulator.services.operations import OperationsService
    from vertexkit.emulator.services.pipeline import PipelineService
    from vertexkit.emulator.services.prediction import PredictionService
    from vertexkit.emulator.services.projects import ProjectsService
    from vertexkit.emulator.services.staged_objects import fetch
    from vertexkit.emulator.services.trained_model import TrainedModels
    from vertexkit.emulator.services.trial_memory import TrialMemory
    from vertexkit.emulator.services.tuning_jobs import TuningJobs
    from vertexkit.emulator.services.vizier import VizierService
    from vertexkit.emulator.serving import ServingEngine
    from vertexkit.emulator.store import Store

    store = Store(place.data_dir / "vertex.sqlite")
    operations = Operations(store)
    objects = ObjectStore(place.data_dir)
    public = PublicBuckets() if place.public_buckets else None
    serving = ServingEngine(place.work_dir, place.loop)
    endpoints = EndpointService(
        store, operations, objects, serving, place.data_dir, dedicated_dns=lambda: place.info.grpc
    )
    prediction = PredictionService(endpoints.routes, serving, place.loop)
    models = ModelService(store, operations, objects, renamed=endpoints.routes.rename_model)
    training = JobsEngine(
        place.data_dir,
        place.work_dir,
        google_env=functools.partial(google_environment, place.info),
        fetch=functools.partial(fetch, objects),
        environments=Environments(_cache() / "environments"),
    )
    custom_jobs = CustomJobs(store, operations, objects, training)
    tuning_jobs = TuningJobs(store, operations, custom_jobs, training, TrialMemory(training.memory))
    batch_jobs = BatchJobs(
        store,
        operations,
        objects,
        serving,
        loop=place.loop,
        logs=training,
        folder=place.data_dir / "batch",
    )
    jobs = JobService(custom_jobs, tuning_jobs, batch_jobs)
    pipelines = PipelineService(store, operations, custom_jobs, TrainedModels(store, objects, models))
    # What follows a job has to be there before the first change of one.
    custom_jobs.restore()
    pipelines.restore()
    tuning_jobs.restore()
    batch_jobs.restore()
    return Parts(
        services={
            f"{AIPLATFORM}.ModelService": models,
            f"{AIPLATFORM}.JobService": jobs,
            f"{AIPLATFORM}.PipelineService": pipelines,
            f"{AIPLATFORM}.EndpointService": endpoints,
            f"{AIPLATFORM}.PredictionService": prediction,
            f"{AIPLATFORM}.VizierService": VizierService(store, operations),
            OPERATIONS: OperationsService(operations),
            LOCATIONS: LocationsService(),
            PROJECTS: ProjectsService(),
        },
        predictor=prediction,
        storage=storage_app(objects, public),
        apps={"/v2/entries:list": LoggingService(jobs.job_logs)},
        # Work in progress first, then what it stands on.
        closers=(
            operations.close,
            tuning_jobs.close,
            batch_jobs.close,
            training.close,
            endpoints.close,
            serving.close,
            *(() if public is None else (public.close,)),
            objects.close,
            store.close,
        ),
    )


def _cache() -> Path:
    """The user's folder for what can be made again, as the XDG base directory specification has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vertexkit"
