"""Predict schemata: signatures kept as OpenAPI beside their models."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vertexkit.predict_schemata import from_schemata, to_schemata
from vertexkit.types import Signature, TensorSpec

IMAGES = TensorSpec("images", "uint8", (None, 28, 28))
SIGNATURE = Signature({"images": IMAGES}, {"output_0": TensorSpec("output_0", "float32", (None, 10))})
TWO_INPUTS = Signature(
    {"age": TensorSpec("age", "float32", (None, 1)), "name": TensorSpec("name", "string", (None, 1))},
    SIGNATURE.outputs,
)

dtypes = st.sampled_from(
    ["bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "bfloat16", "string", "resource"]
)
shapes = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 5000)), max_size=5).map(tuple))


@st.composite
def specs(draw: Callable[..., Any]) -> dict[str, TensorSpec]:
    names = draw(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
    return {name: TensorSpec(name, draw(dtypes), draw(shapes)) for name in names}


@given(st.builds(Signature, specs(), specs(), st.text(min_size=1)))
def test_a_signature_survives_being_kept_as_json(signature: Signature) -> None:
    kept = [json.loads(json.dumps(schema)) for schema in to_schemata(signature)]
    read = from_schemata(*kept)
    assert read == signature
    assert read is not None
    assert list(read.inputs) == list(signature.inputs)
    assert list(read.outputs) == list(signature.outputs)


def test_a_schema_says_in_openapi_what_one_instance_is() -> None:
    instance, prediction = to_schemata(SIGNATURE)
    assert instance["type"] == "array"
    assert instance["minItems"] == instance["maxItems"] == 28
    assert instance["items"]["items"] == {"type": "integer", "minimum": 0, "maximum": 255}
    assert prediction["items"] == {"type": "number", "format": "float"}
    several, _ = to_schemata(TWO_INPUTS)
    assert several["type"] == "object"
    assert several["required"] == ["age", "name"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda children: st.one_of(st.lists(children), st.dictionaries(st.text(), children)),
)


@given(
    st.dictionaries(st.sampled_from(["type", "x-vertexkit-tensors"]), json_values),
    st.dictionaries(st.sampled_from(["signature", "tensors"]), json_values),
)
def test_schemata_of_others_hold_no_signature(schema: dict[str, Any], extension: dict[str, Any]) -> None:
    kept = to_schemata(SIGNATURE)
    assert from_schemata(schema, kept[1]) is None
    assert from_schemata(kept[0], {"x-vertexkit-tensors": extension}) is None
