"""Job services on a real store and a real Cloud Storage, with an engine that does as the test says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from google.cloud.aiplatform_v1 import types
from local_services import IMAGE, PARENT, raw

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.jobs.types import EndKind, JobEnd, JobSpec, Watcher
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.batch_jobs import BatchJobs
from vertexkit.emulator.services.custom_jobs import CustomJobs
from vertexkit.emulator.services.job import JobService
from vertexkit.emulator.services.model import ModelService
from vertexkit.emulator.services.pipeline import PipelineService
from vertexkit.emulator.services.trained_model import TrainedModels
from vertexkit.emulator.services.trial_memory import TrialMemory
from vertexkit.emulator.services.tuning_jobs import TuningJobs
from vertexkit.emulator.store import Store

TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
PACKAGE = "gs://jobs/packages/trainer-0.1.tar.gz"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"


class SpokenLog:
    """A job's log in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def append(self, replica: str, text: str) -> None:
        self.lines.append(f"{replica}: {text}")


class ToldEngine:
    """Starts and ends jobs when the test says so."""

    def __init__(self) -> None:
        self.specs: dict[str, JobSpec] = {}
        self.watchers: dict[str, Watcher] = {}
        self.spoken: dict[str, SpokenLog] = {}
        self.cancelled: list[str] = []
        self.deleted: list[str] = []
        self.metric_files: dict[str, Path] = {}
        self.refuses = ""
        self.breaks = ""

    def check(self, spec: JobSpec) -> None:
        if self.refuses:
            raise ApiError(Code.UNIMPLEMENTED, self.refuses)

    def start(self, spec: JobSpec, watcher: Watcher) -> None:
        if self.breaks:
            raise OSError(self.breaks)
        self.specs[spec.job_id] = spec
        self.watchers[spec.job_id] = watcher
        self.spoken.setdefault(spec.job_id, SpokenLog())

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def delete(self, job_id: str) -> None:
        self.deleted.append(job_id)

    def logs(self, job_id: str) -> Any:
        return self.spoken.get(job_id)

    def open_log(self, job_id: str) -> Any:
        return self.spoken.setdefault(job_id, SpokenLog())

    def end_family(self, family: str) -> None:
        """There is nothing to let go of."""

    def metrics(self, job_id: str) -> Path | None:
        return self.metric_files.get(job_id)

    def memory(self) -> dict[str, int]:
        return {}


class LocalJobs:
    """The job services of one emulator, started on a data folder."""

    def __init__(self, data_dir: Path, engine: ToldEngine) -> None:
        self.engine = engine
        self.store = Store(data_dir / "vertex.sqlite")
        self.operations = Operations(self.store)
        self.objects = ObjectStore(data_dir)
        self.models = ModelService(self.store, self.operations, self.objects)
        self.custom_jobs = CustomJobs(self.store, self.operations, self.objects, engine)
        self.tuning_jobs = TuningJobs(
            self.store,
            self.operations,
            self.custom_jobs,
            engine,
            TrialMemory(engine.memory, available=lambda: None),
        )
        # They need model servers.
        batch_jobs = mock.create_autospec(BatchJobs, instance=True)
        batch_jobs.log.return_value = None
        self.service = JobService(self.custom_jobs, self.tuning_jobs, batch_jobs)
        self.pipelines = PipelineService(
            self.store,
            self.operations,
            self.custom_jobs,
            TrainedModels(self.store, self.objects, self.models),
        )
        self.custom_jobs.restore()
        self.pipelines.restore()
        self.tuning_jobs.restore()
        if not self.objects.bucket_exists("jobs"):
            self.objects.create_bucket("jobs", "my-project")
            self.objects.write("jobs", "packages/trainer-0.1.tar.gz", b"package")

    def close(self) -> None:
        self.operations.close()
        self.tuning_jobs.close()
        self.objects.close()
        self.store.close()

    # Jobs

    def create(self, spec: Mapping[str, Any] | None = None, parent: str = PARENT, **fields: Any) -> Any:
        job = {"display_name": "train", "job_spec": {**job_spec(), **(spec or {})}, **fields}
        return self.service.CreateCustomJob(raw(types.CreateCustomJobRequest(parent=parent, custom_job=job)))

    def job(self, name: str) -> Any:
        return self.service.GetCustomJob(raw(types.GetCustomJobRequest(name=name)))

    def state(self, name: str) -> str:
        return types.JobState(self.job(name).state).name.removeprefix("JOB_STATE_")

    def list(self, **fields: Any) -> Any:
        return self.service.ListCustomJobs(raw(types.ListCustomJobsRequest(parent=PARENT, **fields)))

    def cancel(self, name: str) -> None:
        self.service.CancelCustomJob(raw(types.CancelCustomJobRequest(name=name)))

    def delete(self, name: str) -> Any:
        return self.service.DeleteCustomJob(raw(types.DeleteCustomJobRequest(name=name)))

    # What the engine does

    def spec(self, name: str) -> JobSpec:
        return self.engine.specs[name.rpartition("/")[2]]

    def log(self, name: str) -> list[str]:
        return self.engine.spoken[name.rpartition("/")[2]].lines

    def run(self, name: str) -> None:
        self.engine.watchers[name.rpartition("/")[2]].running()

    def end(self, name: str, kind: EndKind = EndKind.SUCCEEDED, message: str = "", **fields: Any) -> None:
        self.engine.watchers[name.rpartition("/")[2]].ended(JobEnd(kind, message, **fields))

    # Pipelines

    def train(self, inputs: Mapping[str, Any] | None = None, **fields: Any) -> Any:
        pipeline = {
            "display_name": "digits",
            "training_task_definition": CUSTOM_TASK,
            "training_task_inputs": training_inputs() if inputs is None else inputs,
            **fields,
        }
        return self.pipelines.CreateTrainingPipeline(
            raw(types.CreateTrainingPipelineRequest(parent=PARENT, training_pipeline=pipeline))
        )

    def pipeline(self, name: str) -> Any:
        return self.pipelines.GetTrainingPipeline(raw(types.GetTrainingPipelineRequest(name=name)))

    def pipeline_state(self, name: str) -> str:
        return types.PipelineState(self.pipeline(name).state).name.removeprefix("PIPELINE_STATE_")

    def write_model(self, folder: str = "out/model", name: str = "saved_model.pb") -> None:
        self.objects.write("jobs", f"{folder}/{name}", b"graph")


def backing_job(pipeline: Any) -> str:
    return str(pipeline.training_task_metadata.struct_value["backingCustomJob"])


def job_spec(**pool: Any) -> dict[str, Any]:
    return {"worker_pool_specs": [worker_pool(**pool)]}


def worker_pool(replicas: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": replicas,
        "python_package_spec": python_package(),
        **fields,
    }


def python_package(**fields: Any) -> dict[str, Any]:
    return {
        "executor_image_uri": TRAINING_IMAGE,
        "package_uris": [PACKAGE],
        "python_module": "trainer.task",
        **fields,
    }


def training_inputs() -> dict[str, Any]:
    """As Google's client sends them: in snake_case, with what is not set as null."""
    return {
        "worker_pool_specs": [worker_pool()],
        "base_output_directory": {"output_uri_prefix": "gs://jobs/out"},
        "scheduling": {
            "timeout": "60s",
            "restart_job_on_worker_restart": False,
            "disable_retries": False,
            "strategy": None,
            "max_wait_duration": None,
        },
    }


def model_to_upload(**fields: Any) -> dict[str, Any]:
    return {"display_name": "digits", "container_spec": {"image_uri": IMAGE}, **fields}
