"""Writes the SavedModels that test_saved_model.py reads: a process of its own, for TensorFlow's sake."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import tensorflow as tf
import tf_keras

root = Path(sys.argv[1])


def keras_model() -> None:
    images = keras.Input((28, 28), dtype="uint8", name="images")
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    keras.Model(images, keras.layers.Dense(10)(hidden)).export(root / "keras", verbose=False)


def keras_model_of_two_inputs() -> None:
    age = keras.Input((1,), name="age")
    name = keras.Input((1,), dtype="string", name="name")
    known = keras.layers.StringLookup(vocabulary=["Ada"], output_mode="one_hot")(name)
    both = keras.layers.Concatenate()([age, known])
    outputs = [keras.layers.Dense(1)(both), keras.layers.Dense(1)(both)]
    keras.Model([age, name], outputs).export(root / "keras_two_inputs", verbose=False)


def tf_keras_model() -> None:
    images = tf_keras.Input((28, 28), dtype="uint8", name="images")
    hidden = tf_keras.layers.Flatten()(tf_keras.layers.Rescaling(1 / 255)(images))
    outputs = tf_keras.layers.Dense(10, name="probabilities")(hidden)
    tf_keras.Model(images, outputs).save(str(root / "tf_keras"), save_format="tf")


class Function(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "ids"),
            tf.TensorSpec([4, 2], tf.bool, "flags"),
            tf.TensorSpec([None], tf.float16, "half"),
        ]
    )
    def serve(self, ids: tf.Tensor, flags: tf.Tensor, half: tf.Tensor) -> dict[str, tf.Tensor]:
        rank = tf.reduce_sum(tf.cast(flags, tf.int32))
        shape = tf.concat([tf.shape(half), tf.ones([rank], tf.int32)], 0)
        return {
            "ids": tf.cast(ids, tf.uint64),
            "text": tf.strings.as_string(ids),
            "any": tf.reshape(half, shape),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def other(self, x: tf.Tensor) -> tf.Tensor:
        return x


keras_model()
keras_model_of_two_inputs()
tf_keras_model()
function = Function()
signatures = {"serving_default": function.serve, "other": function.other}
tf.saved_model.save(function, str(root / "function"), signatures=signatures)
