"""JobService: jobs of every kind; each kind has a module of its own.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#jobservice
"""

from __future__ import annotations

from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.messages import Empty, Raw
from vertexkit.emulator.services.batch_jobs import BatchJobs
from vertexkit.emulator.services.custom_jobs import CustomJobs
from vertexkit.emulator.services.tuning_jobs import TuningJobs


class JobService:
    """Answers the RPCs that it has a method for. Safe to use from any thread.

    Args:
        custom_jobs: The CustomJobs.
        tuning_jobs: The HyperparameterTuningJobs.
        batch_jobs: The BatchPredictionJobs.
    """

    def __init__(self, custom_jobs: CustomJobs, tuning_jobs: TuningJobs, batch_jobs: BatchJobs) -> None:
        self._custom_jobs = custom_jobs
        self._tuning_jobs = tuning_jobs
        self._batch_jobs = batch_jobs

    def CreateCustomJob(self, request: Raw) -> Raw:
        """Create a CustomJob, which begins at once."""
        return self._custom_jobs.create(request.parent, request.custom_job)

    def GetCustomJob(self, request: Raw) -> Raw:
        """Get a CustomJob."""
        return self._custom_jobs.get(request.name)

    def ListCustomJobs(self, request: Raw) -> Raw:
        """List the CustomJobs of a location, those behind training pipelines too."""
        return self._custom_jobs.list(request)

    def CancelCustomJob(self, request: Raw) -> Raw:
        """Have a CustomJob end; its processes get a moment to do so by themselves."""
        self._custom_jobs.cancel(request.name)
        return Empty()

    def DeleteCustomJob(self, request: Raw) -> Raw:
        """Delete a CustomJob that has ended, with its logs."""
        return self._custom_jobs.delete(request.name)

    def CreateHyperparameterTuningJob(self, request: Raw) -> Raw:
        """Create a HyperparameterTuningJob, which begins at once."""
        return self._tuning_jobs.create(request.parent, request.hyperparameter_tuning_job)

    def GetHyperparameterTuningJob(self, request: Raw) -> Raw:
        """Get a HyperparameterTuningJob, with its trials."""
        return self._tuning_jobs.get(request.name)

    def ListHyperparameterTuningJobs(self, request: Raw) -> Raw:
        """List the HyperparameterTuningJobs of a location."""
        return self._tuning_jobs.list(request)

    def CancelHyperparameterTuningJob(self, request: Raw) -> Raw:
        """Have a HyperparameterTuningJob end, and its trials."""
        self._tuning_jobs.cancel(request.name)
        return Empty()

    def DeleteHyperparameterTuningJob(self, request: Raw) -> Raw:
        """Delete a HyperparameterTuningJob that has ended, with its trials and their logs."""
        return self._tuning_jobs.delete(request.name)

    def CreateBatchPredictionJob(self, request: Raw) -> Raw:
        """Create a BatchPredictionJob, which begins at once."""
        return self._batch_jobs.create(request.parent, request.batch_prediction_job)

    def GetBatchPredictionJob(self, request: Raw) -> Raw:
        """Get a BatchPredictionJob, as far as it is."""
        return self._batch_jobs.get(request.name)

    def ListBatchPredictionJobs(self, request: Raw) -> Raw:
        """List the BatchPredictionJobs of a location."""
        return self._batch_jobs.list(request)

    def CancelBatchPredictionJob(self, request: Raw) -> Raw:
        """Have a BatchPredictionJob end, and its model servers."""
        self._batch_jobs.cancel(request.name)
        return Empty()

    def DeleteBatchPredictionJob(self, request: Raw) -> Raw:
        """Delete a BatchPredictionJob that has ended, with its log; its output stays."""
        return self._batch_jobs.delete(request.name)

    def job_logs(self, project_number: str, job_id: str) -> JobLogs | None:
        """The log of a project's job, for whoever shows logs; None if there is no such job."""
        kinds = (self._custom_jobs, self._tuning_jobs, self._batch_jobs)
        logs = (kind.log(project_number, job_id) for kind in kinds)
        return next((log for log in logs if log is not None), None)
