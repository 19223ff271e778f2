"""Jobs in containers of somebody's own. No engine runs where the tests do: ``docker`` is a script here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs_engine import Watched, job, jobs_engine, lines, run
from waiting import until

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.engine import JobsEngine
from vertexkit.emulator.jobs.types import ContainerProgram, EndKind, WorkerPool

IMAGE = "europe-west4-docker.pkg.dev/my-project/images/trainer:1.0"

# `docker run` prints what the container would see, and ends when its container is killed.
DOCKER = """\
#!/bin/sh
echo "$*" >> {folder}/calls
case "$1" in
version) echo 28.0 ;;
kill) touch {folder}/killed ;;
run)
    echo "model $AIP_MODEL_DIR mine $MINE"
    [ "$MINE" = fail ] && exit 7
    while [ "$MINE" = hang ] && [ ! -e {folder}/killed ]; do sleep 0.05; done
    exit 0 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which ``docker`` notes its calls."""
    folder = tmp_path / "docker"
    folder.mkdir()
    script = folder / "docker"
    script.write_text(DOCKER.format(folder=folder))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[JobsEngine]:
    with jobs_engine(tmp_path) as one:
        yield one


def container(mine: str, command: tuple[str, ...] = ("python3", "-m", "trainer")) -> WorkerPool:
    return WorkerPool(ContainerProgram(IMAGE, command), ("--epochs=1",), env={"MINE": mine})


def calls(docker: Path, name: str) -> list[str]:
    return [line for line in (docker / "calls").read_text().splitlines() if line.startswith(name)]


def test_a_container_gets_the_environment_of_the_contract(docker: Path, engine: JobsEngine) -> None:
    end = run(engine, job(container("yes"), base_output_uri="gs://bucket/out"))

    assert end.kind is EndKind.SUCCEEDED
    assert lines(engine) == ["model gs://bucket/out/model/ mine yes"]
    (line,) = calls(docker, "run")
    assert line.endswith(f"--entrypoint=python3 {IMAGE} -m trainer --epochs=1")
    assert "target=/gcs" in line
    # Values are in the environment of the command, not in the command.
    assert "--env=AIP_MODEL_DIR " in line


def test_a_container_that_fails_fails_the_job(docker: Path, engine: JobsEngine) -> None:
    end = run(engine, job(container("fail")))

    assert (end.kind, end.replica, end.exit_code) == (EndKind.FAILED, "workerpool0-0", 7)


def test_cancelling_kills_the_container_by_its_name(docker: Path, engine: JobsEngine) -> None:
    watched = Watched()
    engine.start(job(container("hang")), watched)
    until(lambda: lines(engine))

    engine.cancel("1")

    assert watched.until_ended().kind is EndKind.CANCELLED
    (started,), killed = calls(docker, "run"), calls(docker, "kill")
    name = killed[0].split()[1]
    assert f"--name={name} " in started


def test_without_a_docker_engine_the_image_is_refused_by_name(
    engine: JobsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ApiError, match=f"{IMAGE}.*Docker") as refused:
        engine.check(job(container("yes")))

    assert refused.value.code is Code.UNIMPLEMENTED
