"""Train MNIST with parameter servers: workers compute, each at its own pace, servers hold the variables.

    session.training.run(
        "trainer_scripts.mnist_parameter_server", workers=2, parameter_servers=1, evaluators=1
    )

The chief coordinates: it tells the workers what to compute, and writes model, checkpoints and logs. An
evaluator tests every checkpoint while training goes on. By hand, start it once for every replica, with
TF_CONFIG saying which one it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
import time

# Keras 3 does not support this strategy. tf_keras is Keras 2; before TensorFlow 2.16 there was no other.
# TensorFlow reads it on import.
if importlib.util.find_spec("tf_keras"):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
# A worker that is gone is noticed, and its work given to another.
os.environ["GRPC_FAIL_FAST"] = "use_caller"

import tensorflow as tf

from trainer_scripts import mnist_data, mnist_model
from trainer_scripts.environment import Environment, read_environment

START_SECONDS = 600  # that the others wait for the coordinator to come up
GONE_SECONDS = 3  # without an answer: the coordinator has ended
LOOK_SECONDS = 12  # for a checkpoint: TensorFlow takes an object on Cloud Storage to be as long as 5 s before


def main() -> None:
    """Do what this replica is for."""
    options = mnist_model.arguments(__doc__).parse_args()
    environment = read_environment(output_dir=options.output_dir)
    if not {"chief", "worker", "ps"} <= set(environment.cluster):
        sys.exit(
            "mnist_parameter_server needs a chief, a worker and a parameter server: run it with workers=1 "
            "and parameter_servers=1, or with TF_CONFIG. For one machine: trainer_scripts.mnist_single."
        )
    roles = {"chief": coordinate, "worker": serve, "ps": serve, "evaluator": evaluate}
    roles[environment.task.type](options, environment)


def coordinate(options: argparse.Namespace, environment: Environment) -> None:
    """Train on the workers, test, export."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = tf.distribute.ParameterServerStrategy(cluster)
    digits = mnist_data.load(options.data, environment)
    print(f"{digits}; coordinates {len(environment.cluster['worker'])} workers", flush=True)

    with environment.outputs() as outputs:
        with strategy.scope():
            model = mnist_model.build(options)
        checkpoints = mnist_model.Checkpoints(model, environment, outputs)
        # Every worker draws digits of its own, for there is no seed; so an epoch is a number of steps.
        drawn = tf.data.Dataset.from_tensor_slices((digits.x_train, digits.y_train))
        drawn = drawn.shuffle(len(digits.x_train)).repeat().batch(options.batch_size)
        model.fit(
            drawn,
            steps_per_epoch=-(-len(digits.x_train) // options.batch_size),
            initial_epoch=checkpoints.restore(),
            epochs=options.epochs,
            callbacks=[
                checkpoints.callback(),
                tf.keras.callbacks.TensorBoard(outputs.tensorboard_log_dir),
            ],
            verbose=2,
        )
        # A copy on this machine alone: the cluster's cannot be counted on to see every test digit once.
        trained = mnist_model.build(options)
        trained.set_weights(model.get_weights())
        mnist_model.report(trained, digits, options)
        tf.saved_model.save(trained, outputs.model_dir)
        print(f"Model saved to {outputs.model_dir}", flush=True)


def serve(options: argparse.Namespace, environment: Environment) -> None:
    """Do what the coordinator asks, until it has gone. A server of TensorFlow's never ends by itself."""
    task = environment.task
    server = tf.distribute.Server(
        tf.train.ClusterSpec(environment.cluster), job_name=task.type, task_index=task.index, start=True
    )
    print(f"{task} listens at {server.target}", flush=True)
    wait_for_coordinator(environment)
    last_seen = time.monotonic()
    while time.monotonic() - last_seen < GONE_SECONDS:
        time.sleep(0.5)
        if coordinator_is_up(environment):
            last_seen = time.monotonic()
    print(f"{task} ends: the coordinator has", flush=True)


def evaluate(options: argparse.Namespace, environment: Environment) -> None:
    """Test the checkpoints as they come; ends with that of the last epoch."""
    digits = mnist_data.load(options.data, environment)
    model = mnist_model.build(options)
    checkpoint = tf.train.Checkpoint(model=model)
    writer = tf.summary.create_file_writer(f"{environment.tensorboard_log_dir}/evaluator")
    wait_for_coordinator(environment)
    arriving = tf.train.checkpoints_iterator(
        environment.checkpoint_dir,
        timeout=LOOK_SECONDS,
        timeout_fn=lambda: not coordinator_is_up(environment),
    )
    for latest in arriving:
        checkpoint.restore(latest).assert_existing_objects_matched()
        epochs = mnist_model.epochs_of(latest)
        loss, accuracy = model.evaluate(mnist_model.batches(digits.x_test, digits.y_test, options), verbose=0)
        print(f"Epoch {epochs}: test accuracy {accuracy:.4f}", flush=True)
        with writer.as_default(step=epochs):
            tf.summary.scalar("epoch_loss", loss)
            tf.summary.scalar("epoch_accuracy", accuracy)
        writer.flush()
        if epochs >= options.epochs:
            return
    sys.exit("the coordinator ended before the last epoch")


def wait_for_coordinator(environment: Environment) -> None:
    """Wait until the coordinator has come up."""
    deadline = time.monotonic() + START_SECONDS
    while not coordinator_is_up(environment):
        if time.monotonic() > deadline:
            sys.exit(f"the coordinator did not come up within {START_SECONDS} s")
        time.sleep(0.5)


def coordinator_is_up(environment: Environment) -> bool:
    """Whether something listens at the coordinator's address."""
    (address,) = environment.cluster["chief"]
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
