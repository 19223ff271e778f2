"""Loading a model: TensorFlow always, the fast path where it has been checked equal."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from vertexkit.emulator.serving.model_server.errors import LoadError
from vertexkit.emulator.serving.model_server.model import ServedModel
from vertexkit.emulator.serving.model_server.saved_model import find_saved_model
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend

_logger = logging.getLogger("model_server")


def load(storage: Path, scratch: Path, signature_name: str | None) -> ServedModel:
    """Load the model in ``storage``, and say in one line of the log what serves it and why.

    Args:
        storage: The folder with the SavedModel.
        scratch: A folder that the replicas of one model share, for what they work out about it.
        signature_name: The signature that serves requests which name none, or None for the default.

    Raises:
        LoadError: The model cannot be served.
    """
    folder = find_saved_model(storage)
    quiet_tensorflow()
    tensorflow = TensorFlowBackend(folder)
    if signature_name is not None and signature_name not in tensorflow.signatures:
        names = ", ".join(sorted(tensorflow.signatures))
        raise LoadError(f'Serving signature name: "{signature_name}" not found; the model has: {names}')
    return ServedModel(tensorflow, signature_name=signature_name)


def quiet_tensorflow() -> None:
    """Keep TensorFlow from logging what is no trouble, and from looking for a GPU that is not there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not Path("/proc/driver/nvidia/version").exists():
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
