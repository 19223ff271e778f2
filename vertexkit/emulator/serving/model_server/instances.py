"""The body of a predict request, decoded: TensorFlow Serving's row and columnar formats.

Source: https://www.tensorflow.org/tfx/serving/api_rest#predict_api and
``tensorflow_serving/util/json_tensor.cc``.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from vertexkit.emulator.serving.model_server import tensor_json
from vertexkit.emulator.serving.model_server.dense import decode_dense
from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.predict_request import parse_predict_request
from vertexkit.emulator.serving.model_server.signature import NUMPY_DTYPES, Signature, TensorSpec
from vertexkit.emulator.serving.model_server.tensor_json import shown
from vertexkit.emulator.serving.types import Source

Array = np.ndarray[Any, Any]

_STRINGS_HEAD, _STRINGS_BETWEEN, _STRINGS_TAIL = b'{"instances":[{"b64":"', b'"},{"b64":"', b'"}]}'
_NOT_NUMBERS = frozenset({"string", "bool"})


@dataclass(frozen=True)
class DecodedRequest:
    """A predict request, ready for a model."""

    signature: Signature
    inputs: Mapping[str, Array]
    """One array for every input of the signature."""
    row_format: bool
    """Whether it held ``instances``, and is answered with ``predictions``; else inputs and outputs."""

    @property
    def rows(self) -> int:
        """How many instances it holds; 1 where its inputs have no common first dimension."""
        sizes = {len(array) if array.ndim else 1 for array in self.inputs.values()}
        return sizes.pop() if len(sizes) == 1 else 1


def decode(
    body: bytes, signatures: Mapping[str, Signature], default: str, source: Source = Source.RAW
) -> DecodedRequest:
    """Decode the body of a predict request.

    Args:
        body: JSON text, in which ``NaN`` and ``Infinity`` are allowed but over REST.
        signatures: The model's signatures by name.
        default: The name of the signature that serves a request which names none.
        source: Where it comes from: over REST, a PredictRequest must be one.

    Raises:
        RequestError: The body is refused, in TensorFlow Serving's words or, over REST, in the API's.
    """
    usual = signatures[default]
    if len(usual.inputs) == 1:
        ((name, spec),) = usual.inputs.items()
        # Whatever the source: it leads nowhere if there is any key but instances, or no JSON.
        array = _strings_of(body) if spec.dtype == "string" else decode_dense(body, spec)
        if array is not None:
            return DecodedRequest(usual, {name: array}, True)
    try:
        document = parse_predict_request(body) if source is Source.REST else _parse(body)
        return _decode(document, signatures, default, body)
    except RecursionError:
        raise RequestError("JSON Parse error: nested too deeply") from None


def _decode(document: Any, signatures: Mapping[str, Signature], default: str, body: bytes) -> DecodedRequest:
    if not isinstance(document, dict):
        raise RequestError(f"JSON Value: {shown(document)} Is not object")
    signature = _signature(document, signatures, default)
    # np.asarray takes true for 1, which the model must not: only a body without either word is safe.
    has_numbers = any(spec.dtype != "string" for spec in signature.inputs.values())
    may_hold_booleans = has_numbers and (b"true" in body or b"false" in body)
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        raise RequestError(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' "
            "or 'instances' keys to exist "
        )
    if rows:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise RequestError(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise RequestError(f"JSON Value: {shown(document)} No values in 'instances' array")
        return DecodedRequest(signature, _rows(instances, signature.inputs, may_hold_booleans), True)
    if columns:
        return DecodedRequest(
            signature, _columns(document["inputs"], signature.inputs, may_hold_booleans), False
        )
    raise RequestError("Missing 'inputs' or 'instances' key")


def _parse(body: bytes) -> Any:
    if not body:
        raise RequestError("JSON Parse error: The document is empty")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # NaN and Infinity are no JSON, and orjson refuses them; TensorFlow Serving takes them.
        return json.loads(body)
    except json.JSONDecodeError as error:
        words = _PARSE_ERRORS.get(error.msg.partition(" starting at")[0], error.msg)
        raise RequestError(f"JSON Parse error: {words} at offset: {error.pos}") from None
    except ValueError as error:
        raise RequestError(f"JSON Parse error: Invalid encoding in string. {error}") from None


# Python's words for a syntax error, and those of the parser inside TensorFlow Serving.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or closing bracket after a value.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


def _signature(document: dict[str, Any], signatures: Mapping[str, Signature], default: str) -> Signature:
    name = document.get("signature_name", default)
    if not isinstance(name, str):
        raise RequestError(
            f"JSON Value: {shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    signature = signatures.get(name or default)
    if signature is None:
        raise RequestError(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise RequestError(f"Failed to get input map for signature: {name}")
    for spec in signature.inputs.values():
        if spec.dtype not in NUMPY_DTYPES:
            raise RequestError(f"Conversion of JSON Value to type: {spec.dtype}", status=501)
    return signature


def _rows(instances: list[Any], specs: Mapping[str, TensorSpec], may_hold_booleans: bool) -> dict[str, Array]:
    first = instances[0]
    if not isinstance(first, dict) and len(specs) > 1:
        raise RequestError(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if _is_named(first):
        if all(isinstance(instance, dict) and instance.keys() == specs.keys() for instance in instances):
            inputs = {}
            for name, spec in specs.items():
                array = _quickly([instance[name] for instance in instances], spec, may_hold_booleans)
                if array is None:
                    return _named_rows_exactly(instances, specs)
                inputs[name] = array
            return inputs
        return _named_rows_exactly(instances, specs)
    spec = next(iter(specs.values()))
    array = _quickly(instances, spec, may_hold_booleans)
    return {spec.name: _plain_rows_exactly(instances, spec) if array is None else array}


def _is_named(instance: Any) -> bool:
    return isinstance(instance, dict) and not tensor_json.is_base64_object(instance)


def _quickly(values: list[Any], spec: TensorSpec, may_hold_booleans: bool) -> Array | None:
    """The array of ``values``, or None where the exact way must decide or find the words of refusal."""
    if spec.dtype == "string":
        return _strings_quickly(values)
    if spec.dtype in _NOT_NUMBERS or may_hold_booleans:
        return None
    try:
        found = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    return tensor_json.convert_surely(found, spec)


def _strings_of(body: bytes) -> Array | None:
    """The strings of a request of nothing but base64, without blanks; None where it may be another."""
    if not (body.startswith(_STRINGS_HEAD) and body.endswith(_STRINGS_TAIL)):
        return None
    texts = body[len(_STRINGS_HEAD) : -len(_STRINGS_TAIL)].split(_STRINGS_BETWEEN)
    # What is not written with the letters of base64, such as a quotation mark, is refused.
    return _decoded(texts)


def _strings_quickly(values: list[Any]) -> Array | None:
    """A vector of base64, as batch prediction sends records and files; anything else has time."""
    if not values or not all(tensor_json.is_base64_object(value) for value in values):
        return None
    return _decoded([value["b64"] for value in values])


def _decoded(texts: Sequence[str | bytes]) -> Array | None:
    """A vector of what is written as base64; None where it is not, or not in the usual way."""
    try:
        decoded = [binascii.a2b_base64(text, strict_mode=True) for text in texts]
    except ValueError:
        return None
    array = np.empty(len(decoded), object)
    array[:] = decoded
    return array


def _plain_rows_exactly(instances: list[Any], spec: TensorSpec) -> Array:
    column = _Column(spec)
    for index, instance in enumerate(instances):
        if _is_named(instance):
            raise RequestError(f"Expecting value/list but got object at item {index} of input list")
        try:
            column.add(instance)
        except RequestError as error:
            raise RequestError(
                f"Failed to process element: {index} of 'instances' list. "
                f"Error: INVALID_ARGUMENT: {error.message}"
            ) from None
    return column.array()


def _named_rows_exactly(instances: Sequence[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    columns = {name: _Column(spec) for name, spec in specs.items()}
    for index, instance in enumerate(instances):
        if not _is_named(instance):
            raise RequestError(f"Expecting object but got list at item {index} of input list")
        for name, value in instance.items():
            try:
                if name not in columns:
                    raise RequestError(f"JSON object: does not have named input: {name}")
                columns[name].add(value)
            except RequestError as error:
                raise RequestError(
                    f"Failed to process element: {index} key: {name} of 'instances' list. "
                    f"Error: INVALID_ARGUMENT: {error.message}"
                ) from None
        if instance.keys() != specs.keys():
            raise RequestError(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(instance)} "
                f"keys must be equal to: {','.join(specs)}"
            )
    return {name: column.array() for name, column in columns.items()}


class _Column:
    """One input's values, instance by instance; all have the shape of the first."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._elements: list[Any] = []
        self._shape: tuple[int, ...] | None = None
        self._rows = 0

    def add(self, value: Any) -> None:
        elements, shape = tensor_json.fill(value, self._spec)
        if self._shape is None:
            self._shape = shape
        elif (expected := int(np.prod(self._shape))) != len(elements):
            raise RequestError(f"Expecting tensor size: {expected} but got: {len(elements)}")
        elif shape != self._shape:
            raise RequestError(f"Expecting shape {_written(self._shape)} but got: {_written(shape)}")
        self._elements += elements
        self._rows += 1

    def array(self) -> Array:
        return tensor_json.to_array(self._elements, (self._rows, *(self._shape or ())), self._spec)


def _columns(value: Any, specs: Mapping[str, TensorSpec], may_hold_booleans: bool) -> dict[str, Array]:
    if not _is_named(value):
        if len(specs) > 1:
            raise RequestError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        value = {next(iter(specs)): value}
    inputs = {}
    for name, spec in specs.items():
        if name not in value:
            raise RequestError(f"Missing named input: {name} in 'inputs' object.")
        item = value[name]
        array = _quickly(item, spec, may_hold_booleans) if isinstance(item, list) else None
        inputs[name] = tensor_json.to_array(*tensor_json.fill(item, spec), spec) if array is None else array
    return inputs


def _written(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
