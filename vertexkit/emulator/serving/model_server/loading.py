"""Loading a model: TensorFlow always, the fast path as soon as it has been checked equal."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from vertexkit.emulator.serving.model_server.fast_path import FastPathSearch
from vertexkit.emulator.serving.model_server.model import ServedModel
from vertexkit.emulator.serving.model_server.saved_model import find_saved_model
from vertexkit.emulator.serving.model_server.tensorflow_core import prepare_tensorflow
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend

_logger = logging.getLogger("model_server")


def load(storage: Path, scratch: Path) -> ServedModel:
    """Load the model in ``storage``; one line of the log says what serves it and why, once that is known.

    Until then TensorFlow does: a deploy need not wait for what only makes it faster.

    Args:
        storage: The folder with the SavedModel.
        scratch: A folder that all replicas share, for what they work out about models.

    Raises:
        LoadError: The model cannot be served.
        StandInFailed: This TensorFlow has to be loaded whole, in a fresh process.
    """
    folder = find_saved_model(storage)
    prepare_tensorflow()
    # TensorFlow is imported now, before the search forks, so that its process need not do it again.
    search = FastPathSearch(folder, scratch)
    tensorflow = TensorFlowBackend(folder)
    model = ServedModel(tensorflow)

    def settle() -> None:
        name = tensorflow.default_signature
        fast, reason = search.result(tensorflow.signatures[name])
        if fast is not None:
            model.use(fast)
        backend = "TensorFlow" if fast is None else "LiteRT"
        _logger.info("%s serves signature %s of %s: %s", backend, name, folder.name, reason)

    if search.settled:
        settle()
    else:
        threading.Thread(target=settle, name="fast-path", daemon=True).start()
    return model
