"""Writes a SavedModel that measures bytes, in a process of its own: TensorFlow is slow to import.

python write_measuring_model.py FOLDER
"""

import sys

import tensorflow as tf


class Measuring(tf.Module):
    """``data: string[?] -> length: int32[?]``."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="data")])
    def __call__(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(data)}


model = Measuring()
tf.saved_model.save(model, sys.argv[1], signatures=model.__call__)
