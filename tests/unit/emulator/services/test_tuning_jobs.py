"""HyperparameterTuningJobs: how a search goes, on an engine that does as the test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from local_jobs import LocalJobs, ToldEngine, job_spec, python_package, worker_pool
from local_services import PARENT, raw

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.types import EndKind
from vertexkit.emulator.services.trial_memory import TrialMemory
from vertexkit.emulator.services.tuning_run import TRIALS, TUNING_JOBS
from vertexkit.emulator.store import Kind, Store

State = types.Trial.State


class Searches:
    """The tuning jobs of one emulator after another, on the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reports = 0
        self.jobs = LocalJobs(folder, ToldEngine())

    @property
    def engine(self) -> ToldEngine:
        return self.jobs.engine

    def restart(self, **trials: Any) -> None:
        files = self.engine.metric_files
        self.jobs.close()
        engine = ToldEngine()
        engine.metric_files = files
        self.jobs = LocalJobs(self._folder, engine)

    def create(self, **fields: Any) -> str:
        spec = fields.pop("study_spec", {})
        job = {
            "display_name": "search",
            "study_spec": {
                "metrics": [{"metric_id": "score", "goal": "MAXIMIZE"}],
                "parameters": [
                    {"parameter_id": "x", "double_value_spec": {"min_value": 0, "max_value": 1}},
                    {"parameter_id": "n", "integer_value_spec": {"min_value": 1, "max_value": 9}},
                ],
                **spec,
            },
            "trial_job_spec": job_spec(),
            "max_trial_count": 4,
            "parallel_trial_count": 2,
            **fields,
        }
        created = self.jobs.service.CreateHyperparameterTuningJob(
            raw(types.CreateHyperparameterTuningJobRequest(parent=PARENT, hyperparameter_tuning_job=job))
        )
        return str(created.name)

    def get(self, name: str) -> Any:
        return self.jobs.service.GetHyperparameterTuningJob(
            raw(types.GetHyperparameterTuningJobRequest(name=name))
        )

    def list(self, **fields: Any) -> Any:
        return self.jobs.service.ListHyperparameterTuningJobs(
            raw(types.ListHyperparameterTuningJobsRequest(parent=PARENT, **fields))
        ).hyperparameter_tuning_jobs

    def cancel(self, name: str) -> None:
        self.jobs.service.CancelHyperparameterTuningJob(
            raw(types.CancelHyperparameterTuningJobRequest(name=name))
        )

    def delete(self, name: str) -> Any:
        return self.jobs.service.DeleteHyperparameterTuningJob(
            raw(types.DeleteHyperparameterTuningJobRequest(name=name))
        )

    def until(self, name: str, condition: Callable[[Any], Any]) -> Any:
        deadline = time.monotonic() + 30
        while not condition(job := self.get(name)):
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job

    def begun(self, name: str, count: int) -> Any:
        """The search once so many trials have been begun."""
        return self.until(
            name,
            lambda job: len(job.trials) == count
            and all(trial.custom_job.rpartition("/")[2] in self.engine.watchers for trial in job.trials
                    if trial.state == State.ACTIVE),
        )  # fmt: skip

    def ended(self, name: str) -> Any:
        return self.until(name, lambda job: job.HasField("end_time"))

    def report(self, trial: Any, *values: float, first_step: int = 1) -> None:
        """Have a trial report values, at one step after another."""
        file = self._folder / f"{trial.custom_job.rpartition('/')[2]}.metrics"
        lines = file.read_text() if file.exists() else ""
        for step, value in enumerate(values, first_step):
            self._reports += 1
            report = {"score": str(value), "global_step": str(step), "timestamp": time.time() + self._reports}
            lines += json.dumps(report) + "\n"
        file.write_text(lines)
        self.engine.metric_files[trial.custom_job.rpartition("/")[2]] = file

    def end(self, trial: Any, kind: EndKind = EndKind.SUCCEEDED, message: str = "", **fields: Any) -> None:
        self.jobs.run(trial.custom_job)
        self.jobs.end(trial.custom_job, kind, message, **fields)

    def finish(self, name: str, index: int, *values: float) -> None:
        """Have a trial report, and end."""
        trial = self.get(name).trials[index]
        self.report(trial, *values)
        self.end(trial)
        self.until(name, lambda job: job.trials[index].state in (State.SUCCEEDED, State.INFEASIBLE))

    def finish_whole(self, name: str, index: int, gain: float) -> None:
        """Have a trial report a curve of ten steps, and end."""
        self.begun(name, index + 1)
        self.finish(name, index, *[0.1 * step + gain * max(0, step - 3) for step in range(1, 11)])

    def with_one_to_stop(self) -> str:
        """A search of seven trials whose fifth is being stopped by the convex rule, after three steps."""
        rule = {"max_step_count": 10, "min_measurement_count": 2, "update_all_stopped_trials": True}
        name = self.create(
            study_spec={"convex_automated_stopping_spec": rule}, max_trial_count=7, parallel_trial_count=1
        )
        for index in range(4):
            self.finish_whole(name, index, -0.095)
        trial = self.begun(name, 5).trials[4]
        self.jobs.run(trial.custom_job)
        self.report(trial, 0.01, 0.03, 0.05)
        self.until(name, lambda job: job.trials[4].state == State.STOPPING)
        return name

    def said(self, name: str) -> list[str]:
        return [text.removeprefix("service: ") for text in self.jobs.log(name)]


