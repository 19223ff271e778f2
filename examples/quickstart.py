"""The life of a model on Vertex AI, from training to clean-up, with real handwritten digits.

    make demo                                       on the local Vertex AI: no account, no cost
    make demo ARGS="--project P --bucket B"         in Google Cloud: about an hour of n1-standard-2

Nothing but the arguments of vk.connect() differs between the two.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no word of the GPU that most machines have not

import numpy as np

import vertexkit as vk

MNIST = Path(__file__).parents[1] / "trainer_scripts" / "data" / "mnist_subset.npz"
REQUESTS = 400
timings: dict[str, float] = {}


def main() -> None:
    """Train, upload, deploy, predict, canary, promote, roll back, clean up."""
    options = arguments()
    digits = dict(np.load(MNIST))
    images, truth = digits["x_test"], digits["y_test"]

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "my_mnist_model"

        with step("Load Keras and TensorFlow"), without_messages():
            import keras  # noqa: F401 - slow: told apart from the training

        with step("Train version 1, export it as my_mnist_model/0001"):
            in_process = train(digits, folder / "0001", units=16, epochs=2)

        with step("Connect"):
            # temporary: the resources it creates are deleted at its end, also after an error or Ctrl-C.
            session = vk.connect(options.project, options.location, options.bucket, temporary=True)
            say(f"project {session.project}, {session.location}, at {session.target.rest_url}")

        with session, ExitStack() as undo:
            with step("Create a bucket, upload the folder"):
                report = session.bucket.upload_dir(folder, prefix=f"{session.id}/my_mnist_model")
                undo.callback(session.bucket.delete, report.uri)  # files are yours to delete
                say(report)

            with step("Upload the model"):
                model = session.models.upload("mnist", f"{report.uri}/0001", framework="tensorflow")
                say(f"{model.resource_name}: {model.signature}")

            with step("Create an endpoint, deploy version 1"):
                endpoint = session.endpoints.create("mnist")
                endpoint.deploy(model, machine="n1-standard-2")

            with step(f"Predict {len(images):,} images"):
                probabilities = endpoint.predict(images)  # ndarray in, ndarray out
            accuracy = share_right(probabilities, truth)
            say(f"accuracy {accuracy:.1%}; by Keras in this process {share_right(in_process, truth):.1%}")
            assert accuracy == share_right(in_process, truth), "the endpoint and Keras do not agree"

            with step("Train version 2, export it as my_mnist_model/0002"):
                train(digits, folder / "0002", units=128, epochs=6)

            with step("Upload version 2, deploy it as a canary with 10 %"):
                better = model.upload_version(folder / "0002")  # a local folder will do as well
                endpoint.canary(better, percent=10)

            with step(f"Send {REQUESTS} requests of one image"):
                answered = versions_that_answer(endpoint, images[:REQUESTS])
                say(", ".join(f"version {v}: {n / REQUESTS:.1%}" for v, n in sorted(answered.items())))

            with step("Promote version 2"):
                endpoint.promote(better)
            say(f"accuracy {share_right(endpoint.predict(images), truth):.1%}")

            with step("Roll back to the split before"):
                endpoint.rollback()
            say("\n".join(map(str, endpoint.deployed)))

            with step("Clean up"):
                undo.close()
                deleted = session.cleanup()
            say(deleted)

    show_timings()


def train(digits: Mapping[str, np.ndarray[Any, Any]], folder: Path, *, units: int, epochs: int) -> Any:
    """Train a small Keras model that takes images as they are, export it, and predict the test images."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8", name="images"),
            keras.layers.Rescaling(1 / 255),  # preprocessing travels with the model
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(digits["x_train"], digits["y_train"], batch_size=64, epochs=epochs, verbose=2)
    model.export(folder, verbose=False)
    return model.predict(digits["x_test"], verbose=0)


def versions_that_answer(endpoint: vk.Endpoint, images: np.ndarray[Any, Any]) -> Counter[str]:
    """Send one request an image, eight at a time, and count which version answered."""

    def ask(image: np.ndarray[Any, Any]) -> str:
        return endpoint.predict(image[np.newaxis], return_response=True).model_version_ids[0]

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(ask, images))


def share_right(probabilities: Any, truth: np.ndarray[Any, Any]) -> float:
    """The share of images whose most probable digit is the right one."""
    return float(np.mean(probabilities.argmax(axis=1) == truth))


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell what is being done, and take the time."""
    print(f"\n== {name}", flush=True)
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
    say(f"done in {timings[name]:.1f} s")


def show_timings() -> None:
    """Print how long every step took."""
    width = max(map(len, timings))
    print("\nWhere the time went:")
    for name, seconds in [*timings.items(), ("in all", sum(timings.values()))]:
        print(f"  {name:<{width}} {seconds:7.2f} s")


def say(what: object) -> None:
    """Print something below the step that it belongs to."""
    print("   " + str(what).replace("\n", "\n   "), flush=True)


@contextmanager
def without_messages() -> Iterator[None]:
    """Keep TensorFlow's start-up messages, which no setting turns off, out of the tutorial."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def arguments() -> argparse.Namespace:
    """The command line; with none, the local Vertex AI."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", help="project in Google Cloud")
    parser.add_argument("--location", help="region, us-central1 by default")
    parser.add_argument("--bucket", help="bucket to use, in the same region")
    return parser.parse_args()


if __name__ == "__main__":
    main()
