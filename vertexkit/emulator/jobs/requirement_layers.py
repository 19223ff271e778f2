"""What the requirements of a job's packages need beside the emulator's own: one cached layer for each set."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from vertexkit.emulator.jobs.frameworks import FRAMEWORK_PACKAGES, in_place_of
from vertexkit.emulator.jobs.interpreters import Base, Interpreter, make_interpreter
from vertexkit.emulator.jobs.pip_process import InstallCancelled, InstallFailed, run_pip
from vertexkit.training_images import TrainingImage

__all__ = ["Layer", "has_old_protobuf_code", "missing_requirements", "requirement_layer"]

_UNUSED_SECONDS: Final = 30 * 24 * 3600.0
"""After so long without a job a layer is removed when another is made."""

# Written by protoc before 3.20; from protobuf 4 on only the runtime in Python takes it.
_OLD_GENERATED_CODE: Final = re.compile(rb"\b_descriptor\.(?:FieldDescriptor|FileDescriptor|Descriptor)\(")


@dataclass(frozen=True)
class Layer:
    """Installed packages, for every job with the same requirements."""

    interpreter: Interpreter
    old_protobuf_code: bool
    """Whether generated code in it is older than the protobuf that runs it."""
    replaced: tuple[str, ...]
    """Packages that it has in another version than the emulator: ``numpy 1.26.4 (not 2.4.6)``."""


def missing_requirements(
    requires: Iterable[str], image: TrainingImage, base: Base, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Requirements that the emulator's packages do not meet, sorted.

    Those of the image's own framework never count: what is installed runs, and ``say`` is told if it is
    another version than was asked for.

    Raises:
        InstallFailed: A requirement cannot be parsed.
    """
    missing = set()
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            why = str(error).partition("\n")[0]
            raise InstallFailed(f"The requirement {line!r} could not be understood: {why}.") from error
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        if name in FRAMEWORK_PACKAGES:
            running, version = in_place_of(name, image)
            if not requirement.specifier.contains(version, prereleases=True):
                say(f"The requirements ask for {line}; here the program runs with {running} {version}.")
        elif not _is_met(requirement, base):
            requirement.marker = None
            missing.add(str(requirement))
    return tuple(sorted(missing))


def requirement_layer(
    needed: Sequence[str],
    base: Base,
    cache: Path,
    say: Callable[[str], None],
    cancelled: threading.Event,
    *,
    settings: Mapping[str, str],
) -> Layer:
    """The layer with some requirements, installed unless it has been before by pip with the same settings.

    Jobs with the same requirements wait for one another; whatever ends the installing, nothing half
    installed is used.

    Raises:
        InstallCancelled: ``cancelled`` was set.
        InstallFailed: A package could not be installed.
    """
    layers = cache / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(repr((base.key, tuple(needed), sorted(settings.items()))).encode()).hexdigest()[:24]
    folder = layers / key
    about = folder / "layer.json"
    with _locked(layers / f"{key}.lock", cancelled):
        if not about.is_file():
            # What an emulator that was killed had begun.
            shutil.rmtree(folder, ignore_errors=True)
            _sweep(layers, keep=folder)
            try:
                _install(folder, needed, base, say, cancelled, settings=settings)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        os.utime(about)
        known = json.loads(about.read_text())
    return Layer(Interpreter(folder), known["old_protobuf_code"], tuple(known["replaced"]))


def has_old_protobuf_code(files: Iterable[Path], base: Base) -> bool:
    """Whether generated code among some files is too old for the compiled protobuf runtime."""
    version = base.version("protobuf")
    if version is None or int(version.partition(".")[0]) < 4:
        return False
    return any(
        _OLD_GENERATED_CODE.search(file.read_bytes()) for file in files if file.name.endswith("_pb2.py")
    )


def _install(
    folder: Path,
    needed: Sequence[str],
    base: Base,
    say: Callable[[str], None],
    cancelled: threading.Event,
    *,
    settings: Mapping[str, str],
) -> None:
    started = time.monotonic()
    say(f"Installing {', '.join(needed)}.")
    interpreter = make_interpreter(folder, base.folders)
    constraints = folder / "constraints.txt"
    pins = ((name, base.version(name)) for name in sorted(FRAMEWORK_PACKAGES))
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins if version))
    arguments = ["install", "--no-user", "--no-warn-script-location", "--progress-bar=off", "--retries=2"]
    arguments += [f"--constraint={constraints}", *needed]
    run_pip(interpreter, arguments, ", ".join(needed), cancelled, settings=settings)
    installed = list(importlib.metadata.distributions(path=[str(interpreter.site)]))
    replaced = [
        f"{found.name} {found.version} (not {other})"
        for found in installed
        if (other := base.version(found.name)) is not None and other != found.version
    ]
    own_protobuf = any(canonicalize_name(found.name) == "protobuf" for found in installed)
    old = not own_protobuf and has_old_protobuf_code(interpreter.site.rglob("*_pb2.py"), base)
    new = folder / "layer.new"
    new.write_text(json.dumps({"needed": needed, "old_protobuf_code": old, "replaced": sorted(replaced)}))
    new.rename(folder / "layer.json")
    say(f"Installed in {time.monotonic() - started:.1f} s; jobs with the same requirements start at once.")


def _is_met(requirement: Requirement, base: Base) -> bool:
    if requirement.url is not None:
        return False
    found = base.distribution(requirement.name)
    if found is None or not requirement.specifier.contains(found.version, prereleases=True):
        return False
    return all(_extra_is_met(found, extra, base) for extra in requirement.extras)


def _extra_is_met(found: importlib.metadata.Distribution, extra: str, base: Base) -> bool:
    for line in found.requires or ():
        needed = Requirement(line)
        if (
            needed.marker is not None
            and needed.marker.evaluate({"extra": extra})
            and not needed.marker.evaluate({"extra": ""})
            and not _is_met(needed, base)
        ):
            return False
    return True


@contextlib.contextmanager
def _locked(file: Path, cancelled: threading.Event) -> Iterator[None]:
    with file.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled.wait(0.05):
                    raise InstallCancelled(
                        "The job was cancelled while its packages were installed."
                    ) from None
        yield


def _sweep(layers: Path, *, keep: Path) -> None:
    """Remove layers that no job has used for long."""
    for folder in layers.iterdir():
        about = folder / "layer.json"
        with contextlib.suppress(OSError):
            if folder != keep and time.time() - about.stat().st_mtime > _UNUSED_SECONDS:
                about.unlink()
                shutil.rmtree(folder, ignore_errors=True)
