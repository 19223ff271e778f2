"""Whether a model server looks for a GPU: only where whoever started it has given it one."""

import os
import sys

import pytest

from vertexkit.emulator.serving.model_server.tensorflow_core import has_gpu, prepare_tensorflow


@pytest.mark.parametrize(("given", "has"), [("0", True), ("1,2", True), ("-1", False), (None, False)])
def test_a_gpu_is_used_where_one_was_given(given, has, monkeypatch):
    # TensorFlow is there already, as far as anyone can tell: nothing is imported.
    monkeypatch.setitem(sys.modules, "tensorflow", os)
    # Set in any case, so that what is set here is undone.
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given or "")
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    prepare_tensorflow()
    assert has_gpu() is has
    assert os.environ["CUDA_VISIBLE_DEVICES"] == (given or "-1")
