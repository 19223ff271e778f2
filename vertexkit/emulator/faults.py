"""Errors, resets and latency on purpose, asked for over ``PUT /emulator/faults``.

Only an emulator started with ``--allow-faults`` takes them. The body is
``{"rules": [RULE, ...]}`` and replaces the rules that were there; ``GET`` gives them back with
how often each has struck. A rule says::

    {"method": "ModelService.*",          RPCs concerned, over gRPC and REST (shell pattern), or
     "storage": "PUT /upload/*",          calls of Cloud Storage: verb and path (shell pattern)
     "status": 503,                       answer this HTTP status (gRPC: its canonical code), or
     "reset": true,                       break the connection without an answer
     "after_work": true,                  ... once the work is done, so only the answer is lost
     "latency": 0.2,                      seconds to wait first
     "skip": 2, "times": 1,               calls to leave alone first, then how many to strike
     "probability": 0.5, "seed": 7}       chance of striking

The first rule that strikes is the one that counts.
"""

from __future__ import annotations

import fnmatch
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.methods import Method

_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    429: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "method": str, "storage": str, "status": int, "reset": bool, "after_work": bool,
    "latency": (int, float), "skip": int, "times": int, "probability": (int, float), "seed": int,
}  # fmt: skip

_AT_LEAST_ZERO = frozenset({"latency", "skip", "times", "probability"})


@dataclass(frozen=True)
class Fault:
    """What shall go wrong with one call."""

    status: int | None = None
    """HTTP status to answer, or None."""
    reset: bool = False
    after_work: bool = False
    latency: float = 0.0
    """Seconds."""

    def wait(self) -> None:
        """Sit out the latency, in a thread."""
        if self.latency:
            time.sleep(self.latency)

    def error(self) -> ApiError:
        """The answer that stands for ``status``."""
        assert self.status is not None
        return ApiError(_CODES[self.status], f"Injected fault: {self.status}.")


@dataclass
class _Rule:
    """A fault, the calls that it concerns, and how often it has struck."""

    fault: Fault
    asked: Mapping[str, Any]
    pattern: str
    for_storage: bool
    skip: int
    times: int | None
    probability: float
    random: random.Random
    struck: int = 0

    def strikes(self, name: str) -> bool:
        if not fnmatch.fnmatchcase(name, self.pattern) or (
            self.times is not None and self.struck >= self.times
        ):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.random.random() >= self.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The rules in force. Thread-safe.

    Args:
        allowed: Whether rules may be set at all.
    """

    def __init__(self, *, allowed: bool = False) -> None:
        self.allowed = allowed
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def replace(self, body: bytes) -> None:
        """Put the rules of a ``PUT /emulator/faults`` in force, in place of those there.

        Raises:
            ApiError: The emulator takes no faults, or the body is not as described above.
        """
        if not self.allowed:
            raise ApiError(Code.FAILED_PRECONDITION, "Faults need an emulator started with --allow-faults.")
        try:
            rules = [_parsed(rule) for rule in orjson.loads(body)["rules"]]
        except (ValueError, TypeError, KeyError) as error:
            raise ApiError(Code.INVALID_ARGUMENT, f"Not a list of fault rules: {error}") from error
        with self._lock:
            self._rules = rules

    def report(self) -> dict[str, Any]:
        """The rules as they were asked for, each with ``struck``: how often it has."""
        with self._lock:
            return {"rules": [{**rule.asked, "struck": rule.struck} for rule in self._rules]}

    def for_method(self, method: Method) -> Fault | None:
        """What shall go wrong with this call of an RPC, if anything."""
        if not self._rules:
            return None
        return self._first(f"{method.short_service}.{method.name}", for_storage=False)

    def for_storage(self, verb: str, path: str) -> Fault | None:
        """What shall go wrong with this request to Cloud Storage, if anything."""
        if not self._rules:
            return None
        return self._first(f"{verb} {path}", for_storage=True)

    def _first(self, name: str, *, for_storage: bool) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if rule.for_storage == for_storage and rule.strikes(name):
                    return rule.fault
        return None


def _is_of_its_type(name: str, value: object) -> bool:
    # Python counts True as an int.
    return isinstance(value, _TYPES[name]) and isinstance(value, bool) == (_TYPES[name] is bool)


def _parsed(rule: Any) -> _Rule:
    if not isinstance(rule, dict):
        raise TypeError(f"{rule!r} is not a rule")
    for name, value in rule.items():
        if name not in _TYPES:
            raise ValueError(f"a rule has no {name!r}")
        if not _is_of_its_type(name, value):
            raise TypeError(f"{name}={value!r} is of the wrong type")
        if name in _AT_LEAST_ZERO and value < 0:
            raise ValueError(f"{name}={value!r} is negative")
    probability: float = rule.get("probability", 1.0)
    if probability > 1:
        raise ValueError(f"{probability=} is more than 1")
    if ("method" in rule) == ("storage" in rule):
        raise ValueError("a rule names either 'method' or 'storage'")
    if rule.get("status") is not None and rule["status"] not in _CODES:
        raise ValueError(f"status={rule['status']} is none of {sorted(_CODES)}")
    fault = Fault(**{item.name: rule[item.name] for item in fields(Fault) if item.name in rule})
    if fault.status is None and not fault.reset and not fault.latency:
        raise ValueError("a rule says 'status', 'reset' or 'latency'")
    return _Rule(
        fault,
        rule,
        rule["storage"] if "storage" in rule else rule["method"],
        "storage" in rule,
        rule.get("skip", 0),
        rule.get("times"),
        probability,
        random.Random(rule.get("seed")),  # noqa: S311  # chance, not secrecy
    )
