"""Train MNIST on several machines, each with a copy of the model, all in step.

    session.training.run("trainer_scripts.mnist_multiworker", workers=1, args={"epochs": 3})

By hand, start it once for every replica, with TF_CONFIG saying which one it is. Should a replica be lost,
start all again: they go on after the last epoch that was completed (``restart_on_worker_restart=True``
makes Vertex AI do so).
"""

from __future__ import annotations

import importlib.util
import os
import sys

# Keras 3 does not support this strategy. tf_keras is Keras 2; before TensorFlow 2.16 there was no other.
# TensorFlow reads it on import.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf

from trainer_scripts import mnist_data, mnist_model
from trainer_scripts.environment import read_environment


def main() -> None:
    """Train, test, export."""
    options = mnist_model.arguments(__doc__).parse_args()
    environment = read_environment(output_dir=options.output_dir)
    if environment.task.type not in ("chief", "worker") or "ps" in environment.cluster:
        sys.exit(
            "mnist_multiworker has no use for parameter servers or an evaluator; "
            "trainer_scripts.mnist_parameter_server has."
        )

    # Before anything else of TensorFlow is used. It finds the other replicas by TF_CONFIG.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    digits = mnist_data.load(options.data, environment)
    replicas = strategy.num_replicas_in_sync
    print(f"{digits}; this is {environment.task} of {replicas} replicas", flush=True)

    # All replicas save, because saving may need all of them; what the chief writes is what stays.
    with environment.outputs() as outputs:
        with strategy.scope():
            model = mnist_model.build(options)
        checkpoints = mnist_model.Checkpoints(model, environment, outputs)
        model.fit(
            mnist_model.batches(digits.x_train, digits.y_train, options, shuffle=True),
            validation_data=mnist_model.batches(digits.x_test, digits.y_test, options),
            initial_epoch=checkpoints.restore(),
            epochs=options.epochs,
            callbacks=[
                checkpoints.callback(),
                tf.keras.callbacks.TensorBoard(outputs.tensorboard_log_dir),
            ],
            verbose=2,
        )
        mnist_model.report(model, digits, options)
        tf.saved_model.save(model, outputs.model_dir)
        if environment.is_chief:
            print(f"Model saved to {outputs.model_dir}", flush=True)


if __name__ == "__main__":
    main()
