"""Search with Keras Tuner on several machines, see how it went, deploy the best model, and ask it.

    python examples/keras_tuner_search.py                              on the local Vertex AI: no cost
    python examples/keras_tuner_search.py --project P --bucket B       in Google Cloud

Nothing but the arguments of vk.connect() differs between the two. What runs on the machines is
trainer_scripts/keras_tuner_search.py: read it to see how such a program is written.
"""

from __future__ import annotations

import argparse
from importlib import resources

import numpy as np

import vertexkit as vk


def main() -> None:
    """Search, show the trials, deploy the best, predict, clean up."""
    options = arguments()

    # temporary: the resources it creates are deleted at its end, also after an error or Ctrl-C.
    with vk.connect(options.project, options.location, options.bucket, temporary=True) as session:
        print(f"project {session.project}, {session.location}, at {session.target.rest_url}")

        # A chief, which hands out trials, and the workers, which run them. The trials appear as they go.
        job = session.keras_tuner.run(
            "trainer_scripts.keras_tuner_search",
            workers=options.workers,
            args={"max_epochs": options.max_epochs, "tuner": options.tuner, "max_trials": options.max_trials},
            restart_on_worker_restart=True,  # the search goes on where it was
            env={"TF_CPP_MIN_LOG_LEVEL": "3"},  # not a word of the GPU that the machines have not
        )
        frame = job.to_frame().sort_values("val_accuracy", ascending=False)
        print(f"\n{frame[[*job.trials.parameter_names, 'val_accuracy']].head().to_string()}\n")

        best = job.best
        assert best is not None
        print(f"Best: {best}")
        endpoint = best.model().deploy(machine="n1-standard-2")
        images, truth = test_digits()
        probabilities = endpoint.predict(images)
        print(f"Accuracy by the endpoint: {np.mean(probabilities.argmax(axis=1) == truth):.4f}")


def test_digits() -> tuple[np.ndarray, np.ndarray]:
    """The images and labels that were not trained on: uint8[1000, 28, 28], uint8[1000]."""
    with resources.files("trainer_scripts").joinpath("data", "mnist_subset.npz").open("rb") as file:
        digits = np.load(file)
        return digits["x_test"], digits["y_test"]


def arguments() -> argparse.Namespace:
    """The command line; with none, the local Vertex AI."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", help="project in Google Cloud")
    parser.add_argument("--location", help="region, us-central1 by default")
    parser.add_argument("--bucket", help="bucket to use, in the same region")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tuner", choices=["hyperband", "random"], default="random")
    parser.add_argument("--max_trials", type=int, default=6)
    parser.add_argument("--max_epochs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
