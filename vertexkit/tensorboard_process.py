"""Runs TensorBoard in a process of its own, which ends when its standard input does.

TensorFlow is not loaded: that takes seconds, and TensorBoard shows scalars, images and graphs without.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from types import ModuleType
from typing import Final

__all__ = ["main"]


_GRACE_SECONDS: Final = 2.0
_OPTIONS: Final = ("--host", "127.0.0.1", "--port", "0", "--load_fast=false", "--reload_interval", "3")


def main() -> None:
    """Run TensorBoard on the folder that is the one argument, which goes with it."""
    folder = sys.argv[1]
    sys.argv[1:] = ["--logdir", folder, *_OPTIONS]
    # By this module TensorBoard knows that it is to do without TensorFlow, whether or not that is installed.
    marker = "tensorboard.compat.notf"
    sys.modules[marker] = ModuleType(marker)
    threading.Thread(target=_end_with_input, args=(folder,), name="end-with-input", daemon=True).start()
    from tensorboard import main as tensorboard_main

    tensorboard_main.run_main()


def _end_with_input(folder: str) -> None:
    """End this process when whoever holds the other end of its input has gone, however that ended."""
    while os.read(0, 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    # TensorBoard takes back, when it is told to end, what it has noted of itself in the temporary folder.
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
