"""The fast path: LiteRT runs the signature, converted from the SavedModel."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from vertexkit.emulator.serving.model_server.agreement import sample_inputs
from vertexkit.emulator.serving.model_server.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]

_THREADS = 2
# What a call must take for a second thread to pay: having helped once, it spins for a while in wait of
# more, and with many short calls it would take a whole core from those who ask.
_WORTH_THREADS_SECONDS = 0.001
# Every interpreter holds the weights in an order of its own, so not too many of them.
_INTERPRETERS = 4
_TIMED_RUNS = 5


class LiteRTBackend:
    """A converted signature, run by one interpreter for every batch size in use. Thread-safe.

    Args:
        content: The converted model.
        signature: What it was converted from.

    Attributes:
        signature_name: Of that signature.
        seconds_per_row: What one instance takes alone; in a batch it takes less.
    """

    name = "litert"

    def __init__(self, content: bytes, signature: Signature) -> None:
        self._content = content
        self._signature = signature
        self.signature_name = signature.name
        self._interpreters: OrderedDict[Shapes, _Interpreter] = OrderedDict()
        self._lock = threading.Lock()
        self.seconds_per_row = 0.0
        self.seconds_per_row = self._timed()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
        """The outputs, or None where this way is not the signature's: TensorFlow must answer then."""
        specs = self._signature.inputs
        if not all(_fits(inputs[name].shape, spec) for name, spec in specs.items()):
            return None
        try:
            return self._interpreter(tuple(inputs[name].shape for name in specs)).run(inputs)
        except (RuntimeError, ValueError):
            # TensorFlow may answer still, and if it does not, it knows better words for why.
            return None

    def _interpreter(self, shapes: Shapes) -> _Interpreter:
        with self._lock:
            interpreter = self._interpreters.get(shapes)
            if interpreter is None:
                seconds = self.seconds_per_row * shapes[0][0]
                threads = _THREADS if seconds >= _WORTH_THREADS_SECONDS else 1
                interpreter = _Interpreter(self._content, self._signature, shapes, threads)
                self._interpreters[shapes] = interpreter
                if len(self._interpreters) > _INTERPRETERS:
                    self._interpreters.popitem(last=False)
            else:
                self._interpreters.move_to_end(shapes)
        return interpreter

    def _timed(self) -> float:
        inputs = next(sample_inputs(self._signature))
        self.run(inputs)
        seconds = float("inf")
        for _ in range(_TIMED_RUNS):
            started = time.perf_counter()
            self.run(inputs)
            # The quickest run is the one that nothing else on the machine got in the way of.
            seconds = min(seconds, time.perf_counter() - started)
        # The interpreter was made before it was known whether it deserves several threads.
        self._interpreters.clear()
        return seconds


class _Interpreter:
    """One LiteRT interpreter for inputs of certain shapes."""

    def __init__(self, content: bytes, signature: Signature, shapes: Shapes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        # A runner forbids resizing the tensors of its interpreter, so it looks them up in another.
        runner = Interpreter(model_content=content).get_signature_runner(signature.name)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._inputs = []
        for (name, spec), shape in zip(signature.inputs.items(), shapes, strict=True):
            if np.dtype(inputs[name]["dtype"]) != spec.numpy_dtype:
                raise ValueError(f"the conversion changed the type of {name}")
            self._interpreter.resize_tensor_input(inputs[name]["index"], list(shape))
            self._inputs.append((name, inputs[name]["index"]))
        self._outputs = [(name, outputs[name]["index"]) for name in signature.outputs]
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            for name, index in self._inputs:
                self._interpreter.set_tensor(index, inputs[name])
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}


def why_not(signature: Signature) -> str | None:
    """Why a signature is not for LiteRT, or None if it may be."""
    tensors = {**signature.inputs, **signature.outputs}
    for name, spec in tensors.items():
        if spec.dtype == "string":
            return f"{name} is of type string"
    for name, spec in signature.inputs.items():
        if not spec.shape or None in spec.shape[1:]:
            return f"{name} has no fixed shape beside its batch size"
    return None


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Whether an input has the signature's shape, and at least one row."""
    expected = spec.shape or ()
    return (
        len(shape) == len(expected)
        and all(wanted is None or wanted == size for wanted, size in zip(expected, shape, strict=True))
        and 0 not in shape
    )
