"""Batch prediction written by hand: ``python -m tests.bench.batch_by_hand FORMAT MODEL SOURCE RESULTS``.

What a user who knows TensorFlow would write for one file: read it, call the model in batches in this
process, write what a results file of Vertex AI holds, the instance beside its prediction. It prints the
seconds that the loop took, without importing TensorFlow and loading the model.
"""

from __future__ import annotations

import base64
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import orjson

BATCH = 1000
"""Instances at a time."""


def jsonl(source: Path, predict: Callable[[Any], Any], results: BinaryIO) -> None:
    """An array of pixels a line."""
    with source.open("rb") as file:
        for lines in _batches(file):
            # One array after the other: what orjson has made is still in the cache, which is twice as quick.
            images = np.stack([np.array(orjson.loads(line), np.uint8) for line in lines])
            for line, prediction in zip(lines, predict(images), strict=True):
                written = orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY)
                results.write(b'{"instance":%b,"prediction":%b}\n' % (line.rstrip(), written))


def tf_record(source: Path, predict: Callable[[Any], Any], results: BinaryIO) -> None:
    """A serialized ``tf.train.Example`` a record."""
    import tensorflow as tf

    for records in tf.data.TFRecordDataset(str(source)).batch(BATCH).prefetch(2):
        for record, prediction in zip(records.numpy(), predict(records), strict=True):
            written = orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY)
            encoded = base64.b64encode(record)
            results.write(b'{"instance":{"b64":"%b"},"prediction":%b}\n' % (encoded, written))


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(itertools.islice(lines, BATCH)):
        yield batch


def main() -> None:
    """Load the model, run the loop, print its seconds."""
    name, model, source, results = sys.argv[1:]
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    signature = loaded.signatures["serving_default"]
    (argument,) = signature.structured_input_signature[1]

    def predict(batch: Any) -> Any:
        (output,) = signature(**{argument: tf.constant(batch)}).values()
        return output.numpy()

    loop = {"jsonl": jsonl, "tf-record": tf_record}[name]
    started = time.perf_counter()
    with Path(results).open("wb") as file:
        loop(Path(source), predict, file)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
