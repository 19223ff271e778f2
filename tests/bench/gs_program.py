"""Writes and reads a large file by TensorFlow: ``gs_program.py URI MEGABYTES TURNS``; prints the MB/s."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import tensorflow as tf

MB = 1_000_000


def main() -> None:
    """Do it, several times; the first turn warms up and does not count."""
    uri, megabytes, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    gfile: Any = tf.io.gfile
    data = os.urandom(megabytes * MB)
    found: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        began = time.perf_counter()
        with gfile.GFile(f"{uri}/{turn}", "wb") as file:
            file.write(data)
        written = time.perf_counter()
        with gfile.GFile(f"{uri}/{turn}", "rb") as file:
            size = sum(len(block) for block in iter(lambda: file.read(16 * MB), b""))
        assert size == len(data)
        found.append((megabytes / (written - began), megabytes / (time.perf_counter() - written)))
    print(json.dumps(found[1:]))


if __name__ == "__main__":
    main()
