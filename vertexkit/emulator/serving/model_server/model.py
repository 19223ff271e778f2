"""A model being served: bytes of a request in, bytes of a reply out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vertexkit.emulator.serving.model_server import instances, replies
from vertexkit.emulator.serving.model_server.instances import DecodedRequest
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend
from vertexkit.emulator.serving.types import Source

Array = np.ndarray[Any, Any]

# What an answer may take on the event loop, where the health route waits for it: about what it costs
# to hand a request to a thread and take its answer back, several times over.
_QUICK_SECONDS = 0.002


class FastPath(Protocol):
    """A backend that is quicker than TensorFlow for some inputs of one signature."""

    signature_name: str
    seconds_per_row: float
    """What one instance takes, at most."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
        """The outputs; None where TensorFlow must answer."""


class ServedModel:
    """TensorFlow, and in front of it the fast path where there is one.

    Args:
        tensorflow: The backend that answers everything.
    """

    def __init__(self, tensorflow: TensorFlowBackend) -> None:
        self._tensorflow = tensorflow
        self._signatures = tensorflow.signatures
        self._fed_with_values = {
            name: signature.fed_with_values() for name, signature in self._signatures.items()
        }
        self._fast: FastPath | None = None

    def use(self, fast: FastPath) -> None:
        """Let a fast path, checked equal to TensorFlow, answer the requests that begin from now on.

        Safe to call from any thread.
        """
        self._fast = fast

    def decode(self, body: bytes, source: Source) -> DecodedRequest:
        """Decode the body of a predict request.

        Args:
            body: JSON text.
            source: Where it comes from: but for RawPredict, it stands for protobuf ``Value``s, in which
                every number is a double.

        Raises:
            RequestError: It is refused.
        """
        signatures = self._signatures if source is Source.RAW else self._fed_with_values
        return instances.decode(body, signatures, self._tensorflow.default_signature, source)

    def is_quick(self, request: DecodedRequest) -> bool:
        """Whether the answer takes so little time that the event loop may work it out itself."""
        fast = self._fast_path(request)
        return fast is not None and request.rows * fast.seconds_per_row <= _QUICK_SECONDS

    def answer(self, request: DecodedRequest) -> bytes:
        """The reply to a request.

        Raises:
            RequestError: The model refuses the inputs, or its outputs cannot be written.
        """
        fast = self._fast_path(request)
        outputs = None if fast is None else fast.run(request.inputs)
        if outputs is None:
            outputs = self._tensorflow.run(request.signature, request.inputs)
        return replies.encode(outputs, row_format=request.row_format)

    def _fast_path(self, request: DecodedRequest) -> FastPath | None:
        fast = self._fast
        return fast if fast is not None and fast.signature_name == request.signature.name else None
