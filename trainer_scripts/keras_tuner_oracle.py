"""What a supervised, resumable search needs of Keras Tuner beyond its public face; made for 1.4.

Imports Keras Tuner, and with it TensorFlow: only once the environment is as they are to find it.
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from keras_tuner.src import protos, utils
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.engine import base_tuner
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from keras_tuner.src.engine.oracle import Oracle
from keras_tuner.src.engine.trial import Trial

from trainer_scripts.keras_tuner_child import CHIEF, Tie
from trainer_scripts.keras_tuner_supervisor import connect

MAX_DEATHS = 3
"""A trial that ended its process so often has failed: it may be what kills it."""

_IDLE_SECONDS = 0.2


def prepare(tuner_id: str, place: Callable[[str], str], tie: Tie) -> None:
    """Change Keras Tuner in this process.

    Args:
        tuner_id: Who this process is; empty for one that searches alone.
        place: Tells where a directory lies that a tuner was given, "" if none was.
        tie: To the process that watches over this one.
    """
    _save_whole_files()
    _resume_each_trial_once()
    _note_beginnings()
    _place_directories(place, may_overwrite=tuner_id in ("", CHIEF))
    if tuner_id == CHIEF:
        oracle_chief.start_server = functools.partial(serve, tie=tie)
    elif tuner_id:
        _wait_for_the_chief()


def serve(oracle: Any, tie: Tie) -> None:
    """Answer the workers until all have left. Keras Tuner's own leaves when there are no trials any more.

    As long as answers come to an end, whoever watches over this process is told so.

    Raises:
        RuntimeError: The search cannot go on.
    """
    address = f"{_bracketed(os.environ['KERASTUNER_ORACLE_IP'])}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    # One thread, because a call that fails keeps the oracle's lock, which only the same thread may pass.
    answering = ThreadPoolExecutor(max_workers=1)
    server = grpc.server(answering)
    servicer = _servicer()(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    if not server.add_insecure_port(address):
        raise RuntimeError(f"The chief cannot listen at {address}.")
    server.start()
    print(f"The chief hands out trials at {address}", flush=True)
    try:
        turn = answering.submit(tie.beat)
        while not tie.leave.wait(0.1):
            if turn.done():
                turn = answering.submit(tie.beat)
            if servicer.failure is not None:
                raise RuntimeError(f"The search cannot go on: {servicer.failure}") from servicer.failure
    finally:
        server.stop(grace=None).wait()


def _servicer() -> type[Any]:
    class Servicer(oracle_chief.OracleServicer):  # type: ignore[misc]
        """Keras Tuner's, which also knows that processes die."""

        def __init__(self, oracle: Any) -> None:
            super().__init__(oracle)
            self.failure: Exception | None = None
            self._deaths: Counter[str] = Counter()

        def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            # A tuner has one trial at a time: who asks for another before the end of one is a new process.
            trial = self.oracle.ongoing_trials.get(request.tuner_id)
            if trial is not None:
                self._begin_again(trial, request.tuner_id)
            return super().CreateTrial(request, context)

        def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
            try:
                return super().EndTrial(request, context)
            except RuntimeError as error:  # too many trials failed
                self.failure = error
                raise

        def _begin_again(self, trial: Any, tuner_id: str) -> None:
            """Let the oracle give the trial to the same tuner once more, as a new one."""
            self._deaths[trial.trial_id] += 1
            deaths = self._deaths[trial.trial_id]
            if deaths < MAX_DEATHS:
                print(f"Trial {trial.trial_id} starts again: the process of {tuner_id} ended", flush=True)
                trial.metrics, trial.began = MetricsTracker(), time.time()
                return
            trial.status = "FAILED"
            trial.message = f"The process that ran this trial was killed {deaths} times."
            print(f"Trial {trial.trial_id} failed. {trial.message}", flush=True)
            try:
                self.oracle.end_trial(trial)
            except RuntimeError as error:
                self.failure = error
                raise

    return Servicer


