"""Runs TensorBoard in a process of its own, which ends when its standard input does.

TensorFlow is not loaded: that takes seconds, and TensorBoard shows scalars, images and graphs without.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType

__all__ = ["main"]


def main() -> None:
    """Run TensorBoard with the arguments of the command line."""
    # By this module TensorBoard knows that it is to do without TensorFlow, whether or not that is installed.
    marker = "tensorboard.compat.notf"
    sys.modules[marker] = ModuleType(marker)
    threading.Thread(target=_end_with_input, name="end-with-input", daemon=True).start()
    from tensorboard import main as tensorboard_main

    tensorboard_main.run_main()


def _end_with_input() -> None:
    """End this process when whoever holds the other end of its input has gone, however that ended."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
