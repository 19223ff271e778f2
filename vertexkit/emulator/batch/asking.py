"""Instances sent to the model, until each has a prediction or a reason why it has none."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import orjson
import simdjson
from google.rpc import code_pb2

from vertexkit.emulator.batch.predictions import NoPredictions, split_predictions
from vertexkit.emulator.batch.records import Fault
from vertexkit.emulator.batch.types import Answer, BatchFailed, NoAnswer, Predict

_OK: Final = 200
_TOO_MUCH: Final = 429
_TRANSIENT: Final = (408, _TOO_MUCH, 502, 503, 504)
_SERVER_ERRORS: Final = 500
_CODES: Final = {
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    408: code_pb2.DEADLINE_EXCEEDED,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.DEADLINE_EXCEEDED,
}
_PARTS: Final = 4
"""In so many parts is asked for what was refused as a whole. One bad instance is found with as many requests
as by halving, and where all are bad it takes two thirds of them."""
_MESSAGE_CHARACTERS: Final = 1000


@dataclass(frozen=True)
class Patience:
    """How long it is tried to get an answer."""

    delays: Sequence[float] = (0.2, 1.0, 2.0, 5.0)
    """Seconds before the second, third, ... try of a request that was answered with an error of the server's
    own; one that no replica answered, which whoever was asked has tried already, is tried twice."""
    unanswered: int = 40
    """So many requests in a row, whoever sent them, are answered by no replica, and the run is given up."""
    seconds: float = 900.0
    """So long is none answered, and the run is given up likewise."""


class Stopped(Exception):
    """The run is to end; what was under way is not answered."""


class Trust:
    """What all who ask have found out about the model's replicas. For any thread.

    Args:
        patience: How many requests may stay unanswered.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._turn = threading.Condition()
        self._asking = self._want_alone = 0
        self._unanswered = 0
        self._since = time.monotonic()
        self.errors_may_pass = True
        """Whether an internal error of a server's has not yet turned out to be one that stays."""

    @contextlib.contextmanager
    def asking(self, *, alone: bool) -> Iterator[None]:
        """While a request is asked; alone, while no other is.

        What was not answered may have ended its replica, and with it all requests that this had.
        """
        with self._turn:
            self._want_alone += alone
            self._turn.wait_for(lambda: self._asking == 0 if alone else not self._want_alone)
            self._asking += 1
        try:
            yield
        finally:
            with self._turn:
                self._asking -= 1
                self._want_alone -= alone
                self._turn.notify_all()

    def answered(self) -> None:
        """A replica has answered, whatever."""
        self._unanswered = 0
        self._since = time.monotonic()

    def unanswered(self, why: NoAnswer) -> None:
        """No replica has answered.

        Raises:
            BatchFailed: It was the last of too many.
        """
        with self._turn:
            self._unanswered += 1
            waited = time.monotonic() - self._since
            if self._unanswered >= self._patience.unanswered or waited >= self._patience.seconds:
                raise BatchFailed(
                    f"No replica has answered the last {self._unanswered} requests, in {waited:.0f} s: {why}"
                )


class Asker:
    """Asks the model. For one thread.

    Args:
        predict: Has a replica answer a request.
        parameters: JSON that goes with every request; empty for none.
        patience: How long to try.
        trust: Shared by all who ask.
        stopped: Whether the run is to end; waits for it, so many seconds at most.
    """

    def __init__(
        self,
        predict: Predict,
        parameters: bytes,
        patience: Patience,
        trust: Trust,
        stopped: Callable[[float], bool],
    ) -> None:
        self._predict = predict
        self._tail = b'],"parameters":%b}' % parameters if parameters else b"]}"
        self._patience = patience
        self._trust = trust
        self._stopped = stopped
        self._alone = False
        self._parser = simdjson.Parser()

    def ask(self, sent: Sequence[bytes]) -> list[bytes | Fault]:
        """A prediction's JSON, or what is wrong, for every instance.

        What is refused together is asked for in parts, so that one bad instance spoils no other.

        Raises:
            BatchFailed: No replica answers any more.
            Stopped: The run is to end.
        """
        self._alone = False
        return self._ask(sent, self._patience.delays) if sent else []

    def _ask(self, sent: Sequence[bytes], delays: Sequence[float]) -> list[bytes | Fault]:
        outcome = self._patiently(sent, delays)
        if not isinstance(outcome, Fault):
            return list(outcome)
        if len(sent) == 1:
            return [outcome]
        size = -(-len(sent) // _PARTS)
        parts = (sent[begin : begin + size] for begin in range(0, len(sent), size))
        return list(chain.from_iterable(map(self._ask_part, parts)))

    def _ask_part(self, sent: Sequence[bytes]) -> list[bytes | Fault]:
        # Patience was in vain for the whole; only where it comes to one instance it is due again.
        return self._ask(sent, self._patience.delays if len(sent) == 1 else ())

    def _patiently(self, sent: Sequence[bytes], delays: Sequence[float]) -> list[bytes] | Fault:
        body = b'{"instances":[%b%b' % (b",".join(sent), self._tail)
        tried_alone = False
        for delay in (*delays, None):
            try:
                with self._trust.asking(alone=self._alone):
                    if self._stopped(0):
                        raise Stopped
                    answer = self._predict(body)
            except NoAnswer as error:
                if self._stopped(0):
                    raise Stopped from error
                self._trust.unanswered(error)
                fault, may_pass = Fault(code_pb2.UNAVAILABLE, str(error)), not tried_alone
                tried_alone = self._alone = True
            else:
                self._trust.answered()
                if answer.status == _OK:
                    return self._predictions(answer, len(sent))
                fault = _fault(answer)
                internal = answer.status >= _SERVER_ERRORS and answer.status not in _TRANSIENT
                if internal and delays and delay is None:
                    self._trust.errors_may_pass = False
                may_pass = self._trust.errors_may_pass if internal else answer.status in _TRANSIENT
                if answer.status == _TOO_MUCH and len(sent) > 1:
                    # So a model says that its memory does not hold them all.
                    may_pass = False
            if delay is None or not may_pass:
                break
            self._stopped(delay)
        return fault

    def _predictions(self, answer: Answer, count: int) -> list[bytes] | Fault:
        try:
            return split_predictions(answer.body, count, self._parser)
        except NoPredictions as error:
            return Fault(code_pb2.INTERNAL, str(error))


def _fault(answer: Answer) -> Fault:
    usual = code_pb2.INVALID_ARGUMENT if answer.status < _SERVER_ERRORS else code_pb2.INTERNAL
    try:
        message = orjson.loads(answer.body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = None
    if not isinstance(message, str):
        message = answer.body.decode(errors="replace")
    if len(message) > _MESSAGE_CHARACTERS:
        message = message[:_MESSAGE_CHARACTERS] + "..."
    return Fault(_CODES.get(answer.status, usual), message or f"The model server answered {answer.status}.")
