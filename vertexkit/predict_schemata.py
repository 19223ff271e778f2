"""A model's signature as predict schemata, which Vertex AI keeps with a model.

``Model.predict_schemata`` holds URIs of OpenAPI 3.0.2 schema objects of one instance and of one
prediction; they lie beside the artifact. OpenAPI knows no tensors, so the exact dtypes and shapes stand
beside, under ``x-vertexkit-tensors``; other readers leave such extensions alone.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/PredictSchemata
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vertexkit.types import Signature, TensorSpec

if TYPE_CHECKING:
    from vertexkit.storage import Bucket

__all__ = ["from_schemata", "schemata_folder", "to_schemata", "write_schemata"]

_EXTENSION = "x-vertexkit-tensors"

_NUMBERS: Mapping[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "float16": {"type": "number", "format": "float"},
    "float32": {"type": "number", "format": "float"},
    "float64": {"type": "number", "format": "double"},
    "bfloat16": {"type": "number", "format": "float"},
    "int8": {"type": "integer", "minimum": -(2**7), "maximum": 2**7 - 1},
    "int16": {"type": "integer", "minimum": -(2**15), "maximum": 2**15 - 1},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "uint8": {"type": "integer", "minimum": 0, "maximum": 2**8 - 1},
    "uint16": {"type": "integer", "minimum": 0, "maximum": 2**16 - 1},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "uint64": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
}
_STRING: dict[str, Any] = {
    "oneOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"b64": {"type": "string", "format": "byte"}},
            "required": ["b64"],
            "additionalProperties": False,
        },
    ]
}
"""Text, or bytes as TensorFlow Serving's JSON carries them."""


def to_schemata(signature: Signature) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a signature as predict schemata.

    Args:
        signature: What the model takes and gives.

    Returns:
        The schema of one instance and that of one prediction: OpenAPI 3.0.2 schema objects, to be
        stored as JSON, which YAML readers read as well.
    """
    return (
        _schema(signature.name, signature.inputs, "instance"),
        _schema(signature.name, signature.outputs, "prediction"),
    )


def from_schemata(
    instance_schema: Mapping[str, Any], prediction_schema: Mapping[str, Any]
) -> Signature | None:
    """Read a signature from the schemata that :func:`to_schemata` wrote.

    Returns:
        The signature, or None if the schemata do not hold one: others write schemata too.
    """
    try:
        taken, given = instance_schema[_EXTENSION], prediction_schema[_EXTENSION]
        return Signature(_tensors(taken), _tensors(given), name=str(taken["signature"]))
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def schemata_folder(artifact: str) -> str:
    """Where the schemata of the artifact below this prefix go: beside it, since inside is the model's."""
    return f"{artifact.rstrip('/')}.schemata"


def write_schemata(bucket: Bucket, artifact: str, signature: Signature) -> dict[str, str]:
    """Write a signature beside an artifact.

    Args:
        bucket: The artifact's bucket.
        artifact: The artifact's prefix.
        signature: What the model takes and gives.

    Returns:
        The fields of ``Model.predict_schemata``.
    """
    instance, prediction = to_schemata(signature)
    folder = schemata_folder(artifact)
    # JSON is YAML too, which is what Vertex AI asks for.
    return {
        field: bucket.write(f"{folder}/{name}.yaml", json.dumps(schema), content_type="application/yaml")
        for field, name, schema in (
            ("instance_schema_uri", "instance", instance),
            ("prediction_schema_uri", "prediction", prediction),
        )
    }


def _schema(name: str, specs: Mapping[str, TensorSpec], of: str) -> dict[str, Any]:
    if len(specs) == 1:
        # A model of one input takes instances without names, and gives predictions likewise.
        schema = _one_instance(next(iter(specs.values())))
    else:
        schema = {
            "type": "object",
            "properties": {key: _one_instance(spec) for key, spec in specs.items()},
            "required": list(specs),
        }
    tensors = [
        {
            "name": key,
            "dtype": spec.dtype,
            "shape": None if spec.shape is None else [-1 if axis is None else axis for axis in spec.shape],
        }
        for key, spec in specs.items()
    ]
    return {
        "title": f"{of} of {name}",
        "description": ", ".join(map(str, specs.values())),
        **schema,
        _EXTENSION: {"signature": name, "tensors": tensors},
    }


def _one_instance(spec: TensorSpec) -> dict[str, Any]:
    """The schema of one row of a tensor, which lacks the axis of the instances."""
    schema: dict[str, Any] = dict(_STRING if spec.dtype == "string" else _NUMBERS.get(spec.dtype, {}))
    if spec.shape is None:
        return {}
    for axis in reversed(spec.shape[1:]):
        lengths = {} if axis is None else {"minItems": axis, "maxItems": axis}
        schema = {"type": "array", "items": schema, **lengths}
    return schema


def _tensors(extension: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for tensor in extension["tensors"]:
        shape = tensor["shape"]
        axes = None if shape is None else tuple(None if axis == -1 else _axis(axis) for axis in shape)
        specs[str(tensor["name"])] = TensorSpec(str(tensor["name"]), str(tensor["dtype"]), axes)
    if not specs:
        raise ValueError("a model has at least one input and one output")
    return specs


def _axis(length: Any) -> int:
    if not isinstance(length, int) or length < 0:
        raise ValueError(f"{length!r} is no length of an axis")
    return length
