"""Search for hyperparameters, see how the search went, deploy the best model, and ask it.

    python examples/tune.py                              on the local Vertex AI: no cost
    python examples/tune.py --project P --bucket B       in Google Cloud

Nothing but the arguments of vk.connect() differs between the two. What every trial runs is
trainer_scripts/mnist_trial.py: read it to see how such a program is written.
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

        # The trials appear as they go: a table on a terminal and in a notebook, lines elsewhere.
        job = session.tuning.run(
            "trainer_scripts.mnist_trial",
            metric="accuracy",
            space={
                "learning_rate": vk.Double(1e-4, 0.1, scale="log"),
                "n_neurons": vk.Integer(16, 256, scale="log"),
                "n_hidden": vk.Integer(1, 3),
                "optimizer": vk.Categorical(["sgd", "adam"]),
            },
            trials=options.trials,
            parallel=2,
            early_stopping="median",
            args={"epochs": options.epochs, "train_images": 2000},
            requirements=["cloudml-hypertune"],
            env={"TF_CPP_MIN_LOG_LEVEL": "3"},  # not a word of the GPU that the machines have not
        )
        frame = job.to_frame().sort_values("accuracy", ascending=False)
        print(f"\n{frame[[*job.trials.parameter_names, 'accuracy', 'seconds']].head().to_string()}\n")
        if options.plot:
            job.plot().savefig(options.plot)

        best = job.best
        assert best is not None
        print(f"Best: {best}")
        endpoint = best.model("mnist").deploy(machine="n1-standard-2")
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
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--plot", metavar="FILE", help="picture of the search to write: search.png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
