"""The inputs of a training task: a JSON value in a TrainingPipeline, a CustomJobSpec for whoever runs it.

See https://cloud.google.com/vertex-ai/docs/training/create-training-pipeline
"""

from __future__ import annotations

from typing import Final

from google.protobuf import json_format

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import CustomJobSpec, Raw, Value
from vertexkit.emulator.validation import invalid_field

CUSTOM_TASK: Final = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
_DEFINITIONS: Final = "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
_DEFINITION: Final = "training_pipeline.training_task_definition"
_INPUTS: Final = "training_pipeline.training_task_inputs"


def check_definition(definition: str) -> None:
    """Refuse a training task other than custom training.

    Raises:
        ApiError: INVALID_ARGUMENT, there is none of that name; UNIMPLEMENTED.
    """
    if not definition:
        raise invalid_field(_DEFINITION, "Required field is not set.")
    if not definition.startswith(_DEFINITIONS) or not definition.endswith(".yaml"):
        raise invalid_field(
            _DEFINITION, f"{definition} is no training task: they are found in {_DEFINITIONS}."
        )
    if definition != CUSTOM_TASK:
        task = definition.removeprefix(_DEFINITIONS)
        raise ApiError(Code.UNIMPLEMENTED, f"The local Vertex AI does not support the training task {task}.")


def parse_inputs(inputs: Raw) -> Raw:
    """The CustomJobSpec that the inputs of a custom training task are, in camelCase or snake_case.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if inputs.WhichOneof("kind") != "struct_value":
        raise invalid_field(_INPUTS, "Required field is not set, or no JSON object.")
    try:
        return json_format.ParseDict(json_format.MessageToDict(inputs), CustomJobSpec())
    except json_format.ParseError as error:
        raise invalid_field(_INPUTS, f"{error}") from None


def shown_inputs(spec: Raw) -> Raw:
    """A CustomJobSpec as a pipeline shows it: a JSON value in camelCase."""
    return json_format.ParseDict(json_format.MessageToDict(spec), Value())
