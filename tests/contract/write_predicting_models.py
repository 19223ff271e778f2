"""Writes the models that test_predict.py deploys, in a process of its own: TensorFlow is slow to import.

python write_predicting_models.py FOLDER MNIST_SUBSET
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

folder = Path(sys.argv[1])

DTYPES = {
    "f16": tf.float16,
    "f32": tf.float32,
    "f64": tf.float64,
    "i8": tf.int8,
    "i32": tf.int32,
    "i64": tf.int64,
    "u8": tf.uint8,
    "u64": tf.uint64,
    "flag": tf.bool,
    "text": tf.string,
    "raw_bytes": tf.string,
}


class Echo(tf.Module):
    """Gives every input back under its own name."""

    @tf.function
    def serve(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.identity(value) for name, value in inputs.items()}


echo = Echo()
specs = {name: tf.TensorSpec([None, 2], dtype, name) for name, dtype in DTYPES.items()}
tf.saved_model.save(echo, str(folder / "echo"), signatures=echo.serve.get_concrete_function(**specs))

keras.utils.set_random_seed(7)
images = keras.Input((28, 28), dtype="uint8", name="images")
hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
hidden = keras.layers.Dense(32, activation="relu")(hidden)
model = keras.Model(images, keras.layers.Dense(10, activation="softmax")(hidden))
model.export(str(folder / "digits"), verbose=False)
with np.load(sys.argv[2]) as data:
    np.save(folder / "expected.npy", model.predict(data["x_test"], verbose=0))
