"""Makes the SavedModels that the serving tests deploy. Run in a process of its own: TensorFlow is heavy.

``python serving_models.py FOLDER`` writes ``mnist/0001`` (Keras, its own preprocessing, trained on the
real subset), ``zoo`` (one signature for every kind of tensor and behaviour) and ``no_default`` (two of its
signatures, none of which is ``serving_default``).
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

SUBSET = Path(__file__).resolve().parents[2] / "trainer_scripts" / "data" / "mnist_subset.npz"


def spec(shape, dtype):
    return tf.TensorSpec(shape, dtype)


class Zoo(tf.Module):
    """Signatures that differ in what they take, answer and do."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_normal((4, 3), seed=(1, 2)))
        self.calls = tf.Variable(0, dtype=tf.int64)
        self.table = tf.Variable(tf.range(10, dtype=tf.float32)[:, None] * tf.ones((1, 2)))

    @tf.function(input_signature=[spec((None, 4), tf.float32)])
    def dense(self, x):
        return {"y": tf.nn.softmax(x @ self.weights)}

    @tf.function(input_signature=[spec((None, 2), tf.float32), spec((None,), tf.int64)])
    def multi(self, a, b):
        return {"total": tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32), "twice": b * 2}

    @tf.function(input_signature=[spec((None,), tf.string)])
    def text(self, s):
        return {"upper": tf.strings.upper(s), "size": tf.strings.length(s), "raw_bytes": s}

    @tf.function(input_signature=[spec((None,), tf.int64)])
    def successor(self, n):
        return {"next": n + 1}

    @tf.function(input_signature=[spec((None,), tf.float32)])
    def counter(self, x):
        self.calls.assign_add(1)
        return {"y": x + tf.cast(self.calls, tf.float32)}

    @tf.function(input_signature=[spec((None,), tf.float32)])
    def random(self, x):
        return {"y": x + tf.random.uniform(tf.shape(x))}

    @tf.function(input_signature=[spec((None,), tf.float32)])
    def logarithm(self, x):
        return {"y": tf.math.log(x)}

    @tf.function(input_signature=[spec((None,), tf.int32)])
    def lookup(self, index):
        return {"y": tf.gather(self.table, index)}

    @tf.function(input_signature=[spec((None, None), tf.float32)])
    def ragged_width(self, x):
        return {"y": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[spec((None,), tf.float32)])
    def scalar(self, x):
        return {"y": tf.reduce_sum(x)}


def main(folder):
    zoo = Zoo()
    names = [
        "multi",
        "text",
        "successor",
        "counter",
        "random",
        "logarithm",
        "lookup",
        "ragged_width",
        "scalar",
    ]
    signatures = {"serving_default": zoo.dense, **{name: getattr(zoo, name) for name in names}}
    tf.saved_model.save(zoo, str(folder / "zoo"), signatures=signatures)
    signatures = {"successor": zoo.successor, "multi": zoo.multi}
    tf.saved_model.save(zoo, str(folder / "no_default"), signatures=signatures)

    data = np.load(SUBSET)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data["x_train"], data["y_train"], epochs=2, verbose=0)
    model.export(str(folder / "mnist" / "0001"), verbose=False)
    np.save(folder / "mnist_expected.npy", model.predict(data["x_test"], verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
