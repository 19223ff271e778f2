"""Writes SavedModels that multiply their input, in a process of its own: TensorFlow is slow to import.

python write_scaling_models.py FOLDER FACTOR...
"""

import sys

import tensorflow as tf


class Scaling(tf.Module):
    """``x: float32[?, 3] -> scaled: float32[?, 3]``."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scaled": x * self.factor}


for factor in sys.argv[2:]:
    model = Scaling(float(factor))
    tf.saved_model.save(model, f"{sys.argv[1]}/{factor}", signatures=model.__call__)
