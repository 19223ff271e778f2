"""What runs in a replica: a pool's program as a command of this machine."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.docker import check_docker, docker_command, docker_kill_command
from vertexkit.emulator.jobs.frameworks import check_framework, what_runs
from vertexkit.emulator.jobs.plan import Given, Replica, container_env, replica_env
from vertexkit.emulator.jobs.types import ContainerProgram, PackageProgram, WorkerPool
from vertexkit.training_images import TrainingImage, parse_training_image

_GCS = re.compile(r"(?<![\w.\-/])/gcs(?![\w.\-])")


class PreparedEnvironment(Protocol):
    """What stands for an image."""

    @property
    def bin(self) -> Path:
        """The folder of ``python3``, ``pip`` and the like."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables that the image sets."""


class PreparesEnvironments(Protocol):
    """Makes environments that stand for prebuilt images (``environments.py``)."""

    def prepare(
        self,
        image: TrainingImage,
        packages: Sequence[Path],
        *,
        home: Path,
        pip_settings: Mapping[str, str],
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> PreparedEnvironment:
        """An environment with the packages installed."""


@dataclass(frozen=True)
class Runnable:
    """What a keeper is to run."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    """All of the environment."""
    at_the_end: tuple[str, ...] = ()
    """A command that ends what killing processes does not."""


def check_program(pool: WorkerPool, *, has_gcs: Callable[[], bool]) -> None:
    """Refuse what cannot run on this machine.

    Args:
        pool: Its program is looked at.
        has_gcs: Whether programs here have /gcs; asked only for a command that names it.

    Raises:
        ApiError: UNIMPLEMENTED or INVALID_ARGUMENT, with what would do.
    """
    program = pool.program
    image = parse_training_image(program.image_uri)
    if image is None:
        if isinstance(program, PackageProgram):
            raise ApiError(
                Code.UNIMPLEMENTED,
                f"python_package_spec.executor_image_uri is {program.image_uri}, and the local Vertex AI "
                "runs packages only in Vertex AI's prebuilt training containers, as "
                "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest is: use one of them, or a "
                "container_spec.",
            )
        check_docker(program.image_uri)
        return
    check_framework(image)
    if isinstance(program, ContainerProgram):
        if not program.command:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                f"container_spec.command is empty, and the prebuilt container {program.image_uri} runs "
                "nothing by itself: give the command to run in it.",
            )
        # A variable may be part of the command by its name.
        words = (*program.command, *pool.args, *pool.env.values())
        named = next((word for word in words if _GCS.search(word)), None)
        if named is not None and not has_gcs():
            raise ApiError(
                Code.UNIMPLEMENTED,
                f"The command names /gcs ({named}), which the local Vertex AI cannot show on this machine: "
                "it takes `unshare` (util-linux) or `bwrap` (bubblewrap), and leave to use namespaces. "
                "Use gs:// instead.",
            )


def prepared(
    replica: Replica,
    environments: PreparesEnvironments,
    packages: Sequence[Path],
    given: Given,
    *,
    say: Callable[[str], None],
    cancelled: threading.Event,
) -> Runnable:
    """Make ready what a replica runs.

    Args:
        replica: The replica; :func:`check_program` has found nothing against its program.
        environments: Make the environments of prebuilt images.
        packages: The packages of its program, on this machine.
        given: What it is given.
        say: Takes lines for the job's log.
        cancelled: Gives it up when it is set.

    Raises:
        InstallFailed: A package cannot be installed.
        InstallCancelled: ``cancelled`` was set.
    """
    program, args = replica.pool.program, replica.pool.args
    image = parse_training_image(program.image_uri)
    if image is None:
        assert isinstance(program, ContainerProgram)
        return _in_docker(program, args, container_env(replica, given), given)
    say(what_runs(image))
    environment = environments.prepare(
        image,
        packages,
        home=given.folders.home,
        # In a container, pip installs the packages with what the user sets.
        pip_settings={n: value for n, value in replica.pool.env.items() if n.startswith("PIP_")},
        say=say,
        cancelled=cancelled,
    )
    if isinstance(program, PackageProgram):
        command: tuple[str, ...] = (str(environment.bin / "python3"), "-m", program.module)
    else:
        command = program.command
    env = replica_env(replica, given, image_env=environment.env, image_path=str(environment.bin))
    return Runnable((*command, *args), env)


def _in_docker(
    program: ContainerProgram, args: Sequence[str], env: Mapping[str, str], given: Given
) -> Runnable:
    # The name is new each time: that of a container which was killed is free again only after a while.
    name = f"vertexkit-{secrets.token_hex(8)}"
    command = docker_command(
        program.image_uri,
        name=name,
        command=program.command,
        args=args,
        env=env,
        gcs=given.buckets,
        metrics=given.metrics,
        files=[Path(value) for value in given.google_env.values() if Path(value).is_file()],
        gpus=given.gpus or (),
    )
    # Docker's own command goes by the environment too, and finds its settings in the home folder.
    own = {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "XDG_"))}
    for variable in ("PATH", "HOME"):
        own[variable] = os.environ.get(variable, "")
    return Runnable(tuple(command), {**env, **own}, tuple(docker_kill_command(name)))
