"""Train MNIST on all devices of one machine.

    python -m trainer_scripts.mnist_single --epochs=3
    session.training.run("trainer_scripts.mnist_single", args={"epochs": 3})

Run again after an interruption, it goes on after the last epoch that was completed.
"""

from __future__ import annotations

import importlib.util
import os
import sys

# Keras 3 counts its metrics wrong with CentralStorageStrategy. tf_keras is Keras 2; before TensorFlow 2.16
# there was no other. TensorFlow reads it on import.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf

from trainer_scripts import mnist_data, mnist_model
from trainer_scripts.environment import read_environment


def main() -> None:
    """Train, test, export."""
    parser = mnist_model.arguments(__doc__)
    parser.add_argument(
        "--strategy",
        choices=["mirrored", "central"],
        default="mirrored",
        help="a copy of the variables on every device, or one copy on the CPU",
    )
    parser.add_argument("--cpus", type=int, default=1, help="split the CPU, to try this without a GPU")
    options = parser.parse_args()
    environment = read_environment(output_dir=options.output_dir)
    if environment.is_distributed:
        sys.exit(
            "mnist_single trains on one machine; for several there is trainer_scripts.mnist_multiworker."
        )
    if options.cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(options.cpus)]
        tf.config.set_logical_device_configuration(cpu, parts)

    digits = mnist_data.load(options.data, environment)
    devices = [
        device.name
        for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    ]
    strategy = (
        tf.distribute.experimental.CentralStorageStrategy(devices)
        if options.strategy == "central"
        else tf.distribute.MirroredStrategy(devices)
    )
    print(f"{digits}, {type(strategy).__name__} over {len(devices)} devices", flush=True)

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
            shuffle=False,  # the dataset does
            verbose=2,
        )
        mnist_model.report(model, digits, options)
        tf.saved_model.save(model, outputs.model_dir)
        print(f"Model saved to {outputs.model_dir}", flush=True)


if __name__ == "__main__":
    main()