@pytest.fixture
def searches(tmp_path: Path) -> Iterator[Searches]:
    one = Searches(tmp_path)
    yield one
    one.jobs.close()


def states(job: Any) -> list[str]:
    return [State(trial.state).name for trial in job.trials]


def values(trial: Any) -> dict[str, float]:
    return {parameter.parameter_id: parameter.value.number_value for parameter in trial.parameters}


def test_every_pool_of_a_trial_gets_the_parameters_and_the_trials_place(searches: Searches) -> None:
    pool = worker_pool(python_package_spec=python_package(args=["--mine"]))
    spec = {
        "worker_pool_specs": [pool, {**pool, "replica_count": 2}, {}, pool],
        "base_output_directory": {"output_uri_prefix": "gs://jobs/out"},
    }
    name = searches.create(trial_job_spec=spec, labels={"team": "vision"}, display_name="s" * 128)
    job = searches.begun(name, 2)
    for trial in job.trials:
        given = values(trial)
        told = searches.jobs.spec(trial.custom_job)
        assert told.trial_id == trial.id
        assert told.base_output_uri == "gs://jobs/out"
        assert [None if one is None else one.args for one in told.pools] == [
            arguments := ("--mine", f"--x={given['x']!r}", f"--n={int(given['n'])}"),
            arguments,
            None,
            arguments,
        ]
        custom = searches.jobs.job(trial.custom_job)
        assert custom.labels == {"team": "vision"}
        assert len(custom.display_name) == 128 and custom.display_name.endswith(f"s-trial-{trial.id}")
        assert not trial.name and not trial.HasField("start_time")
    assert job.state == types.JobState.JOB_STATE_PENDING


def test_a_search_runs_from_the_first_start_of_a_trial_to_the_end_of_the_last(searches: Searches) -> None:
    name = searches.create(max_trial_count=2)
    job = searches.begun(name, 2)
    searches.jobs.run(job.trials[1].custom_job)
    job = searches.until(name, lambda job: job.state == types.JobState.JOB_STATE_RUNNING)
    assert job.trials[1].start_time == job.start_time
    for index in (1, 0):
        searches.finish(name, index, 1.0)
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    assert states(job) == ["SUCCEEDED", "SUCCEEDED"]
    assert not job.HasField("error")


