"""The JSON round trip of a model server with no model behind it: what bench_serving holds serving against.

It is the model server's own code on the network, asked directly, whose model gives the same numbers
whatever it is given. ``python -m tests.bench.no_model`` prints its port.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import uvicorn

from vertexkit.emulator.serving.model_server.app import model_app
from vertexkit.emulator.serving.model_server.model import ServedModel
from vertexkit.emulator.serving.model_server.signature import Signature, TensorSpec
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend

PREDICT_ROUTE = "/predict"


class NoModel:
    """Stands where the model server has TensorFlow."""

    default_signature = "serving_default"
    signatures: Mapping[str, Signature] = {
        "serving_default": Signature(
            "serving_default",
            {"images": TensorSpec("images", "uint8", (None, 28, 28))},
            {"output_0": TensorSpec("output_0", "float", (None, 10))},
        )
    }

    def run(self, signature: Signature, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, Any]:
        """As many rows of 10 numbers, each of as many digits as a softmax gives."""
        return {"output_0": np.full((len(inputs["images"]), 10), 1 / 7, np.float32)}


if __name__ == "__main__":
    model = ServedModel(cast(TensorFlowBackend, NoModel()))
    app = model_app(model, health_route="/health", predict_route=PREDICT_ROUTE)
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", lifespan="off", log_level="error", access_log=False
    )
    uvicorn.Server(config).run([listening])
