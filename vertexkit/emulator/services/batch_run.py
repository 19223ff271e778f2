"""One batch prediction: its model is served, its instances are answered, its files become objects.

After the local Vertex AI was stopped, however that was, it goes on: with the copy of the model, the inputs
that there were, and where the batch engine's journal ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vertexkit._core.names import ResourceName, parse_resource_name
from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import Answer, BatchEnd, BatchFailed, NoAnswer, OutputFormat, Progress
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.jobs.logs import SERVICE, JobLogs
from vertexkit.emulator.messages import BatchPredictionJob, DeployedModel, JobState, Raw
from vertexkit.emulator.services.batch_inputs import Input, InputObjects
from vertexkit.emulator.services.batch_kept import Kept
from vertexkit.emulator.services.batch_output import Written, disk_failure, publish
from vertexkit.emulator.services.batch_spec import engine_spec, starting_replicas
from vertexkit.emulator.services.batch_verdict import at_the_end, cut_short, show_progress, summary
from vertexkit.emulator.services.deployments import Deployment, Deployments
from vertexkit.emulator.services.job_verdict import CANCELLED, Verdict, failed
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.serving import NoReplica, RequestTimeout, ServingEngine
from vertexkit.emulator.store import Kind, Store

_LOGGER = logging.getLogger(__name__)

BATCH_JOBS: Final = Kind("batchPredictionJobs", BatchPredictionJob, "BatchPredictionJob")

_ANSWER_SECONDS: Final = 600.0
"""In which a batch must be answered.

Source: https://cloud.google.com/vertex-ai/docs/general/troubleshooting, "Exceeded retries error"
"""
_LAST_ANSWERS_SECONDS: Final = 2.0
"""What requests in flight get to be answered when a job is cancelled."""
_LOOK_SECONDS: Final = 0.2
_SETTINGS: Final = {"VERTEXKIT_SERVING_BACKEND": "tensorflow"}
"""One backend for all instances: the fast path would be searched for beside them, and step in amidst them."""


class Logs(Protocol):
    """Where the logs of jobs are."""

    def open_log(self, job_id: str) -> JobLogs:
        """The log of something that runs no replicas itself, to write to."""

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its log."""


@dataclass(frozen=True)
class Means:
    """What every batch prediction uses."""

    store: Store
    objects: ObjectStore
    deployments: Deployments
    serving: ServingEngine
    loop: asyncio.AbstractEventLoop
    """What the serving engine runs on."""
    logs: Logs
    slots: threading.Semaphore
    """One for each job that may have model servers at a time."""


class _Halted(Exception):
    """The job was cancelled, or the local Vertex AI ends."""


