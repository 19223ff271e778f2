"""TensorFlow for serving: the runtime, without all that is for building and training models.

``import tensorflow`` runs every public module of it, and a Keras: more than half of the time until a
model is served, and a third of a replica's memory. Running a SavedModel, and converting it to LiteRT,
takes a few of its inner modules, which load just as well below a stand-in for the package.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def prepare_tensorflow() -> None:
    """Let ``from tensorflow.python... import`` load no more than that, quietly, from now on.

    For processes of our own only: what needs all of TensorFlow does not work in them. Nothing happens
    where all of it has been imported already.

    Raises:
        ModuleNotFoundError: There is no TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not has_gpu():
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    # A package that knows where its modules are, and whose own code has not run.
    sys.modules["tensorflow"] = importlib.util.module_from_spec(spec)
    from tensorflow.python.compat import v2_compat
    from tensorflow.python.platform import tf_logging

    tf_logging.set_verbosity(tf_logging.ERROR)
    v2_compat.enable_v2_behavior()


def has_gpu() -> bool:
    """Whether this machine has a GPU that TensorFlow could use."""
    return Path("/proc/driver/nvidia/version").exists()
