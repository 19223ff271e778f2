"""Search the hyperparameters of an MNIST classifier with Keras Tuner, on one machine or many.

    python -m trainer_scripts.keras_tuner_search --max_epochs=5
    session.keras_tuner.run("trainer_scripts.keras_tuner_search", workers=3, args={"max_epochs": 10})

The chief hands out trials, the workers run them, each over all devices of its machine. At the end the chief
saves the best model found. Run again after an interruption, the search goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from typing import Any

# Its checkpoints can lie on Cloud Storage, those of Keras 3 cannot. TensorFlow reads it on import.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

from trainer_scripts import keras_tuner_cluster
from trainer_scripts.environment import OUTPUT_DIR
from trainer_scripts.keras_tuner_cluster import Cluster

PROJECT = "search"


def main() -> None:
    """Search; then save the best model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tuner", choices=["hyperband", "random", "bayesian"], default="hyperband")
    parser.add_argument("--max_epochs", type=int, default=10, help="of any trial")
    parser.add_argument("--max_trials", type=int, default=20, help="not for hyperband, which plans its own")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--data",
        default="",
        help="path or gs:// URI of .npz, .tfrecord or .csv, or 'keras' for the full MNIST; "
        "by default the job's dataset, else 7,000 digits that come with this package",
    )
    parser.add_argument(
        "--directory",
        default="",
        help="of the tuner; by default, and if relative, below the job's folder for checkpoints",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write logs of all trials for TensorBoard")
    parser.add_argument("--spare_worker", action="store_true", help="let the chief's machine run trials too")
    parser.add_argument(
        "--output_dir", default=OUTPUT_DIR, help="where model, search and logs go outside a job"
    )
    options = parser.parse_args()
    if options.tuner == "bayesian" and importlib.util.find_spec("scipy") is None:
        parser.error("--tuner=bayesian needs scipy: require keras-tuner[bayesian].")
    cluster = keras_tuner_cluster.join(spare_worker=options.spare_worker, output_dir=options.output_dir)
    search(options, cluster)


def search(options: argparse.Namespace, cluster: Cluster) -> None:
    """Run trials, or hand them out."""
    import tensorflow as tf

    from trainer_scripts import mnist_data

    digits = mnist_data.load(options.data, cluster.environment)
    print(f"{digits}; this is {cluster.tuner_id or 'the only process'}", flush=True)
    tuner = make_tuner(options, cluster)
    callbacks = [tf.keras.callbacks.EarlyStopping("val_loss", patience=3)]
    if options.tensorboard:
        callbacks.append(tf.keras.callbacks.TensorBoard(cluster.environment.tensorboard_log_dir))
    tuner.search(
        digits.x_train,
        digits.y_train,
        validation_data=(digits.x_test, digits.y_test),
        epochs=options.max_epochs,
        batch_size=options.batch_size,
        callbacks=callbacks,
        verbose=2,
    )
    if cluster.is_chief:
        save_best(tuner, cluster.environment.model_dir)


def make_tuner(options: argparse.Namespace, cluster: Cluster) -> Any:
    """The tuner that the options name."""
    import keras_tuner

    given = {
        "hypermodel": build,
        "objective": "val_accuracy",
        "seed": options.seed,
        "directory": options.directory,
        "project_name": PROJECT,
        "distribution_strategy": cluster.strategy(),
    }
    if options.tuner == "hyperband":
        return keras_tuner.Hyperband(max_epochs=options.max_epochs, **given)
    kind = keras_tuner.RandomSearch if options.tuner == "random" else keras_tuner.BayesianOptimization
    return kind(max_trials=options.max_trials, **given)


def build(hyperparameters: Any) -> Any:
    """A compiled model that takes images as they are, uint8[n, 28, 28]."""
    import tensorflow as tf

    n_hidden = hyperparameters.Int("n_hidden", 1, 4)
    n_neurons = hyperparameters.Int("n_neurons", 16, 300, sampling="log")
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((28, 28), dtype="uint8", name="images"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.Flatten(),
            *(tf.keras.layers.Dense(n_neurons, activation="relu") for _ in range(n_hidden)),
            tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    kind = hyperparameters.Choice("optimizer", ["sgd", "adam"])
    optimizer = tf.keras.optimizers.get(kind)
    optimizer.learning_rate = hyperparameters.Float("learning_rate", 1e-4, 1.0, sampling="log")
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    # Makes its variables now, so that a checkpoint finds them all.
    optimizer.build(model.trainable_variables)
    return model


def save_best(tuner: Any, model_dir: str) -> None:
    """Save the best model as a SavedModel, and say what it is."""
    import tensorflow as tf

    completed = [trial for trial in tuner.oracle.get_best_trials() if trial.status == "COMPLETED"]
    if not completed:
        sys.exit("No trial was completed: there is no model to save.")
    best = completed[0]
    model = tuner.load_model(best)
    if hasattr(tf.keras, "version"):
        # Keras 3: what tf.saved_model.save() writes of its models no model server can load.
        model.export(model_dir, verbose=False)
    else:
        tf.saved_model.save(model, model_dir)
    found = {name: value for name, value in best.hyperparameters.values.items() if "/" not in name}
    print(f"Best trial: {best.trial_id}\nBest val_accuracy: {best.score:.4f}")
    print(f"Best hyperparameters: {json.dumps(found)}\nModel saved to {model_dir}", flush=True)


if __name__ == "__main__":
    main()
