"""The URIs of prebuilt training containers, made and parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.errors import InvalidArgument
from vertexkit.image_packages import provided
from vertexkit.training_images import (
    TRAINING_FRAMEWORKS,
    check_training_image,
    check_training_image_on,
    parse_training_image,
    published_training_versions,
    training_image,
)

NEWEST = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"


@pytest.mark.parametrize(
    ("uri", "framework", "version", "gpu", "python"),
    [
        (NEWEST, "tensorflow", "2.17", False, "3.10"),
        (
            "europe-docker.pkg.dev/vertex-ai/training/tf-gpu.2-12.py310:latest",
            "tensorflow",
            "2.12",
            True,
            "3.10",
        ),
        ("asia-docker.pkg.dev/vertex-ai/training/tf-gpu.2-11:latest", "tensorflow", "2.11", True, "3.7"),
        ("gcr.io/cloud-aiplatform/training/tf-cpu.2-2:latest", "tensorflow", "2.2", False, "3.7"),
        ("eu.gcr.io/cloud-aiplatform/training/tf-cpu.1-15", "tensorflow", "1.15", False, "3.7"),
        (
            "us-docker.pkg.dev/vertex-ai/training/pytorch-xla.2-4.py310:latest",
            "pytorch",
            "2.4",
            False,
            "3.10",
        ),
        (
            "us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.0-23:latest",
            "sklearn",
            "0.23",
            False,
            "3.7",
        ),
        ("us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest", "sklearn", "1.6", False, "3.10"),
        ("us-docker.pkg.dev/vertex-ai/training/xgboost-cpu.2-1:latest", "xgboost", "2.1", False, "3.10"),
        # A version that nobody has published yet is understood all the same.
        (
            "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-99.py314:latest",
            "tensorflow",
            "2.99",
            False,
            "3.14",
        ),
    ],
)
def test_a_prebuilt_image_is_understood(
    uri: str, framework: str, version: str, gpu: bool, python: str
) -> None:
    image = parse_training_image(uri)

    assert image is not None
    assert (image.uri, image.framework, image.version, image.gpu, image.python) == (
        uri,
        framework,
        version,
        gpu,
        python,
    )


@pytest.mark.parametrize(
    "uri",
    [
        "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest",
        "us-docker.pkg.dev/my-project/training/tf-cpu.2-17.py310:latest",
        "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest\n",
        "https://us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest",
        "tensorflow/tensorflow:2.12.0",
        "",
    ],
)
def test_an_image_of_another_kind_is_not_a_prebuilt_training_image(uri: str) -> None:
    assert parse_training_image(uri) is None


def test_images_up_to_2_15_have_keras_2() -> None:
    keras_2 = {
        version: image.keras_2
        for version in published_training_versions("tensorflow")
        if (image := parse_training_image(training_image(version=version))) is not None
    }

    assert [version for version, old in keras_2.items() if not old] == ["2.16", "2.17"]
    image = parse_training_image("us-docker.pkg.dev/vertex-ai/training/xgboost-cpu.1-6:latest")
    assert image is not None and not image.keras_2


@given(st.sampled_from(TRAINING_FRAMEWORKS), st.booleans(), st.data())
def test_what_is_made_is_understood_and_found_right(framework: str, gpu: bool, data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(published_training_versions(framework)))
    try:
        uri = training_image(framework, version, gpu=gpu, location="asia-east1")
    except InvalidArgument as refused:
        assert gpu and refused.argument == "gpu"
        return
    image = parse_training_image(uri)

    assert image is not None
    assert (image.framework, image.version) == (framework, version)
    assert uri.startswith("asia-docker.pkg.dev/")
    assert check_training_image(uri) == []
    assert check_training_image_on(uri, gpu=gpu) == []


def test_the_newest_image_nearest_the_region_is_taken() -> None:
    assert training_image() == NEWEST
    assert training_image(location="europe-west4", gpu=True) == (
        "europe-docker.pkg.dev/vertex-ai/training/tf-gpu.2-17.py310:latest"
    )
    assert training_image(version="2.12.1", location="me-west1").startswith(
        "europe-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310"
    )


def test_an_unknown_framework_or_version_names_those_that_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"(?s)framework='mxnet'.*tensorflow, pytorch"):
        training_image("mxnet")
    with pytest.raises(InvalidArgument, match=r"(?s)version='2\.10'.*2\.9, 2\.11"):
        training_image(version="2.10")


@pytest.mark.parametrize(
    ("uri", "problem", "warning"),
    [
        (7, "is not the URI", False),
        ("us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest", "for serving", False),
        ("us-docker.pkg.dev/vertex-ai/training/tf2-cpu.2-15:latest", "not a prebuilt training", False),
        ("us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:v1", "not 'latest'", False),
        ("us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-10.py310:latest", "not a known", True),
        ("my image", "is not the URI", False),
        ("--privileged", "is not the URI", False),
        ("", "is not the URI", False),
    ],
)
def test_an_image_that_will_not_do_is_found(uri: object, problem: str, warning: bool) -> None:
    (found,) = check_training_image(uri, "image")

    assert problem in found.problem
    assert found.warning is warning


@pytest.mark.parametrize(
    "uri",
    [
        "europe-west4-docker.pkg.dev/my-project/images/trainer:1.0",
        "gcr.io/my-project/trainer@sha256:" + "0" * 64,
        "tensorflow/tensorflow:2.12.0",
        "localhost:5000/trainer",
        "ubuntu",
    ],
)
def test_an_image_of_ones_own_is_accepted(uri: str) -> None:
    assert check_training_image(uri) == []


def test_an_image_and_a_machine_that_do_not_fit_are_found() -> None:
    (unused,) = check_training_image_on(NEWEST, gpu=True)
    (none,) = check_training_image_on(NEWEST.replace("-cpu.", "-gpu."), gpu=False)

    assert unused.warning and "tf-gpu.2-17.py310" in str(unused)
    assert none.warning and "tf-cpu.2-17.py310" in str(none)


def test_what_an_image_provides_goes_by_its_framework_and_version() -> None:
    def modules(uri: str) -> frozenset[str]:
        image = parse_training_image(uri)
        assert image is not None
        return provided(image)

    new = modules(NEWEST)
    old = modules("gcr.io/cloud-aiplatform/training/tf-cpu.2-2:latest")
    pytorch = modules(training_image("pytorch", gpu=True))

    assert {"tensorflow", "keras", "numpy", "pandas", "sklearn", "google", "hypertune", "PIL"} <= new & old
    assert "tf_keras" in new
    assert "tf_keras" not in old
    assert "torch" in pytorch
    assert "torch" not in new
    assert "tensorflow" not in pytorch
    # A container has nothing of vertexkit, and what is tuned with Keras Tuner has to require it.
    assert not {"vertexkit", "trainer_scripts", "keras_tuner"} & (new | old | pytorch)


@pytest.mark.parametrize("framework", TRAINING_FRAMEWORKS)
def test_every_framework_is_listed(framework: str) -> None:
    image = parse_training_image(training_image(framework))

    assert image is not None
    assert "numpy" in provided(image)
