"""What the MNIST programs have in common: their options, the model, and how it is kept and tested."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

import tensorflow as tf

from trainer_scripts.environment import OUTPUT_DIR, Environment, Outputs
from trainer_scripts.mnist_data import Digits


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Options that all the programs take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=64, help="over all replicas together")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--n_neurons", type=int, default=100, help="in the hidden layer")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--data",
        default="",
        help="path or gs:// URI of .npz, .tfrecord or .csv, or 'keras' for the full MNIST; "
        "by default the job's dataset, else 7,000 digits that come with this package",
    )
    parser.add_argument(
        "--output_dir", default=OUTPUT_DIR, help="where model, checkpoints and logs go outside a job"
    )
    return parser


def build(options: argparse.Namespace) -> Any:
    """A compiled model that takes images as they are, uint8[n, 28, 28]: its preprocessing travels with it.

    Call it in the scope of the strategy.
    """
    seeds = [tf.keras.initializers.GlorotUniform(options.seed + layer) for layer in range(2)]
    model = tf.keras.Sequential(
        [
            tf.keras.layers.InputLayer((28, 28), dtype="uint8", name="images"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(options.n_neurons, activation="relu", kernel_initializer=seeds[0]),
            tf.keras.layers.Dense(
                10, activation="softmax", kernel_initializer=seeds[1], name="probabilities"
            ),
        ]
    )
    optimizer = tf.keras.optimizers.Adam(options.learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    # Makes its variables now, so that a checkpoint finds them all.
    optimizer.build(model.trainable_variables)
    return model


def batches(images: Any, labels: Any, options: argparse.Namespace, *, shuffle: bool = False) -> Any:
    """A dataset of batches, of which every replica takes its share.

    Sharding by DATA: each replica reads everything, in the same order by the seed, and takes its part.
    """
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle:
        dataset = dataset.shuffle(len(images), seed=options.seed)
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.batch(options.batch_size).prefetch(tf.data.AUTOTUNE).with_options(sharding)


class Checkpoints:
    """A checkpoint at the end of every epoch; the last one is found again after an interruption."""

    def __init__(self, model: Any, environment: Environment, outputs: Outputs) -> None:
        self._checkpoint = tf.train.Checkpoint(model=model)
        # Every replica reads what the chief wrote.
        self._latest = tf.train.latest_checkpoint(environment.checkpoint_dir)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, outputs.checkpoint_dir, max_to_keep=3, checkpoint_name="epoch"
        )

    def restore(self) -> int:
        """Take up the last checkpoint, if there is one.

        Returns:
            How many epochs it has behind it.
        """
        if self._latest is None:
            return 0
        self._checkpoint.restore(self._latest).assert_existing_objects_matched()
        epochs = epochs_of(self._latest)
        print(f"Resuming after epoch {epochs}, from {self._latest}", flush=True)
        return epochs

    def callback(self) -> Any:
        """Saves at the end of every epoch, for ``fit``."""
        return tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._manager.save(checkpoint_number=epoch + 1)
        )


def epochs_of(checkpoint: str) -> int:
    """How many epochs a checkpoint has behind it, by its name: ``.../epoch-3``."""
    return int(checkpoint.rpartition("-")[2])


def report(model: Any, digits: Digits, options: argparse.Namespace) -> float:
    """Print how well the model does on the test digits, and a digest of its weights.

    Returns:
        The share of test digits that it tells right.
    """
    _, accuracy = model.evaluate(batches(digits.x_test, digits.y_test, options), verbose=0)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    print(f"Test accuracy: {accuracy:.4f}\nSHA-256 of the weights: {digest}", flush=True)
    return float(accuracy)
