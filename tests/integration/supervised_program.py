"""A replica of a search without Keras Tuner, to watch how its processes are kept."""

import os
import signal
import sys
import time
from pathlib import Path

from trainer_scripts import keras_tuner_child
from trainer_scripts.environment import read_environment
from trainer_scripts.keras_tuner_child import CHIEF, this_child
from trainer_scripts.keras_tuner_supervisor import supervise

environment = read_environment()
name = CHIEF if environment.is_chief else f"worker{environment.task.index}"
child = this_child()
if child is None:
    if Path("impatient").exists():
        keras_tuner_child.HANG_SECONDS = 3
    sys.exit(supervise(environment, {name: {"ADDED": "yes"}}, max_restarts=1))
assert child[0] == name and os.environ["ADDED"] == "yes"
if Path(f"{name}.stubborn").exists():
    signal.signal(signal.SIGTERM, lambda *_: Path(f"{name}.terminated").touch())
Path(f"{name}.{os.getpid()}.pid").touch()
tie = child[1]
while not (tie.leave.is_set() or Path(f"{name}.do").exists()):
    if name == CHIEF and not Path("mute").exists():
        tie.beat()
    time.sleep(0.02)
if tie.leave.is_set():
    print("the chief leaves", flush=True)
else:
    sys.exit(int(Path(f"{name}.do").read_text()))
