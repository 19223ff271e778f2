"""A model being served: bytes of a request in, bytes of a reply out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vertexkit.emulator.serving.model_server import instances, replies
from vertexkit.emulator.serving.model_server.signature import Signature
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend

Array = np.ndarray[Any, Any]

_logger = logging.getLogger(__name__)
# Larger bodies take longer to decode than to hand to a thread.
_SMALL_BODY = 64 * 1024


class FastPath(Protocol):
    """A backend that is quicker than TensorFlow for some inputs of one signature."""

    signature: Signature
    quick: bool
    """Whether one small request takes so little time that it may be answered on the event loop."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
        """The outputs; None where TensorFlow must answer."""


class ServedModel:
    """TensorFlow, and in front of it the fast path where there is one.

    Args:
        tensorflow: The backend that answers everything.
        signature_name: The signature that serves requests which name none; None for the model's own default.
        fast: The fast path, checked equal to TensorFlow, or None.
    """

    def __init__(
        self,
        tensorflow: TensorFlowBackend,
        *,
        signature_name: str | None = None,
        fast: FastPath | None = None,
    ) -> None:
        self._tensorflow = tensorflow
        self._default = signature_name or tensorflow.default_signature
        self._fast = fast

    def answers_at_once(self, body: bytes) -> bool:
        """Whether a request takes so little time that the event loop may answer it itself."""
        return self._fast is not None and self._fast.quick and len(body) <= _SMALL_BODY

    def predict(self, body: bytes) -> bytes:
        """Answer a predict request.

        Raises:
            RequestError: The request, or the model's answer, is refused.
        """
        request = instances.decode(body, self._tensorflow.signatures, self._default)
        outputs = None
        if self._fast is not None and request.signature is self._fast.signature:
            outputs = self._fast.run(request.inputs)
        if outputs is None:
            outputs = self._tensorflow.run(request.signature, request.inputs)
        return replies.encode(outputs, row_format=request.row_format)