class BatchJobRun:
    """One batch prediction, in a thread of its own.

    Args:
        name: The BatchPredictionJob, which is kept.
        kept: What goes with it.
        means: What it uses.
        over: Called at the end, also when only the local Vertex AI ends.
    """

    def __init__(self, name: str, kept: Kept, means: Means, over: Callable[[], None]) -> None:
        self._name: ResourceName = parse_resource_name(name)
        self._kept = kept
        self._means = means
        self._over = over
        self._batch: BatchRun | None = None
        self._published = ""
        self._replicas = 0
        self._served_from = 0.0
        self._stopped = False
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"batch-{self._name.id}", daemon=True)

    def start(self) -> None:
        """Begin, or go on."""
        self._thread.start()

    def cancel(self) -> None:
        """Have it end: its job is in state CANCELLING."""
        self._halted.set()

    def stop(self) -> None:
        """Leave everything as it is, because the local Vertex AI ends."""
        self._stopped = True
        self._halted.set()

    def join(self) -> None:
        """Wait until it does nothing any more."""
        self._thread.join()

    def show(self, job: Raw) -> None:
        """Write into a job how far it is at this moment."""
        if self._batch is not None:
            show_progress(job, self._batch.progress)
        job.resources_consumed.replica_hours += self._replica_hours()

    def _run(self) -> None:
        try:
            verdict = self._verdict()
            if verdict is None:
                self._leave()
            else:
                self._finish(verdict)
        except Exception:
            # The job stays as it is until the next start, which tries again.
            _LOGGER.exception("%s cannot be ended", self._name)
        finally:
            self._over()

    def _verdict(self) -> Verdict | None:
        """Do the work, and say how the job ends; None if it does not yet."""
        try:
            return self._work()
        except Exception as error:
            if self._halted.is_set() and isinstance(error, _Halted | BatchFailed):
                return None if self._stopped else CANCELLED
            return failed(self._reason(error))

    def _reason(self, error: Exception) -> ApiError:
        """What the job says of what it failed of."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, BatchFailed):
            return cut_short(error)
        if isinstance(error, OSError):
            return disk_failure(error)
        # A defect of ours: the job must end all the same, and say what happened.
        _LOGGER.error("%s cannot go on", self._name, exc_info=error)
        return ApiError(Code.INTERNAL, f"{type(error).__name__}: {error}")

    def _work(self) -> Verdict:
        job = self._means.store.get(BATCH_JOBS, str(self._name))
        if job.state == JobState.JOB_STATE_CANCELLING:
            self._halted.set()
        self._raise_if_halted()
        try:
            inputs, output, version = self._kept.read()
        except (OSError, ValueError) as gone:
            raise ApiError(
                Code.DATA_LOSS, f"What the job needs is no longer in the data folder: {gone}"
            ) from gone
        deployment = self._deployment(job, version)
        if self._kept.results.exists():
            # It shows how far it had been, while its model is on its way.
            self._batch = self._batch_run(job, inputs, deployment.key)
        self._wait_for_slot()
        try:
            self._serve(job, deployment)
            end = self._predict_all(job, inputs, deployment.key)
        finally:
            # The engine itself ends what is served when the local Vertex AI does.
            if not self._stopped:
                self._means.serving.undeploy(deployment.key)
            self._means.slots.release()
        verdict = at_the_end(end.progress, inputs)
        if end.progress.total:
            publish(self._means.objects, output, _files(end, job.output_config.predictions_format))
            self._published = output
        return verdict

    # The model servers

    def _wait_for_slot(self) -> None:
        """Wait until fewer jobs have model servers."""
        if self._means.slots.acquire(blocking=False):
            return
        self._say("The job waits for others to end: more at a time would only be slower on this machine.")
        while not self._means.slots.acquire(timeout=_LOOK_SECONDS):
            self._raise_if_halted()

    def _deployment(self, job: Raw, version: Raw) -> Deployment:
        """What is served: as a model on an endpoint, where job and endpoint are one."""
        replicas = starting_replicas(job)
        deployed = DeployedModel(id=self._name.id, model=job.model, model_version_id=version.version_id)
        resources = deployed.dedicated_resources
        resources.machine_spec.CopyFrom(job.dedicated_resources.machine_spec)
        resources.min_replica_count = resources.max_replica_count = replicas
        return Deployment(self._name, deployed, version, _SETTINGS)

    def _serve(self, job: Raw, deployment: Deployment) -> None:
        """Have the model answer; the job runs from then on."""
        self._raise_if_halted()
        if not self._kept.is_copied:
            self._means.deployments.copy_artifact(deployment)
            self._kept.set_copied()
        try:
            served = self._means.deployments.bring_up(deployment, cancelled=self._halted)
        except ApiError:
            self._raise_if_halted()
            raise
        self._replicas, self._served_from = served.replicas, time.monotonic()
        version = f"{job.model}@{deployment.version.version_id}"
        self._say(f"{version} is served by {served.replicas} replica{'s' * (served.replicas > 1)}.")
        if served.message:
            self._say(served.message)
        most = job.dedicated_resources.max_replica_count
        if most > starting_replicas(job):
            self._say(f"The local Vertex AI does not scale up to max_replica_count, {most}, under any load.")
        with self._means.store.transaction():
            kept = self._means.store.get(BATCH_JOBS, str(self._name))
            if kept.state == JobState.JOB_STATE_PENDING:
                kept.state = JobState.JOB_STATE_RUNNING
                set_now(kept.start_time)
                self._means.store.replace(BATCH_JOBS, kept)

    def _predict_all(self, job: Raw, inputs: Sequence[Input], key: str) -> BatchEnd:
        """Have every instance answered, or what is left of them."""
        self._batch = self._batch_run(job, inputs, key)
        try:
            end = self._batch.run(self._halted)
        except BatchFailed:
            self._say_of_servers(key, with_log=True)
            raise
        self._say_of_servers(key, with_log=False)
        if not end.complete:
            raise _Halted
        return end

    def _batch_run(self, job: Raw, inputs: Sequence[Input], key: str) -> BatchRun:
        return BatchRun(
            engine_spec(job, tuple(one.uri for one in inputs), max(1, self._replicas)),
            InputObjects(self._means.objects, inputs),
            lambda body: self._predict(key, body),
            self._kept.results,
        )

    def _say_of_servers(self, key: str, *, with_log: bool) -> None:
        """Say how the model servers fared, and perhaps their own last words."""
        status = self._means.serving.status(key)
        restarts = sum(replica.restarts for replica in status.replicas)
        if restarts:
            self._say(f"Model servers died and were started again, {restarts} times in all.")
        for line in status.log_tail if with_log else ():
            self._say(f"Model server: {line}")

    def _predict(self, key: str, body: bytes) -> Answer:
        """Have a replica answer.

        Raises:
            NoAnswer: None could.
        """
        asked = asyncio.run_coroutine_threadsafe(
            self._means.serving.predict(key, body, timeout=_ANSWER_SECONDS), self._means.loop
        )
        left = _LAST_ANSWERS_SECONDS
        while True:
            try:
                reply = asked.result(_LOOK_SECONDS)
            except TimeoutError:
                if self._halted.is_set():
                    left -= _LOOK_SECONDS
                if left < 0:
                    asked.cancel()
                    raise NoAnswer("The job was cancelled.") from None
            except (NoReplica, RequestTimeout) as error:
                raise NoAnswer(str(error)) from error
            else:
                return Answer(reply.status, reply.body)

    # The job

    def _finish(self, verdict: Verdict) -> None:
        if self._batch is not None:
            for line in summary(self._batch.progress):
                self._say(line)
        if verdict.error is not None:
            self._say(verdict.error.message)
        with self._means.store.transaction():
            job = self._means.store.get(BATCH_JOBS, str(self._name))
            self.show(job)
            if not job.HasField("completion_stats"):
                show_progress(job, Progress())
            if self._published:
                job.output_info.gcs_output_directory = self._published
            verdict.write(job)
            self._means.store.replace(BATCH_JOBS, job)
        self._means.deployments.remove_copy(Deployment.key_of(str(self._name), self._name.id))
        self._kept.remove()

    def _leave(self) -> None:
        """Note what has been consumed so far: the rest is known from the engine's journal."""
        with self._means.store.transaction():
            job = self._means.store.get(BATCH_JOBS, str(self._name))
            self.show(job)
            self._means.store.replace(BATCH_JOBS, job)

    def _replica_hours(self) -> float:
        return self._replicas * (time.monotonic() - self._served_from) / 3600

    def _raise_if_halted(self) -> None:
        if self._halted.is_set():
            raise _Halted

    def _say(self, text: str) -> None:
        self._means.logs.open_log(self._name.id).append(SERVICE, text)


def _files(end: BatchEnd, predictions_format: str) -> list[Written]:
    """A run's files, as Vertex AI calls them."""
    suffix = ".csv" if predictions_format == OutputFormat.CSV else ""
    return [*_named(end.results, "results", suffix), *_named(end.errors, "errors_stats", "")]


def _named(files: Sequence[Path], kind: str, suffix: str) -> list[Written]:
    return [
        Written(file, f"prediction.{kind}-{index:05d}-of-{len(files):05d}{suffix}")
        for index, file in enumerate(files)
    ]
