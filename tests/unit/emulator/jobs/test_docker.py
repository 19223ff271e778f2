"""Replicas in containers of somebody's own: what is asked of Docker."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.docker import (
    check_docker,
    docker_available,
    docker_command,
    docker_kill_command,
)

IMAGE = "europe-west4-docker.pkg.dev/my-project/images/trainer:1.0"


def put_docker_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A ``docker`` that runs a shell script and notes its arguments, a line for each call."""
    calls = folder / "calls"
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >> "{calls}"\n{script}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return calls


def test_a_container_gets_its_command_its_variables_and_gcs() -> None:
    line = docker_command(
        IMAGE,
        name="job-1-workerpool0-0",
        command=["python3", "-m", "trainer"],
        args=["--epochs=1"],
        env={"AIP_MODEL_DIR": "gs://bucket/model/", "SECRET": "s3cret"},
        gcs=Path("/data/gcs"),
    )

    assert line[:2] == ["docker", "run"]
    assert {"--rm", "--init", "--network=host", "--name=job-1-workerpool0-0"} <= set(line)
    assert "--mount=type=bind,source=/data/gcs,target=/gcs" in line
    assert {"--env=AIP_MODEL_DIR", "--env=SECRET"} <= set(line)
    assert line[line.index(IMAGE) - 1 :] == ["--entrypoint=python3", IMAGE, "-m", "trainer", "--epochs=1"]
    assert not any("s3cret" in word for word in line)


def test_an_image_keeps_its_own_entry_point_when_no_command_is_given() -> None:
    line = docker_command(IMAGE, name="n", command=[], args=["--epochs=1"], env={}, gcs=Path("/data"))

    assert line[-2:] == [IMAGE, "--epochs=1"]
    assert not any(word.startswith("--entrypoint") for word in line)


def test_what_the_docker_command_goes_by_is_not_taken_from_its_own_environment() -> None:
    line = docker_command(
        IMAGE, name="n", command=[], args=[], env={"PATH": "/opt/bin", "DOCKER_HOST": "x"}, gcs=Path("/data")
    )

    assert "--env=PATH=/opt/bin" in line
    assert "--env=DOCKER_HOST=x" in line


def test_files_are_mounted_where_the_variables_say_whatever_their_names() -> None:
    bundle = Path('/tmp/a, "b"/bundle.pem')
    line = docker_command(
        IMAGE, name="n", command=[], args=[], env={}, gcs=Path("/data"), files=[bundle, bundle]
    )

    mounts = [next(csv.reader([word.removeprefix("--mount=")])) for word in line if "--mount=" in word]
    assert mounts[1:] == [["type=bind", f"source={bundle}", f"target={bundle}", "readonly"]]


def test_the_metrics_of_a_trial_go_to_the_same_folder_and_to_the_default_one() -> None:
    line = docker_command(
        IMAGE, name="n", command=[], args=[], env={}, gcs=Path("/data"), metrics=Path("/jobs/1/m")
    )

    assert "--mount=type=bind,source=/jobs/1/m,target=/jobs/1/m" in line
    assert "--mount=type=bind,source=/jobs/1/m,target=/tmp/hypertune" in line


def test_gpus_are_one_field_of_the_option() -> None:
    line = docker_command(IMAGE, name="n", command=[], args=[], env={}, gcs=Path("/data"), gpus=["0", "2"])

    assert '--gpus="device=0,2"' in line


def test_a_container_is_killed_by_its_name() -> None:
    assert docker_kill_command("job-1") == ["docker", "kill", "job-1"]


def test_an_engine_that_answers_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = put_docker_on_path(tmp_path, monkeypatch, "echo 28.0")

    assert docker_available()
    check_docker(IMAGE)
    assert calls.read_text().startswith("version ")


@pytest.mark.parametrize("installed", [True, False])
def test_without_an_engine_the_image_is_refused_by_name(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        put_docker_on_path(tmp_path, monkeypatch, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))

    assert not docker_available()
    with pytest.raises(ApiError, match=IMAGE) as refused:
        check_docker(IMAGE)
    assert refused.value.code is Code.UNIMPLEMENTED
