"""Loading a model: TensorFlow always, the fast path where it has been checked equal."""

from __future__ import annotations

import logging
from pathlib import Path

from vertexkit.emulator.serving.model_server.errors import LoadError
from vertexkit.emulator.serving.model_server.fast_path import FastPathSearch
from vertexkit.emulator.serving.model_server.model import ServedModel
from vertexkit.emulator.serving.model_server.saved_model import find_saved_model
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend, import_tensorflow

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
    import_tensorflow()
    search = FastPathSearch(folder, scratch, signature_name)
    tensorflow = TensorFlowBackend(folder)
    name = signature_name or tensorflow.default_signature
    if name not in tensorflow.signatures:
        names = ", ".join(sorted(tensorflow.signatures))
        raise LoadError(f'Serving signature name: "{name}" not found in signature def; it has: {names}')
    fast, reason = search.result(tensorflow.signatures[name])
    backend = "TensorFlow" if fast is None else "LiteRT"
    _logger.info("%s serves signature %s of %s: %s", backend, name, folder.name, reason)
    return ServedModel(tensorflow, signature_name=name, fast=fast)
