"""The raw protobuf classes that services take and give.

Google's package wraps every message in proto-plus, which costs several times as much per field.
Services see only what lies under it, as do the fronts that decode and encode.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.cloud import resourcemanager_v3
from google.cloud.aiplatform_v1 import types
from google.cloud.location import locations_pb2
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2, field_mask_pb2, struct_pb2
from google.rpc import status_pb2

Raw: TypeAlias = Any
"""A raw protobuf message. Google ships no type information for these classes."""

Model: Raw = types.Model.pb()
Endpoint: Raw = types.Endpoint.pb()
DeployedModel: Raw = types.DeployedModel.pb()
DeployedModelRef: Raw = types.DeployedModelRef.pb()
AcceleratorType = types.AcceleratorType
DeploymentStage: Raw = types.DeploymentStage

UploadModelResponse: Raw = types.UploadModelResponse.pb()
UploadModelOperationMetadata: Raw = types.UploadModelOperationMetadata.pb()
ListModelsResponse: Raw = types.ListModelsResponse.pb()
ListModelVersionsResponse: Raw = types.ListModelVersionsResponse.pb()

ListEndpointsResponse: Raw = types.ListEndpointsResponse.pb()
CreateEndpointOperationMetadata: Raw = types.CreateEndpointOperationMetadata.pb()
DeployModelResponse: Raw = types.DeployModelResponse.pb()
DeployModelOperationMetadata: Raw = types.DeployModelOperationMetadata.pb()
UndeployModelResponse: Raw = types.UndeployModelResponse.pb()
UndeployModelOperationMetadata: Raw = types.UndeployModelOperationMetadata.pb()
MutateDeployedModelResponse: Raw = types.MutateDeployedModelResponse.pb()
MutateDeployedModelOperationMetadata: Raw = types.MutateDeployedModelOperationMetadata.pb()
DeleteOperationMetadata: Raw = types.DeleteOperationMetadata.pb()

CustomJob: Raw = types.CustomJob.pb()
CustomJobSpec: Raw = types.CustomJobSpec.pb()
Execution: Raw = types.Execution.pb()
JobState = types.JobState
ListCustomJobsResponse: Raw = types.ListCustomJobsResponse.pb()
BatchPredictionJob: Raw = types.BatchPredictionJob.pb()
ListBatchPredictionJobsResponse: Raw = types.ListBatchPredictionJobsResponse.pb()
HyperparameterTuningJob: Raw = types.HyperparameterTuningJob.pb()
ListHyperparameterTuningJobsResponse: Raw = types.ListHyperparameterTuningJobsResponse.pb()
TrainingPipeline: Raw = types.TrainingPipeline.pb()
PipelineState = types.PipelineState
ListTrainingPipelinesResponse: Raw = types.ListTrainingPipelinesResponse.pb()
UploadModelRequest: Raw = types.UploadModelRequest.pb()

Study: Raw = types.Study.pb()
StudySpec: Raw = types.StudySpec.pb()
ListStudiesResponse: Raw = types.ListStudiesResponse.pb()
ListTrialsResponse: Raw = types.ListTrialsResponse.pb()
ListOptimalTrialsResponse: Raw = types.ListOptimalTrialsResponse.pb()
SuggestTrialsResponse: Raw = types.SuggestTrialsResponse.pb()
SuggestTrialsMetadata: Raw = types.SuggestTrialsMetadata.pb()
CheckTrialEarlyStoppingStateResponse: Raw = types.CheckTrialEarlyStoppingStateResponse.pb()
CheckTrialEarlyStoppingStateMetatdata: Raw = types.CheckTrialEarlyStoppingStateMetatdata.pb()
Trial: Raw = types.Trial.pb()
TrialState = types.Trial.State
TrialParameter: Raw = types.Trial.Parameter.pb()
Measurement: Raw = types.Measurement.pb()

Any_: Raw = any_pb2.Any
Empty: Raw = empty_pb2.Empty
Value: Raw = struct_pb2.Value
FieldMask: Raw = field_mask_pb2.FieldMask
Operation: Raw = operations_pb2.Operation
ListOperationsResponse: Raw = operations_pb2.ListOperationsResponse
Status: Raw = status_pb2.Status
Project: Raw = resourcemanager_v3.Project.pb()
Location: Raw = locations_pb2.Location
ListLocationsResponse: Raw = locations_pb2.ListLocationsResponse
