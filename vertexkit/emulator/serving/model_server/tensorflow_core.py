"""TensorFlow for serving: the runtime, without all that is for building and training models.

``import tensorflow`` runs every public module of it, and a Keras: more than half of the time until a
model is served, and a third of a replica's memory. Running a SavedModel, and converting it to LiteRT,
takes a few of its inner modules, which load just as well below a stand-in for the package. Another
TensorFlow may have them elsewhere, or need the package first: then a fresh process loads all of it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

_WHOLE_SWITCH = "VERTEXKIT_SERVING_WHOLE_TENSORFLOW"
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_NO_GPU = "-1"


class StandInFailed(Exception):
    """The inner modules did not load; in this process TensorFlow does not load any more."""


def prepare_tensorflow() -> None:
    """Let ``from tensorflow.python... import`` load no more than that, quietly, from now on.

    For processes of our own only: what needs all of TensorFlow does not work in them. Nothing happens
    where all of it has been imported already.

    Raises:
        ModuleNotFoundError: There is no TensorFlow.
        StandInFailed: This TensorFlow has to be loaded whole; see ``start_again_with_whole_tensorflow``.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault(_VISIBLE_GPUS, _NO_GPU)
    if "tensorflow" in sys.modules:
        return
    if os.environ.get(_WHOLE_SWITCH):
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    # A package that knows where its modules are, and whose own code has not run.
    sys.modules["tensorflow"] = importlib.util.module_from_spec(spec)
    try:
        # All that a model is served with, so that what is missing shows here.
        import tensorflow.core.protobuf.config_pb2
        import tensorflow.python.client.session
        import tensorflow.python.saved_model.loader_impl
        from tensorflow.python.compat import v2_compat
        from tensorflow.python.platform import tf_logging

        tf_logging.set_verbosity(tf_logging.ERROR)
        v2_compat.enable_v2_behavior()
    except (AttributeError, ImportError) as error:
        raise StandInFailed(f"The inner modules of this TensorFlow do not load alone: {error}") from error


def start_again_with_whole_tensorflow() -> NoReturn:
    """Run this process's command anew in its place, with all of TensorFlow."""
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, _WHOLE_SWITCH: "1"})  # noqa: S606 - its own command


def has_gpu() -> bool:
    """Whether whoever started this process gave it a GPU."""
    return os.environ.get(_VISIBLE_GPUS, _NO_GPU) != _NO_GPU
