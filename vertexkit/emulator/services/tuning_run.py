"""One search: its trials from the first to the last, each a CustomJob, and what comes of them.

Everything is kept as it happens. After the local Vertex AI was stopped the search goes on from there:
what had ended stays, and what was running is started again, under the same id and with the same parameters.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vertexkit._core.names import parse_resource_name
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.logs import SERVICE, JobLogs
from vertexkit.emulator.messages import (
    Execution,
    HyperparameterTuningJob,
    JobState,
    Raw,
    Trial,
)
from vertexkit.emulator.messages import TrialState as State
from vertexkit.emulator.services.custom_jobs import CustomJobs, Prepared, was_cut_short
from vertexkit.emulator.services.job_verdict import CANCELLED, ENDED, Verdict, failed
from vertexkit.emulator.services.study_spec import (
    measurement,
    measurement_message,
    parameter_values,
    study_config,
    values_of,
)
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.services.trial_memory import TrialMemory
from vertexkit.emulator.services.trial_metrics import TrialMetrics
from vertexkit.emulator.services.tuning_spec import TRIAL_SPEC, trial_job
from vertexkit.emulator.services.tuning_verdict import Failure, Tally
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import Measurement, ParameterValue, TrialRecord, TrialState

_LOGGER = logging.getLogger(__name__)

TUNING_JOBS = Kind("hyperparameterTuningJobs", HyperparameterTuningJob, "HyperparameterTuningJob")
TUNING_RUNS = Kind("hyperparameterTuningJobRuns", Execution, "Run of the HyperparameterTuningJob")
"""Beside each job, what its trials depend on and its resource does not say: a row of the same name."""
TRIALS = Kind("hyperparameterTuningJobTrials", Trial, "Trial")
"""The trials of a job; they are below it."""

_POLL_SECONDS: Final = 0.15
"""How often it is looked whether a trial has reported something."""


class Engine(Protocol):
    """What runs the trials' jobs."""

    def metrics(self, job_id: str) -> Path | None:
        """What the chief of a trial has reported; None for nothing."""

    def open_log(self, job_id: str) -> JobLogs:
        """The log of something that runs no replicas itself, to write to."""

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its log."""

    def end_family(self, family: str) -> None:
        """No more trials of a search are coming: let go of what starts them quicker."""


@dataclass(frozen=True)
class Means:
    """What every search uses."""

    store: Store
    jobs: CustomJobs
    engine: Engine
    memory: TrialMemory


@dataclass
class _Live:
    """A trial that has not ended."""

    trial: Raw
    values: Mapping[str, ParameterValue]
    metrics: TrialMetrics
    waits: bool = False
    """Whether it was cut short, and is to be started again."""
    cancelled: bool = False

    @property
    def id(self) -> str:
        return str(self.trial.id)

    @property
    def job_id(self) -> str:
        return parse_resource_name(self.trial.custom_job).id


class TuningRun:
    """One search, in a thread of its own.

    Args:
        name: The HyperparameterTuningJob, which is kept.
        means: What it uses.
        over: Called at the end, also when only the local Vertex AI ends.
    """

    def __init__(self, name: str, means: Means, over: Callable[[], None]) -> None:
        self._name = name
        self._id = parse_resource_name(name).id
        self._means = means
        self._over = over
        self._live: dict[str, _Live] = {}
        self._stopped_early: list[tuple[Raw, Mapping[str, ParameterValue]]] = []
        self._verdict: Verdict | None = None
        self._is_exhausted = False
        self._told_held = False
        self._stopped = threading.Event()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tuning-{self._id}", daemon=True)

    def start(self) -> None:
        """Begin, or go on."""
        self._thread.start()

    def wake(self) -> None:
        """Have it look at once: something has changed."""
        self._awake.set()

    def stop(self) -> None:
        """Leave everything as it is, because the local Vertex AI ends."""
        self._stopped.set()
        self._awake.set()

    def join(self) -> None:
        """Wait until it does nothing any more."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._restore()
            while not self._stopped.is_set():
                self._awake.clear()
                if self._step():
                    break
                self._awake.wait(_POLL_SECONDS)
        except Exception as broken:
            # A defect of ours: the job must end all the same, and say what happened.
            _LOGGER.exception("%s cannot go on", self._name)
            self._break_off(ApiError(Code.INTERNAL, f"{type(broken).__name__}: {broken}"))
        finally:
            self._means.memory.forget(self._name)
            self._over()

    def _restore(self) -> None:
        """Take up what is kept; nothing is for a new job."""
        job = self._means.store.get(TUNING_JOBS, self._name)
        self._parallel = job.parallel_trial_count
        self._config = study_config(job.study_spec, "study_spec")
        self._tally = Tally(self._config, job.max_trial_count, job.max_failed_trial_count)
        records = []
        # As they have ended: the first that failed, and the last, are told of.
        for trial in sorted(self._means.store.all(TRIALS, self._name), key=_ended_at):
            self._tally.count += 1
            values = values_of(self._config, trial.parameters)
            stopped = False
            if trial.state == State.SUCCEEDED:
                self._tally.succeeded += 1
                found = self._means.jobs.find(trial.custom_job)
                stopped = found is not None and not _is_whole(found)
                if stopped:
                    self._stopped_early.append((trial, values))
            elif trial.state == State.INFEASIBLE:
                self._tally.failures.append(Failure(trial.id, values, trial.infeasible_reason))
            else:
                self._take_up(trial, values)
            records.append(_record(trial, values, stopped=stopped))
        self._engine = StudyEngine(self._config, records, seed=int(self._id) % 2**32)
        if records:
            done = "1 trial" if len(records) == 1 else f"{len(records)} trials"
            self._say(f"The local Vertex AI was stopped: the search goes on after {done}.")

    def _take_up(self, trial: Raw, values: Mapping[str, ParameterValue]) -> None:
        """Go on with a trial that was running when the local Vertex AI was stopped."""
        before = tuple(map(measurement, trial.measurements))
        live = _Live(trial, values, TrialMetrics(self._config, before))
        self._live[live.id] = live
        self._means.memory.started(self._name, live.job_id)

    def _step(self) -> bool:
        """Do what there is to do now; whether the job has ended."""
        means = self._means
        job = means.store.get(TUNING_JOBS, self._name)
        if self._verdict is None and job.state == JobState.JOB_STATE_CANCELLING:
            self._verdict = CANCELLED
        means.memory.look()
        for live in list(self._live.values()):
            self._look_at(live)
        if self._verdict is None:
            self._verdict = self._tally.too_many_failures()
        if self._verdict is None:
            try:
                self._launch(job)
            except ApiError as refused:
                self._verdict = failed(refused)
        if self._verdict is not None:
            self._cancel_all()
        if self._live:
            return False
        self._finish(self._verdict or self._tally.at_the_end())
        return True

    # One trial

    def _look_at(self, live: _Live) -> None:
        """See what has come of a trial."""
        if live.waits:
            return
        trial = live.trial
        job = self._means.jobs.find(trial.custom_job)
        if job is None:
            self._complete(live, f"The CustomJob {trial.custom_job} of the trial was deleted.", None)
            return
        ended = job.state in ENDED
        if was_cut_short(job) and trial.state == State.ACTIVE and self._verdict is None:
            live.waits = True
            self._means.memory.ended(self._name, live.job_id, succeeded=False)
            return
        changed = False
        if job.HasField("start_time") and not trial.HasField("start_time"):
            trial.start_time.CopyFrom(job.start_time)
            self._set_running(job)
            changed = True
        started = (job.start_time if job.HasField("start_time") else job.create_time).ToNanoseconds() / 1e9
        if live.metrics.read(self._means.engine.metrics(live.job_id), started=started, ended=ended):
            del trial.measurements[:]
            trial.measurements.extend(map(measurement_message, live.metrics.measurements))
            changed = True
        if ended:
            self._complete(live, self._failure(trial, job), job)
        elif changed:
            self._means.store.replace(TRIALS, trial)
            record = _record(trial, live.values)
            self._engine.update(record)
            if trial.state == State.ACTIVE and self._verdict is None and self._engine.should_stop(record):
                self._stop(live)

    def _stop(self, live: _Live) -> None:
        """End a trial that promises nothing; what it has reported counts."""
        live.trial.state = State.STOPPING
        self._keep(live.trial)
        self._engine.update(_record(live.trial, live.values, stopped=True))
        self._say(f"Trial {live.id} is stopped early.")
        self._cancel(live)

    def _failure(self, trial: Raw, job: Raw) -> str:
        """Why a trial whose job has ended has failed, if it is for its job."""
        if job.state == JobState.JOB_STATE_SUCCEEDED or trial.state == State.STOPPING:
            return ""
        if self._verdict is not None:
            return "The trial was ended with its HyperparameterTuningJob."
        if job.state == JobState.JOB_STATE_CANCELLED and job.error.message == "CANCELED":
            return f"The CustomJob {job.name} of the trial was cancelled."
        return str(job.error.message)

    def _complete(self, live: _Live, reason: str, job: Raw | None) -> None:
        """End a trial.

        Args:
            live: The trial.
            reason: Why it has failed; empty if that depends on what it has reported.
            job: Its job; None if there is none any more.
        """
        trial = live.trial
        # It may have come to its end before it could be stopped.
        stopped = trial.state == State.STOPPING and not (job is not None and _is_whole(job))
        final: Measurement | None = None
        if not reason:
            reason = live.metrics.problem()
            record = _record(trial, live.values, stopped=stopped)
            final = self._engine.predicted(record) if stopped and not reason else None
            if final is not None:
                trial.measurements.append(measurement_message(final))
            else:
                final = self._engine.final_measurement(record)
            if final is None and not reason:
                names = " and ".join(f'"{metric.id}"' for metric in self._config.metrics)
                reason = f"The trial did not report {names} for the same step."
        if reason:
            trial.state, trial.infeasible_reason = State.INFEASIBLE, reason
        else:
            assert final is not None
            trial.state = State.SUCCEEDED
            trial.final_measurement.CopyFrom(measurement_message(final))
        if job is not None and job.HasField("end_time"):
            trial.end_time.CopyFrom(job.end_time)
        else:
            set_now(trial.end_time)
        self._keep(trial)
        del self._live[live.id]
        self._means.memory.ended(self._name, live.job_id, succeeded=not reason)
        self._engine.update(_record(trial, live.values, stopped=stopped))
        if reason:
            self._tally.failures.append(Failure(live.id, live.values, reason))
            self._say(f"Trial {live.id} is infeasible: {reason}")
        else:
            self._tally.succeeded += 1
            self._predict_again()
            if stopped:
                self._stopped_early.append((trial, live.values))

    def _predict_again(self) -> None:
        """Say anew what trials that were stopped early would have come to, where the study asks for that."""
        stopping = self._config.stopping
        if stopping is None or not stopping.update_all_stopped_trials:
            return
        for trial, values in self._stopped_early:
            record = _record(trial, values, stopped=True)
            final = self._engine.predicted(record)
            if final is None or final == record.final:
                continue
            if record.measurements[-1] == record.final:
                del trial.measurements[-1]
            trial.measurements.append(measurement_message(final))
            trial.final_measurement.CopyFrom(trial.measurements[-1])
            self._keep(trial)
            self._engine.update(_record(trial, values, stopped=True))

    # All trials

    def _launch(self, job: Raw) -> None:
        """Start as many trials as there may be."""
        while sum(not live.waits for live in self._live.values()) < self._parallel:
            waiting = next((live for live in self._live.values() if live.waits), None)
            if waiting is None and (self._is_exhausted or self._tally.count >= self._tally.max_trials):
                return
            refusal = self._means.memory.refusal(self._name)
            if refusal:
                if not self._told_held:
                    self._told_held = True
                    self._say(f"{refusal} The job asks for {self._parallel} at a time.")
                return
            if waiting is not None:
                self._start_again(job, waiting)
            else:
                self._start_new(job)
        self._told_held = False

    def _start_new(self, job: Raw) -> None:
        suggested = self._engine.suggest(1)
        if not suggested:
            self._is_exhausted = True
            self._say(f"There is nothing left to try after {self._tally.count} trials.")
            return
        values = suggested[0]
        trial_id = str(self._tally.count + 1)
        trial = Trial(
            name=f"{self._name}/trials/{trial_id}",
            id=trial_id,
            state=State.ACTIVE,
            parameters=parameter_values(self._config, values),
        )
        prepared = self._prepared(job, trial, values)
        store = self._means.store
        with store.transaction():
            store.insert(TRIALS, self._name, trial)
            self._means.jobs.add(prepared)
            self._touch()
        self._tally.count += 1
        live = _Live(trial, values, TrialMetrics(self._config))
        self._live[trial_id] = live
        self._engine.update(_record(trial, values))
        self._begin(live, prepared)

    def _start_again(self, job: Raw, live: _Live) -> None:
        """Start a trial from its beginning that was cut short: the same one, in a new job."""
        prepared = self._prepared(job, live.trial, live.values)
        clear(live.trial)
        with self._means.store.transaction():
            self._means.jobs.add(prepared)
            self._keep(live.trial)
        live.metrics = TrialMetrics(self._config)
        live.waits = False
        self._engine.update(_record(live.trial, live.values))
        self._say(f"Trial {live.id} is started again.")
        self._begin(live, prepared)

    def _prepared(self, job: Raw, trial: Raw, values: Mapping[str, ParameterValue]) -> Prepared:
        """The job of a trial, which is told to the trial."""
        name = parse_resource_name(self._name)
        project = self._means.store.get(TUNING_RUNS, self._name).metadata["project"]
        prepared = self._means.jobs.prepare(
            f"projects/{project}/locations/{name.location}",
            trial_job(job, trial.id, self._config, values),
            owner=self._name,
            trial_id=trial.id,
            path=TRIAL_SPEC,
        )
        trial.custom_job = prepared.job.name
        return prepared

    def _begin(self, live: _Live, prepared: Prepared) -> None:
        self._means.memory.started(self._name, live.job_id)
        self._means.jobs.begin(prepared)

    def _cancel_all(self) -> None:
        """Have every trial end."""
        for live in list(self._live.values()):
            if live.waits:
                self._complete(live, "The trial was ended with its HyperparameterTuningJob.", None)
            elif not live.cancelled:
                self._cancel(live)

    def _cancel(self, live: _Live) -> None:
        live.cancelled = True
        with contextlib.suppress(ApiError):
            # It may have been deleted, which is seen the next time.
            self._means.jobs.cancel(live.trial.custom_job)

    # The job

    def _set_running(self, trial_job: Raw) -> None:
        with self._means.store.transaction():
            job = self._means.store.get(TUNING_JOBS, self._name)
            if job.state == JobState.JOB_STATE_PENDING:
                job.state = JobState.JOB_STATE_RUNNING
                job.start_time.CopyFrom(trial_job.start_time)
            self._means.store.replace(TUNING_JOBS, job)

    def _finish(self, verdict: Verdict) -> None:
        self._means.engine.end_family(self._name)
        with self._means.store.transaction():
            job = self._means.store.get(TUNING_JOBS, self._name)
            verdict.write(job)
            self._means.store.replace(TUNING_JOBS, job)

    def _break_off(self, error: ApiError) -> None:
        """End without being able to wait for the trials."""
        # As they are kept: it may be taking them up that does not go on.
        trials: list[Raw] = []
        with contextlib.suppress(Exception):
            trials = list(self._means.store.all(TRIALS, self._name))
        for trial in trials:
            if trial.state in (State.SUCCEEDED, State.INFEASIBLE):
                continue
            with contextlib.suppress(Exception):
                self._means.jobs.cancel(trial.custom_job)
            trial.state, trial.infeasible_reason = State.INFEASIBLE, error.message
            set_now(trial.end_time)
            with contextlib.suppress(Exception):
                self._keep(trial)
        with contextlib.suppress(ApiError):
            self._finish(failed(error))

    def _keep(self, trial: Raw) -> None:
        with self._means.store.transaction():
            self._means.store.replace(TRIALS, trial)
            self._touch()

    def _touch(self) -> None:
        """Have the job updated: a part of it has changed."""
        job = self._means.store.get(TUNING_JOBS, self._name)
        self._means.store.replace(TUNING_JOBS, job)

    def _say(self, text: str) -> None:
        self._means.engine.open_log(self._id).append(SERVICE, text)


def clear(trial: Raw) -> None:
    """Forget what a trial did that is begun anew."""
    trial.ClearField("start_time")
    trial.ClearField("measurements")


def _ended_at(trial: Raw) -> int:
    """When a trial ended, in nanoseconds; 0 for one that has not."""
    return int(trial.end_time.ToNanoseconds())


def _is_whole(job: Raw) -> bool:
    """Whether a trial that has a result ran to its end: else it was stopped early, whatever ended its job."""
    return bool(job.state == JobState.JOB_STATE_SUCCEEDED)


def _record(trial: Raw, values: Mapping[str, ParameterValue], *, stopped: bool = False) -> TrialRecord:
    """A trial as the tuning engine has it."""
    return TrialRecord(
        id=int(trial.id),
        state=TrialState(State(trial.state).name),
        parameters=values,
        measurements=tuple(map(measurement, trial.measurements)),
        final=measurement(trial.final_measurement) if trial.HasField("final_measurement") else None,
        stopped=stopped,
    )
