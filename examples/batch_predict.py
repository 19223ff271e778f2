"""Predict many images in batch prediction jobs: from an array, and from a file in which not all is well.

    python examples/batch_predict.py                              on the local Vertex AI: no cost
    python examples/batch_predict.py --project P --bucket B       in Google Cloud

Nothing but the arguments of vk.connect() differs between the two.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no word of the GPU that most machines have not

import numpy as np

import vertexkit as vk

BAD = {100: "this line is not JSON", 200: "[[1, 2], [3, 4]]"}


def main() -> None:
    """Train, predict an array, predict a file of which two lines are bad, clean up."""
    options = arguments()
    with resources.files("trainer_scripts").joinpath("data", "mnist_subset.npz").open("rb") as file:
        digits = dict(np.load(file))
    images, truth = digits["x_test"], digits["y_test"]

    with tempfile.TemporaryDirectory() as scratch:
        train(digits, Path(scratch) / "model")

        # temporary: the resources it creates are deleted at its end, also after an error or Ctrl-C.
        with vk.connect(options.project, options.location, options.bucket, temporary=True) as session:
            print(f"project {session.project}, {session.location}, at {session.target.rest_url}")
            model = session.models.upload("mnist", Path(scratch) / "model")

            print(f"\n== An array of {len(images):,} images")
            job = model.batch_predict(images, name="array", machine="n1-standard-2")
            probabilities = job.to_numpy()  # float32[1000, 10], in the order of the images
            print(f"Accuracy: {share_right(probabilities, truth):.1%}")

            print(f"\n== A file of {len(images):,} lines, {len(BAD)} of them bad")
            lines = write_lines(Path(scratch) / "images.jsonl", images)
            job = model.batch_predict(lines, name="file", machine="n1-standard-2")
            for failure in job.failures:
                print(f"Failed: {failure}")
            answered = [row for row in job.rows() if row.error is None]  # rows() holds one at a time
            right = [np.argmax(row.prediction) == truth[row.index] for row in answered]
            print(f"Accuracy of the other {len(answered)}: {np.mean(right):.1%}")

            print("\n== As a frame")
            frame = job.to_frame()  # inputs and predictions side by side, with what failed
            frame["digit"] = frame["prediction"].map(np.argmax, na_action="ignore")
            print(frame[["digit", "prediction"]].head().to_string())


def train(digits: dict[str, np.ndarray[Any, Any]], folder: Path) -> None:
    """Train a small Keras model that takes images as they are, and export it."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8", name="images"),
            keras.layers.Rescaling(1 / 255),  # preprocessing travels with the model
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits["x_train"], digits["y_train"], epochs=4, verbose=0)
    model.export(folder, verbose=False)


def write_lines(path: Path, images: np.ndarray[Any, Any]) -> Path:
    """An image a line, as JSON; some lines are no image."""
    lines = [BAD.get(index, json.dumps(image.tolist())) for index, image in enumerate(images)]
    path.write_text("\n".join(lines) + "\n")
    return path


def share_right(probabilities: Any, truth: np.ndarray[Any, Any]) -> float:
    """The share of images whose most probable digit is the right one."""
    return float(np.mean(probabilities.argmax(axis=1) == truth))


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
