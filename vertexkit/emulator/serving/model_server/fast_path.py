"""How a model gets its fast path: converted and checked in a process of its own, while TensorFlow serves.

The converter, and a converted model on unusual inputs, can take their process down with them; the
replica must not be it. What was found out is kept in a folder that all replicas share, by what the
artifact holds: whoever serves the same one later, or again, need not find it out again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from vertexkit.emulator.serving.model_server import agreement, litert_backend
from vertexkit.emulator.serving.model_server.errors import LoadError
from vertexkit.emulator.serving.model_server.litert_backend import LiteRTBackend
from vertexkit.emulator.serving.model_server.purity import find_impure_operation
from vertexkit.emulator.serving.model_server.signature import Signature
from vertexkit.emulator.serving.model_server.tf_backend import TensorFlowBackend

_logger = logging.getLogger("model_server")

_SWITCH = "VERTEXKIT_SERVING_BACKEND"
_LARGEST_BYTES = 200 * 1024 * 1024
_SECONDS = 120.0
# Requests that are being answered come first.
_NICENESS = 5
_MODEL, _VERDICT, _LOCK = "model.tflite", "fast_path.json", "fast_path.lock"


class FastPathSearch:
    """The search for a model's fast path, under way.

    Args:
        folder: The SavedModel.
        scratch: The folder that all replicas share.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._deadline = time.monotonic() + _SECONDS
        self._process: BaseProcess | None = None
        self._reason = _why_not_even_try(folder)
        if self._reason is not None:
            return
        self._scratch = scratch / _digest(folder)
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        if not (self._scratch / _VERDICT).exists():
            # A fork of this process, which has imported TensorFlow and not yet used it, costs nothing;
            # elsewhere than on Linux, forking a process with threads is not safe.
            context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            process: BaseProcess = context.Process(target=_search, args=(folder, self._scratch), daemon=True)
            process.start()
            self._process = process

    @property
    def settled(self) -> bool:
        """Whether the result is there without waiting."""
        return self._process is None

    def result(self, signature: Signature) -> tuple[LiteRTBackend | None, str]:
        """Wait for the end of the search.

        Args:
            signature: The model's default one, which the fast path is for.

        Returns:
            The fast path or None, and the reason why.
        """
        reason = self._reason or self._wait()
        if reason is not None:
            return None, reason
        verdict = json.loads((self._scratch / _VERDICT).read_text())
        if verdict["problem"] is not None:
            return None, verdict["problem"]
        try:
            return LiteRTBackend((self._scratch / _MODEL).read_bytes(), signature), verdict["finding"]
        except (OSError, RuntimeError, ValueError) as error:
            return None, f"LiteRT does not load it: {error}"

    def _wait(self) -> str | None:
        process = self._process
        if process is None:
            return None
        process.join(max(0.0, self._deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
            return f"converting and checking took longer than {_SECONDS:.0f} s"
        if not (self._scratch / _VERDICT).exists():
            return f"converting or checking ended with status {process.exitcode}"
        return None


def _why_not_even_try(folder: Path) -> str | None:
    if os.environ.get(_SWITCH) == TensorFlowBackend.name:
        return f"{_SWITCH} asks for it"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > _LARGEST_BYTES:
        return f"the model is larger than {_LARGEST_BYTES >> 20} MiB"
    return None


def _digest(folder: Path) -> str:
    """A name for what a folder holds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(b"%b\0%b\n" % (os.fsencode(path.relative_to(folder)), content.encode()))
    return digest.hexdigest()[:32]


def _search(folder: Path, scratch: Path) -> None:
    """Convert, check, and write down what came of it. In a process of its own."""
    os.nice(_NICENESS)
    with (scratch / _LOCK).open("w") as lock:
        # Replicas start together; one of them does the work, and the others wait for what it finds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (scratch / _VERDICT).exists():
            return
        started = time.monotonic()
        problem = _problem(folder, scratch)
        finding = f"checked equal to TensorFlow in {time.monotonic() - started:.1f} s"
        verdict = json.dumps({"problem": problem, "finding": finding})
        fresh = scratch / f"{_VERDICT}.new"
        fresh.write_text(verdict)
        fresh.replace(scratch / _VERDICT)


def _problem(folder: Path, scratch: Path) -> str | None:
    """Leave the converted model in ``scratch``, or say why there is none."""
    try:
        tensorflow = TensorFlowBackend(folder)
    except LoadError:
        # The replica finds the same, and has the last word in the log.
        return "it does not load"
    default = tensorflow.signatures[tensorflow.default_signature]
    return _convert_and_check(folder, scratch, tensorflow, default)


def _convert_and_check(
    folder: Path, scratch: Path, tensorflow: TensorFlowBackend, signature: Signature
) -> str | None:
    """Leave one converted signature in ``scratch``, or say why there is none."""
    try:
        from tensorflow.lite.python.lite import TFLiteConverterV2
    except (AttributeError, ImportError) as error:
        return f"the converter of this TensorFlow does not load alone: {error}"
    problem = litert_backend.why_not(signature)
    operation = find_impure_operation(tensorflow.graph_def, tensorflow.output_nodes(signature))
    if operation is not None:
        problem = f"{operation} makes its answers depend on more than its inputs"
    if problem is not None:
        return problem
    try:
        converter = TFLiteConverterV2.from_saved_model(str(folder), signature_keys=[signature.name])
        content = converter.convert()
        litert = LiteRTBackend(content, signature)
    except Exception as error:
        # The converter raises whatever its passes do; all of it means that there is no fast path.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"it does not convert: {lines[0]}"
    difference = agreement.find_disagreement(signature, lambda x: tensorflow.run(signature, x), litert.run)
    if difference is not None:
        return f"LiteRT is not equal: {difference}"
    (scratch / _MODEL).write_bytes(content)
    return None
