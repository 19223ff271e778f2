"""Programs that cannot run on this machine, refused before anything of their job is made."""

from __future__ import annotations

import pytest

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.programs import check_program
from vertexkit.emulator.jobs.types import ContainerProgram, WorkerPool

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"


@pytest.mark.parametrize(
    "pool",
    [
        WorkerPool(ContainerProgram(IMAGE, ("cat", "/gcs/bucket/in"))),
        WorkerPool(ContainerProgram(IMAGE, ("cat",)), ("--in=/gcs/bucket/in",)),
        WorkerPool(ContainerProgram(IMAGE, ("cat", "$(IN)")), env={"IN": "/gcs/bucket/in"}),
    ],
)
def test_a_command_that_names_the_mount_needs_one(pool: WorkerPool) -> None:
    with pytest.raises(ApiError, match="/gcs/bucket/in") as refused:
        check_program(pool, has_gcs=lambda: False)
    assert refused.value.code is Code.UNIMPLEMENTED
    check_program(pool, has_gcs=lambda: True)


def test_a_command_that_does_not_name_it_needs_none() -> None:
    check_program(WorkerPool(ContainerProgram(IMAGE, ("ls", "/")), env={"A": "1"}), has_gcs=lambda: False)