def _wait_for_the_chief() -> None:
    """Let workers wait as long as the chief takes: their parent knows when there is none any more."""
    begin, create = oracle_client.OracleClient.__init__, oracle_client.OracleClient.create_trial
    oracle_client.TIMEOUT = None

    @functools.wraps(begin)
    def begin_when_there(self: Any, oracle: Any) -> None:
        # gRPC, once refused, waits up to two minutes before it tries again.
        address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"])
        told = False
        while not _answers(address):
            if not told:
                print(f"Waiting for the chief at {address[0]}:{address[1]}", flush=True)
            told = True
            time.sleep(0.2)
        begin(self, oracle)

    @functools.wraps(create)
    def create_unhurried(self: Any, tuner_id: str) -> Any:
        trial = create(self, tuner_id)
        if trial.status == "IDLE":
            time.sleep(_IDLE_SECONDS)  # the tuner asks again at once
        return trial

    oracle_client.OracleClient.__init__ = begin_when_there
    oracle_client.OracleClient.create_trial = create_unhurried


def _answers(address: tuple[str, int]) -> bool:
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def _place_directories(place: Callable[[str], str], *, may_overwrite: bool) -> None:
    """Keep tuners where all replicas see them, and a late worker from removing what the others have done."""
    begin = base_tuner.BaseTuner.__init__
    signature = inspect.signature(begin)

    @functools.wraps(begin)
    def begin_there(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.arguments["directory"] = place(str(given.arguments.get("directory") or ""))
        if not may_overwrite:
            given.arguments["overwrite"] = False
        begin(*given.args, **given.kwargs)

    base_tuner.BaseTuner.__init__ = begin_there


def _save_whole_files() -> None:
    """Write a file beside the old one, then in its place: a search may be killed, or read, at any moment."""
    save = utils.save_json

    @functools.wraps(save)
    def save_whole(path: str, obj: Any) -> Any:
        if "://" in str(path):
            return save(path, obj)  # an object is there when it is whole
        beside = f"{path}.{os.getpid()}"
        saved = save(beside, obj)
        Path(beside).replace(path)
        return saved

    utils.save_json = save_whole


def _note_beginnings() -> None:
    """Keep when a trial was begun, which Keras Tuner does not; it ended when its file was last written."""
    begin, state, restore = Trial.__init__, Trial.get_state, Trial.set_state

    @functools.wraps(begin)
    def begin_now(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.began = time.time()

    @functools.wraps(state)
    def state_with_beginning(self: Any) -> dict[str, Any]:
        return {**state(self), "began": self.began}

    @functools.wraps(restore)
    def restore_with_beginning(self: Any, kept: dict[str, Any]) -> None:
        restore(self, kept)
        self.began = kept.get("began", self.began)

    Trial.__init__, Trial.get_state, Trial.set_state = begin_now, state_with_beginning, restore_with_beginning


def _resume_each_trial_once() -> None:
    """Take up a search that was killed at any moment: a trial is saved before the list of all trials is."""
    reload = Oracle.reload

    @functools.wraps(reload)
    def reload_each_once(self: Any) -> None:
        reload(self)
        for trial_id in self.trials.keys() - set(self.start_order):
            del self.trials[trial_id]  # was about to start: its number is given again
        over = {id_ for id_, trial in self.trials.items() if trial.status in ("COMPLETED", "FAILED")}
        self.end_order += [id_ for id_ in self.start_order if id_ in over and id_ not in self.end_order]
        waiting = dict.fromkeys(self._retry_queue) | dict.fromkeys(self.start_order)
        self._retry_queue = [id_ for id_ in waiting if id_ not in over]
        for id_ in self._retry_queue:
            # Else those of the first attempt would stay.
            self.trials[id_].metrics, self.trials[id_].began = MetricsTracker(), time.time()

    Oracle.reload = reload_each_once


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
