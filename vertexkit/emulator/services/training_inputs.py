"""The inputs of a training task: a JSON value in a TrainingPipeline, a CustomJobSpec for whoever runs it.

See https://cloud.google.com/vertex-ai/docs/training/create-training-pipeline
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import json_format

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import CustomJobSpec, Raw, Value
from vertexkit.emulator.validation import invalid_field

CUSTOM_TASK: Final = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
_DEFINITIONS: Final = "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
_DEFINITION: Final = "training_pipeline.training_task_definition"
_INPUTS: Final = "training_pipeline.training_task_inputs"
_PROGRAMS: Final = ("pythonPackageSpec", "python_package_spec", "containerSpec", "container_spec")


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
    given = json_format.MessageToDict(inputs)
    for pool in _dicts(given, "workerPoolSpecs", "worker_pool_specs"):
        for program in _dicts(pool, *_PROGRAMS):
            if isinstance(program.get("args"), list):
                # As Google's client documents of them: str, float or int.
                program["args"] = [_text(arg) for arg in program["args"]]
    try:
        return json_format.ParseDict(given, CustomJobSpec())
    except json_format.ParseError as error:
        raise invalid_field(_INPUTS, f"{error}") from None


def shown_inputs(spec: Raw) -> Raw:
    """A CustomJobSpec as a pipeline shows it: a JSON value in camelCase."""
    return json_format.ParseDict(json_format.MessageToDict(spec), Value())


def _dicts(given: Mapping[str, Any], *names: str) -> Iterator[dict[str, Any]]:
    """The objects that are, or are listed, below one of these names."""
    for name in names:
        found = given.get(name)
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, dict):
                yield one


def _text(arg: object) -> object:
    if isinstance(arg, bool) or not isinstance(arg, int | float):
        return arg
    # On the wire, every number is a double.
    return str(int(arg) if float(arg).is_integer() and abs(arg) <= 2**53 else arg)