def test_what_is_wrong_with_the_trials_is_wrong_with_the_job(searches: Searches) -> None:
    def refused(**fields: Any) -> ApiError:
        with pytest.raises(ApiError) as caught:
            searches.create(**fields)
        assert not searches.list() and not searches.jobs.list().custom_jobs
        return caught.value

    pool = worker_pool(python_package_spec=python_package(package_uris=["gs://jobs/none.whl"]))
    error = refused(trial_job_spec={"worker_pool_specs": [pool]})
    where = "hyperparameter_tuning_job.trial_job_spec.worker_pool_specs[0].python_package_spec"
    assert f"{where}.package_uris[0]; Message: gs://jobs/none.whl does not exist" in error.message
    error = refused(max_trial_count=0, parallel_trial_count=0, max_failed_trial_count=-1)
    assert error.message.count("Field: ") == 3
    assert "trial_job_spec; Message: Required" in refused(trial_job_spec=None).message
    assert "study_spec.metrics; Message: Required" in refused(study_spec={"metrics": []}).message
    assert refused(encryption_spec={"kms_key_name": "k"}).code is Code.UNIMPLEMENTED
    safety = [{"metric_id": "m", "safety_config": {"safety_threshold": 1}}]
    assert "safety_config" in refused(study_spec={"metrics": safety}).message
    searches.engine.refuses = "not here"
    assert refused().message == "not here"


