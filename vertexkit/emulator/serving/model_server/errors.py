"""What the model server answers instead of predictions."""

from __future__ import annotations


class RequestError(Exception):
    """A request is refused: ``{"error": message}`` with an HTTP status, as TensorFlow Serving does."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class LoadError(Exception):
    """The model cannot be served; the message is the last line of the log."""
