"""The whole life of a TensorFlow/Keras model on Vertex AI, with a local Vertex AI inside.

::

    import vertexkit as vk

    with vk.connect() as session:
        model = session.models.upload("mnist", "my_mnist_model/0001")
        endpoint = session.endpoints.create("mnist")
        endpoint.deploy(model, machine="n1-standard-2")
        probabilities = endpoint.predict(images)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertexkit._core.lazy import lazily
from vertexkit.errors import (
    AlreadyExists,
    BadRequest,
    BatchPredictionFailed,
    Cancelled,
    ChecksumMismatch,
    CleanupIncomplete,
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    DeployFailed,
    EmulatorFailed,
    FailedPrecondition,
    Finding,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PredictionFailed,
    PreflightFailed,
    QuotaExceeded,
    ServiceError,
    TrainingFailed,
    TransferFailed,
    TuningFailed,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VertexkitError,
)
from vertexkit.types import Machine, Signature, TensorSpec

if TYPE_CHECKING:
    from vertexkit._core.operations import Operation
    from vertexkit.batch import BatchPredictionJob, PartialFailureWarning
    from vertexkit.batch_progress import BatchProgress
    from vertexkit.batch_results import BatchFailure, BatchRow
    from vertexkit.cleanup import CleanupReport
    from vertexkit.early_stopping import ConvexStopping, DecayCurveStopping, MedianStopping
    from vertexkit.endpoints import DeployedModel, Endpoint
    from vertexkit.job_logs import LogLine
    from vertexkit.job_state import JobState
    from vertexkit.keras_tuner import KerasTunerJob
    from vertexkit.models import Model, ModelVersion
    from vertexkit.prediction import PredictResponse, RawPrediction
    from vertexkit.preflight import PreflightWarning
    from vertexkit.session import Session, connect
    from vertexkit.spaces import Categorical, Discrete, Double, Integer
    from vertexkit.storage import Bucket, DownloadReport, ObjectInfo, UploadReport
    from vertexkit.tensorboard import TensorBoard
    from vertexkit.traffic import TrafficSplit
    from vertexkit.training import CustomTrainingJob
    from vertexkit.training_outputs import Checkpoint
    from vertexkit.trials import Measurement, Objective, Trial, Trials, TrialState
    from vertexkit.tuning import HyperparameterTuningJob

__all__ = [
    "AlreadyExists",
    "BadRequest",
    "BatchFailure",
    "BatchPredictionFailed",
    "BatchPredictionJob",
    "BatchProgress",
    "BatchRow",
    "Bucket",
    "Cancelled",
    "Categorical",
    "Checkpoint",
    "ChecksumMismatch",
    "CleanupIncomplete",
    "CleanupReport",
    "ConfigurationError",
    "Conflict",
    "ConvexStopping",
    "CustomTrainingJob",
    "DeadlineExceeded",
    "DecayCurveStopping",
    "DeployFailed",
    "DeployedModel",
    "Discrete",
    "Double",
    "DownloadReport",
    "EmulatorFailed",
    "Endpoint",
    "FailedPrecondition",
    "Finding",
    "HyperparameterTuningJob",
    "Integer",
    "InternalError",
    "InvalidArgument",
    "JobState",
    "KerasTunerJob",
    "LogLine",
    "Machine",
    "Measurement",
    "MedianStopping",
    "Model",
    "ModelVersion",
    "NotFound",
    "ObjectInfo",
    "Objective",
    "Operation",
    "PartialFailureWarning",
    "PermissionDenied",
    "PredictResponse",
    "PredictionFailed",
    "PreflightFailed",
    "PreflightWarning",
    "QuotaExceeded",
    "RawPrediction",
    "ServiceError",
    "Session",
    "Signature",
    "TensorBoard",
    "TensorSpec",
    "TrafficSplit",
    "TrainingFailed",
    "TransferFailed",
    "Trial",
    "TrialState",
    "Trials",
    "TuningFailed",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UploadReport",
    "VertexkitError",
    "__version__",
    "connect",
]

__version__ = "0.1.0"

# What loads more than a few milliseconds of code is imported when it is first used.
__getattr__, __dir__ = lazily(
    __name__,
    {
        "BatchFailure": "vertexkit.batch_results",
        "BatchPredictionJob": "vertexkit.batch",
        "BatchProgress": "vertexkit.batch_progress",
        "BatchRow": "vertexkit.batch_results",
        "Bucket": "vertexkit.storage",
        "DownloadReport": "vertexkit.storage",
        "ObjectInfo": "vertexkit.storage",
        "UploadReport": "vertexkit.storage",
        "Checkpoint": "vertexkit.training_outputs",
        "CleanupReport": "vertexkit.cleanup",
        "CustomTrainingJob": "vertexkit.training",
        "DeployedModel": "vertexkit.endpoints",
        "Endpoint": "vertexkit.endpoints",
        "JobState": "vertexkit.job_state",
        "LogLine": "vertexkit.job_logs",
        "Model": "vertexkit.models",
        "ModelVersion": "vertexkit.models",
        "Operation": "vertexkit._core.operations",
        "PartialFailureWarning": "vertexkit.batch",
        "PredictResponse": "vertexkit.prediction",
        "PreflightWarning": "vertexkit.preflight",
        "RawPrediction": "vertexkit.prediction",
        "Session": "vertexkit.session",
        "TensorBoard": "vertexkit.tensorboard",
        "TrafficSplit": "vertexkit.traffic",
        "connect": "vertexkit.session",
        "Categorical": "vertexkit.spaces",
        "ConvexStopping": "vertexkit.early_stopping",
        "DecayCurveStopping": "vertexkit.early_stopping",
        "Discrete": "vertexkit.spaces",
        "Double": "vertexkit.spaces",
        "HyperparameterTuningJob": "vertexkit.tuning",
        "KerasTunerJob": "vertexkit.keras_tuner",
        "Integer": "vertexkit.spaces",
        "Measurement": "vertexkit.trials",
        "MedianStopping": "vertexkit.early_stopping",
        "Objective": "vertexkit.trials",
        "Trial": "vertexkit.trials",
        "TrialState": "vertexkit.trials",
        "Trials": "vertexkit.trials",
    },
    __all__,
)