def test_a_search_whose_trials_cannot_be_read_fails(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = Store.all

    def unreadable(self: Store, kind: Kind, *where: str) -> Any:
        if kind is TRIALS and threading.current_thread().name.startswith("tuning-"):
            raise OSError("the disk is gone")
        return everything(self, kind, *where)

    monkeypatch.setattr(Store, "all", unreadable)
    job = searches.ended(searches.create())
    assert job.state == types.JobState.JOB_STATE_FAILED
    assert "the disk is gone" in job.error.message


def test_a_job_fails_when_nothing_that_it_has_tried_succeeds(searches: Searches) -> None:
    name = searches.create(max_trial_count=50, parallel_trial_count=1)
    for number in range(1, 11):
        job = searches.begun(name, number)
        searches.end(job.trials[-1], EndKind.FAILED, f"no {number}", replica="workerpool0-0")
        searches.until(name, lambda job: job.trials[number - 1].state == State.INFEASIBLE)  # noqa: B023
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_FAILED
    assert job.error.code == Code.INVALID_ARGUMENT.number
    assert "Trial #1 Failed before any other successful trials" in job.error.message
    assert "completed (10 trials have failed). " in job.error.message
    assert job.error.message.endswith("was: no 1")
    assert [trial.infeasible_reason for trial in job.trials] == [f"no {number}" for number in range(1, 11)]


def test_the_first_that_failed_is_told_of_after_a_restart_too(searches: Searches) -> None:
    name = searches.create(max_trial_count=3)
    one, two = searches.begun(name, 2).trials
    searches.end(two, EndKind.FAILED, "too hot", replica="workerpool0-0")
    searches.begun(name, 3)
    searches.end(one, EndKind.FAILED, "too cold", replica="workerpool0-0")
    searches.until(name, lambda job: states(job) == ["INFEASIBLE", "INFEASIBLE", "ACTIVE"])
    searches.restart()
    third = searches.until(
        name, lambda job: job.trials[2].custom_job.rpartition("/")[2] in searches.engine.watchers
    ).trials[2]
    searches.end(third, EndKind.FAILED, "too late", replica="workerpool0-0")
    message = searches.ended(name).error.message
    assert "Trial #2 Failed before" in message and "too hot" in message


def test_one_success_is_enough_where_it_is_not_said_how_many_may_fail(searches: Searches) -> None:
    name = searches.create(max_trial_count=12, parallel_trial_count=1)
    searches.begun(name, 1)
    searches.finish(name, 0, 1.0)
    for number in range(2, 13):
        job = searches.begun(name, number)
        searches.end(job.trials[-1], EndKind.FAILED, "no", replica="workerpool0-0")
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    assert states(job) == ["SUCCEEDED"] + ["INFEASIBLE"] * 11


def test_a_trial_is_stopped_early_and_its_curve_predicted_by_the_convex_rule(searches: Searches) -> None:
    name = searches.create(
        study_spec={
            "convex_automated_stopping_spec": {
                "max_step_count": 10,
                "min_step_count": 1,
                "min_measurement_count": 2,
            }
        },
        max_trial_count=5,
        parallel_trial_count=1,
    )
    for index in range(4):
        searches.begun(name, index + 1)
        searches.finish(name, index, *[0.1 * step for step in range(1, 11)])
    job = searches.begun(name, 5)
    last = job.trials[4]
    searches.jobs.run(last.custom_job)
    searches.report(last, 0.01, 0.02, 0.021)
    searches.until(name, lambda job: job.trials[4].state == State.STOPPING)
    assert searches.engine.cancelled == [last.custom_job.rpartition("/")[2]]
    searches.end(last, EndKind.CANCELLED)
    job = searches.ended(name)
    last = job.trials[4]
    assert State(last.state).name == "SUCCEEDED" and not last.infeasible_reason
    assert [one.step_count for one in last.measurements] == [1, 2, 3, 10]
    assert last.final_measurement == last.measurements[-1]
    assert 0.01 <= last.final_measurement.metrics[0].value < 0.5
    assert "Trial 5 is stopped early." in searches.said(name)


def test_what_stopped_trials_would_have_come_to_is_said_anew_where_that_is_asked_for(
    searches: Searches,
) -> None:
    name = searches.with_one_to_stop()
    searches.end(searches.get(name).trials[4], EndKind.CANCELLED)
    before = searches.begun(name, 6).trials[4]
    searches.finish_whole(name, 5, -0.1)
    after = searches.begun(name, 7).trials[4]
    assert after.final_measurement != before.final_measurement
    assert [one.step_count for one in after.measurements] == [1, 2, 3, 10]
    assert after.final_measurement == after.measurements[-1]
    assert after.measurements[:3] == before.measurements[:3]
    searches.restart()
    searches.finish_whole(name, 6, -0.09)
    again = searches.ended(name).trials[4]
    assert again.final_measurement != after.final_measurement
    assert [one.step_count for one in again.measurements] == [1, 2, 3, 10]


@pytest.mark.parametrize("kind", [EndKind.SUCCEEDED, EndKind.FAILED])
def test_nothing_is_predicted_for_a_trial_that_succeeded_before_it_could_be_stopped(
    searches: Searches, kind: EndKind
) -> None:
    whole = kind is EndKind.SUCCEEDED
    name = searches.with_one_to_stop()
    searches.end(searches.get(name).trials[4], kind)
    before = searches.begun(name, 6).trials[4]
    assert [one.step_count for one in before.measurements] == [1, 2, 3] + [10] * (not whole)
    assert before.final_measurement == before.measurements[-1]
    # The next start sees it in the same way.
    searches.restart()
    searches.finish_whole(name, 5, -0.1)
    after = searches.begun(name, 7).trials[4]
    assert (after.final_measurement == before.final_measurement) is whole
    assert [one.step_count for one in after.measurements] == [1, 2, 3] + [10] * (not whole)


def test_a_trial_whose_job_is_cancelled_or_deleted_by_somebody_is_infeasible(searches: Searches) -> None:
    name = searches.create(max_trial_count=3, parallel_trial_count=3)
    job = searches.begun(name, 3)
    cancelled, late, fine = job.trials
    searches.jobs.cancel(cancelled.custom_job)
    searches.end(cancelled, EndKind.CANCELLED)
    searches.end(late, EndKind.TIMED_OUT, "The job ran longer than its timeout of 5 s, and was ended.")
    searches.report(fine, 1.0)
    searches.end(fine)
    job = searches.ended(name)
    assert states(job) == ["INFEASIBLE", "INFEASIBLE", "SUCCEEDED"]
    assert "was cancelled" in job.trials[0].infeasible_reason
    assert "longer than its timeout" in job.trials[1].infeasible_reason


def test_a_job_that_cannot_be_started_makes_its_trial_infeasible(searches: Searches) -> None:
    searches.engine.breaks = "no more processes"
    name = searches.create(max_trial_count=1, parallel_trial_count=1)
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_FAILED
    assert "no more processes" in job.trials[0].infeasible_reason


def test_a_package_that_is_gone_in_the_middle_of_a_search_ends_it(searches: Searches) -> None:
    name = searches.create(parallel_trial_count=1)
    searches.begun(name, 1)
    searches.jobs.objects.delete("jobs", "packages/trainer-0.1.tar.gz")
    searches.finish(name, 0, 1.0)
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_FAILED
    assert "trainer-0.1.tar.gz does not exist" in job.error.message
    assert states(job) == ["SUCCEEDED"]


def test_a_search_is_cancelled_once_its_trials_have_ended(searches: Searches) -> None:
    name = searches.create()
    job = searches.begun(name, 2)
    with pytest.raises(ApiError, match="can only be deleted once it has ended"):
        searches.delete(name)
    searches.cancel(name)
    ids = {trial.custom_job.rpartition("/")[2] for trial in job.trials}
    searches.until(name, lambda job: set(searches.engine.cancelled) == ids)
    assert searches.get(name).state == types.JobState.JOB_STATE_CANCELLING
    for trial in job.trials:
        searches.end(trial, EndKind.CANCELLED)
    job = searches.ended(name)
    assert (job.state, job.error.code) == (types.JobState.JOB_STATE_CANCELLED, 1)
    searches.cancel(name)
    assert searches.get(name).state == types.JobState.JOB_STATE_CANCELLED
    searches.delete(name)
    assert not searches.list() and not searches.jobs.list().custom_jobs
    assert set(searches.engine.deleted) == {*ids, name.rpartition("/")[2]}


def test_a_list_shows_what_its_mask_asks_for(searches: Searches) -> None:
    name = searches.create(max_trial_count=2)
    searches.begun(name, 2)
    (whole,) = searches.list()
    assert len(whole.trials) == 2
    (some,) = searches.list(read_mask={"paths": ["name", "display_name"]})
    assert some.name == name and not some.trials and not some.HasField("study_spec")
    assert [one.name for one in searches.list(filter='display_name="search"')] == [name]
    identity = f"hyperparameter_tuning_job={name.rpartition('/')[2]}"
    assert [one.name for one in searches.list(filter=identity)] == [name]


def test_trials_cut_short_start_again_as_they_were_and_what_ended_stays(searches: Searches) -> None:
    name = searches.create(max_trial_count=3)
    searches.begun(name, 2)
    searches.finish(name, 0, 0.5)
    before = searches.begun(name, 3)
    searches.report(before.trials[2], 0.1)
    searches.jobs.run(before.trials[2].custom_job)
    before = searches.until(name, lambda job: job.trials[2].measurements)
    searches.restart()
    after = searches.until(
        name,
        lambda job: all(job.trials[index].custom_job != before.trials[index].custom_job for index in (1, 2)),
    )
    assert after.trials[0] == before.trials[0]
    assert [values(trial) for trial in after.trials] == [values(trial) for trial in before.trials]
    assert not after.trials[2].measurements and not after.trials[2].HasField("start_time")
    for index in (1, 2):
        assert searches.jobs.spec(after.trials[index].custom_job).trial_id == str(index + 1)
        searches.finish(name, index, 0.7)
    job = searches.ended(name)
    assert states(job) == ["SUCCEEDED"] * 3
    assert [trial.final_measurement.metrics[0].value for trial in job.trials] == [0.5, 0.7, 0.7]


def test_what_ended_as_the_emulator_died_is_taken_up(searches: Searches) -> None:
    name = searches.create(max_trial_count=2)
    job = searches.begun(name, 2)
    # The search is gone, and the engine still tells: both jobs end, and nothing is made of that.
    searches.jobs.tuning_jobs.close()
    good, bad = job.trials
    searches.report(good, 0.9)
    searches.end(good)
    searches.end(bad, EndKind.FAILED, "it broke", replica="workerpool0-0")
    assert states(searches.get(name)) == ["ACTIVE", "ACTIVE"]
    searches.restart()
    job = searches.ended(name)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    assert states(job) == ["SUCCEEDED", "INFEASIBLE"]
    assert [trial.custom_job for trial in job.trials] == [good.custom_job, bad.custom_job]
    assert job.trials[1].infeasible_reason == "it broke"
    assert not searches.engine.specs, "nothing was run again"


def test_a_trial_that_was_being_stopped_has_its_result(searches: Searches) -> None:
    name = searches.create(
        study_spec={"median_automated_stopping_spec": {}}, max_trial_count=2, parallel_trial_count=1
    )
    searches.begun(name, 1)
    searches.finish(name, 0, 1.0, 1.0)
    job = searches.begun(name, 2)
    searches.jobs.run(job.trials[1].custom_job)
    searches.report(job.trials[1], 0.1)
    searches.until(name, lambda job: job.trials[1].state == State.STOPPING)
    searches.restart()
    job = searches.ended(name)
    assert states(job) == ["SUCCEEDED", "SUCCEEDED"]
    assert job.trials[1].final_measurement.metrics[0].value == 0.1


def test_a_search_that_cannot_be_taken_up_ends_with_its_trials(searches: Searches) -> None:
    name = searches.create()
    searches.begun(name, 2)
    searches.finish(name, 0, 0.5)
    searches.begun(name, 3)
    searches.jobs.tuning_jobs.close()
    job = searches.get(name)
    job.ClearField("trials")
    job.study_spec.algorithm = 99
    searches.jobs.store.replace(TUNING_JOBS, job)
    searches.restart()
    job = searches.ended(name)
    assert (job.state, Code.INTERNAL.number) == (types.JobState.JOB_STATE_FAILED, job.error.code)
    assert "algorithm" in job.error.message
    assert states(job) == ["SUCCEEDED", "INFEASIBLE", "INFEASIBLE"]
    assert all(trial.HasField("end_time") for trial in job.trials)
    searches.delete(name)


def test_a_job_to_be_restarted_goes_on_as_the_same_one(searches: Searches) -> None:
    spec = {**job_spec(), "scheduling": {"restart_job_on_worker_restart": True}}
    name = searches.create(trial_job_spec=spec, max_trial_count=1, parallel_trial_count=1)
    before = searches.begun(name, 1).trials[0]
    searches.jobs.run(before.custom_job)
    searches.report(before, 0.1)
    searches.until(name, lambda job: job.trials[0].measurements)
    del searches.engine.metric_files[before.custom_job.rpartition("/")[2]]
    searches.restart()
    assert not searches.get(name).trials[0].measurements, "what it had reported is not of this run"
    assert list(searches.engine.specs) == [before.custom_job.rpartition("/")[2]]
    trial = searches.get(name).trials[0]
    assert trial.custom_job == before.custom_job
    searches.end(trial)
    job = searches.ended(name)
    assert "ended without reporting" in job.trials[0].infeasible_reason


def test_memory_holds_trials_back_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "local_jobs.TrialMemory", lambda taken, available: TrialMemory(taken, available=lambda: 3 * 2**30)
    )
    searches = Searches(tmp_path)
    try:
        name = searches.create(parallel_trial_count=4)
        searches.begun(name, 1)
        time.sleep(0.5)
        assert len(searches.get(name).trials) == 1
        (said,) = searches.said(name)
        assert said.startswith("Memory holds trials back: 1 run") and said.endswith("asks for 4 at a time.")
        # It turns out to be a small one.
        searches.finish(name, 0, 1.0)
        searches.begun(name, 4)
    finally:
        searches.jobs.close()


def test_a_grid_ends_when_everything_has_been_tried(searches: Searches) -> None:
    parameters = [{"parameter_id": "n", "integer_value_spec": {"min_value": 1, "max_value": 2}}]
    name = searches.create(study_spec={"parameters": parameters, "algorithm": 2}, max_trial_count=9)
    searches.begun(name, 2)
    for index in (0, 1):
        searches.finish(name, index, 1.0)
    job = searches.ended(name)
    assert [values(trial) for trial in job.trials] == [{"n": 1.0}, {"n": 2.0}]
    assert "There is nothing left to try after 2 trials." in searches.said(name)
