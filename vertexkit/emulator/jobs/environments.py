"""The Python environment of a job: what stands for its image, with the job's own packages on top."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vertexkit.emulator.jobs.interpreters import Base, Interpreter, base_packages, make_interpreter
from vertexkit.emulator.jobs.pip_process import InstallCancelled, InstallFailed, run_pip
from vertexkit.emulator.jobs.requirement_layers import (
    Layer,
    has_old_protobuf_code,
    missing_requirements,
    requirement_layer,
)
from vertexkit.emulator.jobs.wheels import Wheel, build_wheel, read_wheel, unpack
from vertexkit.training_images import TrainingImage

__all__ = ["Environment", "Environments", "InstallCancelled", "InstallFailed"]

_FOLDER: Final = ".python"


@dataclass(frozen=True)
class Environment:
    """What a job's processes are started with."""

    bin: Path
    """Holds ``python``, ``python3`` and ``pip``: the first entry of PATH."""
    env: Mapping[str, str]
    """Environment variables to add."""


class Environments:
    """Prepares environments. Safe for threads, and for several emulators with one cache.

    Args:
        cache: Folder for what jobs share; it may be removed whenever no job runs.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def prepare(
        self,
        image: TrainingImage,
        packages: Sequence[Path],
        *,
        home: Path,
        pip_settings: Mapping[str, str],
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Environment:
        """Make the environment of a job.

        The packages of the emulator's own environment, vertexkit excepted, stand for those of the image.
        Requirements that they do not meet are installed once for each set of them. The job's packages, and
        whatever the job itself installs with pip, are in ``home``.

        Args:
            image: The prebuilt image that the job runs in.
            packages: Wheels and source distributions, installed in this order.
            home: The job's own folder, its HOME; it exists.
            pip_settings: Variables of pip's that the job has (``PIP_*``).
            say: Is told, a line at a time, what is installed, and what runs in another version than required.
            cancelled: Ends an installation.

        Returns:
            What to start the job's processes with.

        Raises:
            InstallCancelled: ``cancelled`` was set.
            InstallFailed: A package could not be installed; nothing is left of the environment.
        """
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = base_packages(self._cache)
        wheels = [
            read_wheel(
                package
                if package.suffix == ".whl"
                else build_wheel(package, base, self._cache, say, cancelled, settings=pip_settings)
            )
            for package in packages
        ]
        needed = missing_requirements((line for wheel in wheels for line in wheel.requires), image, base, say)
        layer = None
        if needed:
            layer = requirement_layer(needed, base, self._cache, say, cancelled, settings=pip_settings)
        if layer is not None and layer.replaced:
            say(f"In place of the installed versions the program gets {', '.join(layer.replaced)}.")
        folder = home / _FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        try:
            interpreter = self._interpreter(folder, image, layer, base)
            _install(wheels, interpreter, cancelled, pip_settings)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        own_code = interpreter.site.rglob("*_pb2.py")
        return Environment(interpreter.bin, _variables(image, layer, has_old_protobuf_code(own_code, base)))

    def _interpreter(
        self, folder: Path, image: TrainingImage, layer: Layer | None, base: Base
    ) -> Interpreter:
        if layer is None:
            return make_interpreter(folder, base.folders, legacy_keras=image.keras_2, commands=base.bin)
        return make_interpreter(
            folder,
            (layer.interpreter.site, *base.folders),
            legacy_keras=image.keras_2,
            scripts=layer.interpreter.bin,
            commands=base.bin,
        )


def _install(
    wheels: Iterable[Wheel],
    interpreter: Interpreter,
    cancelled: threading.Event,
    pip_settings: Mapping[str, str],
) -> None:
    for wheel in wheels:
        if wheel.unpackable:
            unpack(wheel, interpreter.site)
        else:
            # Compiled code, or files that belong elsewhere: pip knows whether and how.
            arguments = ["install", "--no-user", "--no-deps", "--no-index", str(wheel.path)]
            run_pip(interpreter, arguments, wheel.path.name, cancelled, settings=pip_settings)


def _variables(image: TrainingImage, layer: Layer | None, old_protobuf_code: bool) -> dict[str, str]:
    variables = {}
    if image.keras_2:
        variables["TF_USE_LEGACY_KERAS"] = "1"
    if old_protobuf_code or (layer is not None and layer.old_protobuf_code):
        variables["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    return variables
