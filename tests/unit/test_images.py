"""The URIs of prebuilt serving containers, made and parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.errors import InvalidArgument
from vertexkit.images import (
    FRAMEWORKS,
    check_image,
    check_image_on,
    parse_serving_image,
    published_versions,
    serving_image,
)
from vertexkit.types import Machine

CPU = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
GPU = "us-docker.pkg.dev/vertex-ai/prediction/tf2-gpu.2-15:latest"


@pytest.mark.parametrize(
    ("uri", "framework", "version", "accelerator", "host", "region"),
    [
        (CPU, "tensorflow", "2.15", "cpu", "us-docker.pkg.dev", "us"),
        (GPU, "tensorflow", "2.15", "gpu", "us-docker.pkg.dev", "us"),
        (
            "gcr.io/cloud-aiplatform/prediction/tf2-gpu.2-12:latest",
            "tensorflow",
            "2.12",
            "gpu",
            "gcr.io",
            "us",
        ),
        (
            "eu.gcr.io/cloud-aiplatform/prediction/tf2-cpu.2-3:latest",
            "tensorflow",
            "2.3",
            "cpu",
            "eu.gcr.io",
            "europe",
        ),
        (
            "europe-docker.pkg.dev/vertex-ai/prediction/tf-cpu.1-15:latest",
            "tensorflow",
            "1.15",
            "cpu",
            "europe-docker.pkg.dev",
            "europe",
        ),
        (
            "asia-docker.pkg.dev/vertex-ai-restricted/prediction/tf_opt-cpu.nightly:latest",
            "tensorflow",
            "nightly",
            "cpu",
            "asia-docker.pkg.dev",
            "asia",
        ),
        (
            "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-3:latest",
            "sklearn",
            "1.3",
            "cpu",
            "us-docker.pkg.dev",
            "us",
        ),
        # A version that nobody has published yet is understood all the same.
        (
            "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-99:latest",
            "tensorflow",
            "2.99",
            "cpu",
            "us-docker.pkg.dev",
            "us",
        ),
    ],
)
def test_a_prebuilt_image_is_understood(
    uri: str, framework: str, version: str, accelerator: str, host: str, region: str
) -> None:
    parsed = parse_serving_image(uri)
    assert parsed is not None
    assert (parsed.framework, parsed.version, parsed.accelerator) == (framework, version, accelerator)
    assert (parsed.host, parsed.region, parsed.uri) == (host, region, uri)
    assert parsed.gpu == (accelerator == "gpu")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "python:3.11",
        "us-docker.pkg.dev/my-project/repo/image:latest",
        "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest",
        "us-docker.pkg.dev/vertex-ai/prediction/mxnet-cpu.1-0:latest",
        "evil.example/us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest",
        CPU + "\n",
        "gcr.io/cloud-aiplatform-but-not/prediction/tf2-cpu.2-15:latest",
        # The optimized runtime is in the restricted repository, and nothing else is.
        "us-docker.pkg.dev/vertex-ai/prediction/tf_opt-cpu.2-17:latest",
        "us-docker.pkg.dev/vertex-ai-restricted/prediction/tf2-cpu.2-15:latest",
    ],
)
def test_any_other_image_is_not_taken_for_a_prebuilt_one(uri: str) -> None:
    assert parse_serving_image(uri) is None


def test_every_image_that_google_s_client_knows_is_understood_and_made_again() -> None:
    from google.cloud.aiplatform.constants.prediction import SERVING_CONTAINER_URIS

    assert len(SERVING_CONTAINER_URIS) > 100
    seen: dict[str, set[str]] = {framework: set() for framework in FRAMEWORKS}
    for uri in SERVING_CONTAINER_URIS:
        parsed = parse_serving_image(uri)
        assert parsed is not None, uri
        seen[parsed.framework].add(parsed.version)
        location = {"us": "us-east1", "europe": "europe-west4", "asia": "asia-south1"}[parsed.region]
        assert serving_image(parsed.framework, parsed.version, gpu=parsed.gpu, location=location) == uri
    assert {name: set(published_versions(name)) for name in FRAMEWORKS} == seen


def test_the_newest_published_version_is_taken_when_none_is_given() -> None:
    assert serving_image("tensorflow") == CPU
    assert serving_image("tensorflow", gpu=True) == GPU
    assert published_versions("tensorflow")[-1] == "2.15"


def test_a_patch_version_is_served_by_its_minor_version() -> None:
    assert serving_image("tensorflow", "2.12.1") == CPU.replace("2-15", "2-12")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us"),
        ("southamerica-east1", "us"),
        ("europe-west4", "europe"),
        ("me-west1", "europe"),
        ("australia-southeast1", "asia"),
    ],
)
def test_the_repository_is_the_nearest(location: str, host: str) -> None:
    assert serving_image("tensorflow", location=location).startswith(f"{host}-docker.pkg.dev/")


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"framework": "mxnet"}, "framework"),
        ({"framework": "tensorflow", "version": "2.21"}, "version"),
        ({"framework": "sklearn", "gpu": True}, "gpu"),
    ],
)
def test_an_image_that_does_not_exist_is_refused_by_argument(
    arguments: dict[str, object], argument: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        serving_image(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.argument == argument


@given(
    st.sampled_from(FRAMEWORKS).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(published_versions(name)))
    ),
    st.sampled_from(["us-central1", "europe-west1", "asia-east1", "africa-south1"]),
)
def test_what_is_made_is_understood_as_what_was_asked_for(asked: tuple[str, str], location: str) -> None:
    parsed = parse_serving_image(serving_image(*asked, location=location))
    assert parsed is not None
    assert (parsed.framework, parsed.version) == asked


@pytest.mark.parametrize("uri", [CPU, GPU, "us-central1-docker.pkg.dev/p/r/i:1", "gcr.io/p/i"])
def test_an_image_that_vertex_ai_can_pull_is_taken(uri: str) -> None:
    assert check_image(uri) == []


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("python:3.11", "Artifact Registry"),
        (CPU.replace("latest", "v1"), "latest"),
        (CPU.removesuffix(":latest"), "latest"),
        ("us-docker.pkg.dev/vertex-ai/prediction/tf3-cpu.3-0:latest", "is not a prebuilt serving container"),
    ],
)
def test_an_image_that_vertex_ai_would_not_serve_is_refused(uri: str, words: str) -> None:
    (found,) = check_image(uri)
    assert words in found.problem
    assert not found.warning


def test_an_image_of_a_version_nobody_knows_is_a_warning() -> None:
    (found,) = check_image(CPU.replace("2-15", "2-99"))
    assert found.warning


@pytest.mark.parametrize(
    ("uri", "machine", "severity"),
    [
        (CPU, Machine("n1-standard-2"), None),
        (GPU, Machine("n1-standard-4", "NVIDIA_TESLA_T4"), None),
        (GPU, Machine("g2-standard-4"), None),
        (CPU, Machine("n1-standard-4", "NVIDIA_TESLA_T4"), "warning"),
        (CPU, Machine("g2-standard-4"), "warning"),
        (GPU, Machine("n1-standard-4"), "warning"),
        (serving_image("sklearn"), Machine("n1-standard-4", "NVIDIA_TESLA_T4"), "error"),
        (CPU, Machine("ct5lp-hightpu-1t"), "error"),
        ("us-docker.pkg.dev/vertex-ai/prediction/pytorch-tpu.2-1:latest", Machine("ct5lp-hightpu-1t"), None),
        ("us-docker.pkg.dev/vertex-ai/prediction/pytorch-tpu.2-1:latest", Machine("n1-standard-2"), "error"),
        ("us-docker.pkg.dev/my/own/image:1", Machine("n1-standard-4", "NVIDIA_TESLA_T4"), None),
    ],
)
def test_image_and_machine_are_checked_against_each_other(
    uri: str, machine: Machine, severity: str | None
) -> None:
    found = ["warning" if one.warning else "error" for one in check_image_on(uri, machine)]
    assert found == ([] if severity is None else [severity])
