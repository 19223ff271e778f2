"""When one backend may stand in for another."""

import itertools

import numpy as np
import pytest

from vertexkit.emulator.serving.model_server.agreement import find_disagreement, sample_inputs
from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.signature import Signature, TensorSpec


def signature(dtype="float", shape=(None, 3)):
    return Signature("s", {"x": TensorSpec("x", dtype, shape)}, {"y": TensorSpec("y", dtype, shape)})


def twice(inputs):
    return {"y": inputs["x"] * 2}


def test_equal_backends_agree():
    assert find_disagreement(signature(), twice, twice) is None


def test_the_noise_of_another_order_of_summing_is_no_disagreement():
    assert find_disagreement(signature(), twice, lambda i: {"y": i["x"] * np.float32(2 * (1 + 1e-6))}) is None


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_a_difference_in_one_batch_size_alone_is_found(batch):
    def wrong(inputs):
        return {"y": inputs["x"] * (3 if len(inputs["x"]) == batch else 2)}

    assert "differs from TensorFlow's by up to" in find_disagreement(signature(), twice, wrong)


def test_a_difference_of_one_in_an_integer_is_found():
    assert find_disagreement(signature("int32"), twice, lambda i: {"y": i["x"] * 2 + (i["x"] > 90)})


@pytest.mark.parametrize("edge", [0, 255])
def test_a_difference_at_the_edge_of_a_type_is_found(edge):
    assert find_disagreement(signature("uint8"), twice, lambda i: {"y": i["x"] * 2 + (i["x"] == edge).all()})


def test_another_shape_or_type_is_a_disagreement():
    assert "where TensorFlow's is float32[1, 3]" in find_disagreement(
        signature(), twice, lambda i: {"y": (i["x"] * 2).ravel()}
    )
    assert "float64" in find_disagreement(signature(), twice, lambda i: {"y": i["x"] * np.float64(2)})


def test_a_model_that_draws_random_numbers_is_found():
    generator = np.random.default_rng(1)

    def random(inputs):
        return {"y": inputs["x"] + generator.random(inputs["x"].shape, np.float32)}

    assert find_disagreement(signature(), random, twice) == "TensorFlow's own answers vary"


def test_a_model_that_counts_its_calls_is_found():
    calls = itertools.count()
    assert find_disagreement(signature(), lambda i: {"y": i["x"] + next(calls)}, twice)


def test_nan_in_the_same_places_is_agreement():
    def root(inputs):
        with np.errstate(invalid="ignore"):
            return {"y": np.sqrt(inputs["x"])}

    assert find_disagreement(signature(), root, root) is None
    assert find_disagreement(signature(), root, lambda i: {"y": np.nan_to_num(root(i)["y"])})


def refusing_negatives(inputs):
    if (inputs["x"] < 0).any():
        raise RequestError("negative")
    return twice(inputs)


def test_what_the_reference_refuses_must_not_be_answered():
    assert (
        find_disagreement(signature("int32"), refusing_negatives, twice)
        == "it answers what TensorFlow refuses"
    )
    assert find_disagreement(signature("int32"), refusing_negatives, refusing_negatives) is None


def test_a_backend_may_leave_questions_to_the_reference_but_not_all():
    assert find_disagreement(signature(), twice, lambda i: twice(i) if len(i["x"]) == 1 else None) is None
    assert find_disagreement(signature(), twice, lambda i: None) == "no random input could be compared"


def test_samples_keep_to_the_signature_and_reach_the_extremes_of_each_type():
    seen = [sample["x"] for sample in sample_inputs(signature("int64", (None, 2)))]
    assert {len(array) for array in seen} == {1, 2, 7, 32}
    assert all(array.dtype == np.int64 and array.shape[1:] == (2,) for array in seen)
    assert min(array.min() for array in seen) == -(2**63)
    assert max(array.max() for array in seen) == 2**63 - 1
