"""Train on two machines, see how it went, deploy the model that came of it, and ask it.

    python examples/train_multiworker.py                              on the local Vertex AI: no cost
    python examples/train_multiworker.py --project P --bucket B       in Google Cloud

Nothing but the arguments of vk.connect() differs between the two. What runs on the machines is
trainer_scripts/mnist_multiworker.py: read it to see how such a program is written.
"""

from __future__ import annotations

import argparse
from importlib import resources

import numpy as np

import vertexkit as vk


def main() -> None:
    """Train, show the metrics, deploy, predict, clean up."""
    options = arguments()

    # temporary: the resources it creates are deleted at its end, also after an error or Ctrl-C.
    with vk.connect(options.project, options.location, options.bucket, temporary=True) as session:
        print(f"project {session.project}, {session.location}, at {session.target.rest_url}")
        output = f"{session.bucket.uri}/{session.id}/mnist"
        try:
            # The chief and one worker. What they print appears here, each line with its replica.
            job = session.training.run(
                "trainer_scripts.mnist_multiworker",
                workers=1,
                args={"epochs": options.epochs},
                env={"TF_CPP_MIN_LOG_LEVEL": "3"},  # not a word of the GPU that the machines have not
                base_output_dir=output,
                restart_on_worker_restart=True,  # it resumes from its last checkpoint
            )
            print(f"\n{job.display_name} {job.state}, checkpoints: {[str(c) for c in job.checkpoints()]}\n")

            metrics = job.metrics()
            accuracy = metrics[metrics.tag == "epoch_accuracy"]
            print(accuracy.pivot(index="step", columns="run", values="value").to_string())

            assert job.model is not None
            endpoint = job.model.deploy(machine="n1-standard-2")
            images, truth = test_digits()
            probabilities = endpoint.predict(images)
            print(f"\nAccuracy by the endpoint: {np.mean(probabilities.argmax(axis=1) == truth):.4f}")
        finally:
            session.bucket.delete(output)  # files are yours to delete


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
    parser.add_argument("--epochs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
