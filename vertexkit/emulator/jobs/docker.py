"""Replicas in containers of somebody's own, by the Docker engine of this machine if there is one.

Source: https://docs.docker.com/reference/cli/docker/container/run/.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.plan import HYPERTUNE

__all__ = ["check_docker", "docker_available", "docker_command", "docker_kill_command"]

_SECONDS: Final = 10.0

# What the docker command itself goes by: a container's own are given by value, not by name.
_OF_THE_COMMAND: Final = frozenset({"PATH", "HOME", "TMPDIR"})


def docker_available() -> bool:
    """Whether there is a Docker engine that answers."""
    return _docker("version", "--format", "{{.Server.Version}}") is not None


def check_docker(image_uri: str) -> None:
    """Refuse a container of somebody's own where no Docker engine answers.

    Raises:
        ApiError: UNIMPLEMENTED, with what would do.
    """
    if not docker_available():
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The container {image_uri} is not a prebuilt one, and to run it the local Vertex AI needs a "
            "Docker engine, which does not answer here: start one, or use a prebuilt training container.",
        )


def docker_command(
    image_uri: str,
    *,
    name: str,
    command: Sequence[str],
    args: Sequence[str],
    env: Mapping[str, str],
    gcs: Path,
    metrics: Path | None = None,
    files: Sequence[Path] = (),
    gpus: Sequence[str] = (),
) -> list[str]:
    """The command that runs a replica in a container, in the foreground.

    It shares the machine's network, so that addresses on loopback mean the same inside. SIGTERM to it goes
    to the container; to end the container for sure, run :func:`docker_kill_command`.

    Args:
        image_uri: The image.
        name: Of the container: letters, digits, ``_``, ``.`` and ``-``.
        command: Replaces the image's entry point; empty for the image's own.
        args: Arguments of the entry point.
        env: The container's variables. Start the command with them in its own environment: values are not
            in the command, where every user of the machine could read them.
        gcs: Folder that is the container's ``/gcs``.
        metrics: Folder that a trial writes its metrics to, of the same path inside, and as its default is.
        files: Files that ``env`` names (certificates, credentials); they have the same path inside.
        gpus: Indices of the GPUs that it gets.
    """
    line = ["docker", "run", "--rm", "--init", "--network=host", f"--name={name}"]
    for variable, value in sorted(env.items()):
        by_value = variable in _OF_THE_COMMAND or variable.startswith(("DOCKER_", "XDG_"))
        line.append(f"--env={variable}={value}" if by_value else f"--env={variable}")
    line.append(_mount(gcs, "/gcs"))
    line += [_mount(metrics, target) for target in (str(metrics), HYPERTUNE) if metrics is not None]
    line += [_mount(file, str(file), "readonly") for file in dict.fromkeys(files)]
    if gpus:
        # Read as CSV, in which a list of devices is one quoted field.
        line.append("--gpus=" + _csv("device=" + ",".join(gpus)))
    if command:
        line.append(f"--entrypoint={command[0]}")
    return [*line, image_uri, *command[1:], *args]


def docker_kill_command(name: str) -> list[str]:
    """The command that ends a container at once."""
    return ["docker", "kill", name]


def _mount(source: Path, target: str, *options: str) -> str:
    return f"--mount={_csv('type=bind', f'source={source}', f'target={target}', *options)}"


def _csv(*fields: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _docker(*arguments: str) -> str | None:
    """What a docker command prints; None when it fails, or there is none."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    try:
        done = subprocess.run(
            [docker, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
