"""Writes what batch prediction is tried on, in a process of its own: TensorFlow is slow to import.

    python write_mnist_batch.py FOLDER NPZ [--records N]

One network, trained on the digits of NPZ, in four models that take them as the formats of batch
prediction carry them: ``images`` (uint8[?, 28, 28]; jsonl), ``pixels`` (float[?, 784]; csv), ``records``
(a serialized tf.train.Example; tf-record) and ``files`` (a PNG; file-list). Beside them the test images in
each format, what Keras says of them (``expected.npy``), and with ``--records`` a file of as many records.
"""

import argparse
import itertools
import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import orjson
import tensorflow as tf

UNITS, EPOCHS = 100, 2


def train(digits, steps):
    keras.utils.set_random_seed(1)
    images = keras.Input((28, 28), dtype="uint8", name="images")
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    hidden = keras.layers.Dense(UNITS, activation="relu")(hidden)
    model = keras.Model(images, keras.layers.Dense(10, activation="softmax", name="probabilities")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy")
    epochs = max(EPOCHS, -(-steps * 64 // len(digits["x_train"])))
    model.fit(digits["x_train"], digits["y_train"], batch_size=64, epochs=epochs, verbose=0)
    return model


def write_models(model, folder):
    def of_records(records):
        feature = tf.io.FixedLenFeature([], tf.string)
        pixels = tf.io.parse_example(records, {"image": feature})["image"]
        return model(tf.reshape(tf.io.decode_raw(pixels, tf.uint8), (-1, 28, 28)))

    def of_files(files):
        def decode(file):
            return tf.ensure_shape(tf.io.decode_png(file, channels=1)[..., 0], (28, 28))

        return model(tf.map_fn(decode, files, fn_output_signature=tf.uint8))

    def of_pixels(pixels):
        return model(tf.cast(tf.reshape(pixels, (-1, 28, 28)), tf.uint8))

    model.export(folder / "images", verbose=False)
    for name, function, spec in (
        ("pixels", of_pixels, tf.TensorSpec((None, 784), tf.float32, "pixels")),
        ("records", of_records, tf.TensorSpec((None,), tf.string, "record")),
        ("files", of_files, tf.TensorSpec((None,), tf.string, "file")),
    ):
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", function, input_signature=[spec])
        archive.write_out(folder / name, verbose=False)


def write_files(images, folder):
    folder.mkdir()
    with (folder / "images.jsonl").open("wb") as lines:
        lines.writelines(orjson.dumps(image, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for image in images)
    with (folder / "pixels.csv").open("w") as rows:
        rows.write(",".join(f"pixel{number}" for number in range(784)) + "\n")
        rows.writelines(",".join(map(str, image.ravel().tolist())) + "\n" for image in images)
    write_records(images, len(images), folder / "records.tfrecord")
    write_records(images, len(images), folder / "records.tfrecord.gz", "GZIP")
    (folder / "files").mkdir()
    for number, image in enumerate(images):
        png = tf.io.encode_png(image[..., np.newaxis]).numpy()
        (folder / "files" / f"{number:05}.png").write_bytes(png)


def write_records(images, count, path, compression=""):
    def example(image):
        pixels = tf.train.BytesList(value=[image.tobytes()])
        features = tf.train.Features(feature={"image": tf.train.Feature(bytes_list=pixels)})
        return tf.train.Example(features=features).SerializeToString()

    records = [example(image) for image in images[:count]]
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in itertools.islice(itertools.cycle(records), count):
            writer.write(record)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("npz", type=Path)
    parser.add_argument(
        "--records", type=int, default=0, help="as many in records.tfrecord, all digits in turn"
    )
    options = parser.parse_args()
    digits = dict(np.load(options.npz))
    model = train(digits, steps=600)
    write_models(model, options.folder)
    np.save(options.folder / "expected.npy", model.predict(digits["x_test"], verbose=0))
    write_files(digits["x_test"], options.folder / "test")
    if options.records:
        images = np.concatenate([digits["x_train"], digits["x_test"]])
        write_records(images, options.records, options.folder / "records.tfrecord")


if __name__ == "__main__":
    main()
