"""Train MNIST once with given hyperparameters, and report how good they are: one trial of a search.

    python -m trainer_scripts.mnist_trial --learning_rate=0.01 --n_hidden=2
    session.tuning.run(
        "trainer_scripts.mnist_trial", metric="accuracy", maximize=True, trials=30, parallel=2,
        space={"learning_rate": vk.Double(1e-3, 10, scale="log"), "n_hidden": vk.Integer(1, 10)},
    )

The metric is the accuracy on training digits that were held back, so that the test digits still tell how good
the best trial is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

try:
    import hypertune
except ImportError:
    sys.exit("A trial reports by cloudml-hypertune, as Vertex AI has it: pip install cloudml-hypertune")

import tensorflow as tf

from trainer_scripts import mnist_data, mnist_model
from trainer_scripts.environment import read_environment

METRIC = "accuracy"
MOUNT = Path("/gcs")
HELD_BACK = 6  # one in so many digits, the last ones: 10,000 of the full MNIST


def main() -> None:
    """Train, report after every epoch, export."""
    options = arguments().parse_args()
    environment = read_environment(output_dir=options.output_dir)
    if environment.is_distributed:
        sys.exit("A trial of mnist_trial trains on one machine; several trials run at a time.")
    if options.cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(options.cpus)]
        tf.config.set_logical_device_configuration(cpu, parts)

    digits = mnist_data.load(options.data, environment)
    train = len(digits.x_train) - len(digits.x_train) // HELD_BACK
    validation = mnist_model.batches(digits.x_train[train:], digits.y_train[train:], options)
    train = min(train, options.train_images or train)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    # Distributing over one device costs a third of a short trial, and gains nothing.
    strategy = (
        tf.distribute.MirroredStrategy([device.name for device in devices])
        if len(devices) > 1
        else tf.distribute.get_strategy()
    )
    reports = hypertune.HyperTune()

    def report(epoch: int, accuracy: float) -> None:
        reports.report_hyperparameter_tuning_metric(METRIC, accuracy, global_step=epoch)

    print(f"{train:,} digits, {len(devices)} device(s), {vars(options)}", flush=True)
    with environment.outputs() as outputs:
        with strategy.scope():
            model = build(options)
        history = model.fit(
            mnist_model.batches(digits.x_train[:train], digits.y_train[:train], options, shuffle=True),
            validation_data=validation,
            epochs=options.epochs,
            callbacks=[
                tf.keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: report(epoch + 1, logs["val_accuracy"])
                ),
                tf.keras.callbacks.EarlyStopping(
                    "val_accuracy", mode="max", patience=options.patience, restore_best_weights=True
                ),
                # A learning rate that is far too high ends at once.
                tf.keras.callbacks.TerminateOnNaN(),
                EpochsOnly(mounted(outputs.tensorboard_log_dir), write_graph=False),
            ],
            shuffle=False,  # the dataset does
            verbose=2,
        )
        # The trial is judged by what is saved: the best weights, which are back now.
        accuracy = max(history.history["val_accuracy"])
        report(len(history.epoch), accuracy)
        print(f"Validation accuracy: {accuracy:.4f} after {len(history.epoch)} epochs", flush=True)
        export(model, mounted(outputs.model_dir))
        print(f"Model saved to {outputs.model_dir}", flush=True)


def arguments() -> argparse.ArgumentParser:
    """The hyperparameters, and what stays the same for all trials."""
    parser = mnist_model.arguments(__doc__)
    parser.add_argument("--n_hidden", type=int, default=1, help="how many hidden layers")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="adam")
    parser.add_argument("--train_images", type=int, default=0, help="how many to train on; 0 for all")
    parser.add_argument(
        "--patience", type=int, default=3, help="epochs without a better accuracy before it stops early"
    )
    parser.add_argument("--cpus", type=int, default=1, help="split the CPU, to try this without GPUs")
    return parser


def build(options: argparse.Namespace) -> Any:
    """A compiled model that takes images as they are, uint8[n, 28, 28]. Call it in the strategy's scope."""
    # Layers draw their own seeds as they are made.
    tf.keras.utils.set_random_seed(options.seed)
    hidden = [tf.keras.layers.Dense(options.n_neurons, activation="relu") for _ in range(options.n_hidden)]
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((28, 28), dtype="uint8", name="images"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.Flatten(),
            *hidden,
            tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    optimizers = {"sgd": tf.keras.optimizers.SGD, "adam": tf.keras.optimizers.Adam}
    optimizer = optimizers[options.optimizer](options.learning_rate)
    accuracy = tf.keras.metrics.SparseCategoricalAccuracy("accuracy")
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=[accuracy])
    # Where all variables are there before the first step, that is traced once rather than twice.
    optimizer.build(model.trainable_variables)
    return model


def export(model: Any, folder: str) -> None:
    """Write the model as a SavedModel for model servers.

    It is what ``model.export()`` writes, which traces every layer once more to look for tables in them.
    """
    archive = tf.keras.export.ExportArchive()
    images = tf.keras.InputSpec(shape=(None, 28, 28), dtype="uint8", name="images")
    archive.add_endpoint("serve", model.__call__, [images])
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        archive.add_variable_collection(name, getattr(model, name))
    archive.write_out(folder, verbose=False)


def mounted(uri: str) -> str:
    """A place in Cloud Storage as the folder that Vertex AI shows it as, else as it is.

    TensorFlow's own code for ``gs://`` takes a hundred requests, each on a new connection, to write a model.
    https://cloud.google.com/vertex-ai/docs/training/cloud-storage-file-system
    """
    scheme, _, place = uri.partition("gs://")
    bucket = place.partition("/")[0]
    return str(MOUNT / place) if not scheme and (MOUNT / bucket).is_dir() else uri


class EpochsOnly(tf.keras.callbacks.TensorBoard):  # type: ignore[misc]
    """The curves by epoch; Keras's own computes those by batch as well, and throws them away."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Nothing."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Nothing."""


if __name__ == "__main__":
    main()
