"""A user's own distributed search that trains no network: what it does it notes in files, for the test.

Files of the test's, in the current folder: ``hold`` keeps trials running; ``deadly`` names a trial that kills
its process; ``linger`` names a tuner that is slow to leave, and then asks the chief for the best.
"""

import os
import signal
import time
from pathlib import Path

from trainer_scripts import keras_tuner_cluster

cluster = keras_tuner_cluster.join(spare_worker=Path("spare").exists())

import keras_tuner  # noqa: E402

assert keras_tuner_cluster.join() is cluster  # as when two modules of a program need it


def names(file: str) -> str:
    return Path(file).read_text() if Path(file).exists() else ""


class Tuner(keras_tuner.Tuner):
    def run_trial(self, trial, *args, **kwargs):
        run = Path("runs") / f"{trial.trial_id}.{self.tuner_id}.{os.getpid()}"
        run.with_name(run.name + ".began").touch()
        if trial.trial_id == names("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        while Path("hold").exists():
            time.sleep(0.05)
        run.with_name(run.name + ".ended").touch()
        return (trial.hyperparameters.get("x") - 0.5) ** 2


space = keras_tuner.HyperParameters()
space.Float("x", 0, 1)
tuner = Tuner(
    keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("error", "min"), max_trials=6, hyperparameters=space, seed=1
    ),
    directory="mine",
    project_name="parabola",
    # A late worker would remove what the others have found.
    overwrite=not cluster.is_chief,
)
tuner.search()
if cluster.tuner_id == names("linger"):
    time.sleep(3)
print(
    f"{cluster.tuner_id} leaves at {time.time()}; best {tuner.get_best_hyperparameters()[0].values}",
    flush=True,
)
