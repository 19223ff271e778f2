"""CustomJobs: what is checked, what the engine is told, and how their states go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import duration_pb2
from local_jobs import (
    PACKAGE,
    TRAINING_IMAGE,
    LocalJobs,
    job_spec,
    python_package,
    worker_pool,
)
from local_services import PARENT

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.jobs.types import (
    ContainerProgram,
    EndKind,
    JobSpec,
    PackageProgram,
    WorkerPool,
)
from vertexkit.emulator.projects import project_number


def refused(jobs: LocalJobs, spec: dict[str, Any], **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        jobs.create(spec, **fields)
    assert not jobs.list().custom_jobs, "a refused job was kept"
    assert not jobs.engine.specs, "a refused job was begun"
    return caught.value


def refused_pool(jobs: LocalJobs, **fields: Any) -> ApiError:
    return refused(jobs, job_spec(**fields))


# The engine is told


def test_the_engine_is_told_everything_that_processes_depend_on(jobs: LocalJobs) -> None:
    chief = worker_pool(
        python_package_spec=python_package(args=["--epochs=3"], env=[{"name": "A", "value": "1"}]),
        machine_spec={
            "machine_type": "n1-standard-8",
            "accelerator_type": "NVIDIA_TESLA_T4",
            "accelerator_count": 2,
        },
    )
    evaluator = {
        "machine_spec": {"machine_type": "e2-standard-4"},
        "replica_count": 1,
        "container_spec": {"image_uri": TRAINING_IMAGE, "command": ["sh", "-c"], "args": ["true"]},
    }
    job = jobs.create(
        {
            "worker_pool_specs": [chief, worker_pool(2), {}, evaluator],
            "base_output_directory": {"output_uri_prefix": "gs://jobs/out/"},
            "scheduling": {
                "timeout": duration_pb2.Duration(seconds=60),
                "restart_job_on_worker_restart": True,
            },
        }
    )
    package = PackageProgram(TRAINING_IMAGE, (PACKAGE,), "trainer.task")
    assert jobs.spec(job.name) == JobSpec(
        job_id=job.name.rpartition("/")[2],
        project="my-project",
        project_number=project_number("my-project"),
        location="us-central1",
        pools=(
            WorkerPool(package, ("--epochs=3",), {"A": "1"}, 1, "n1-standard-8", "NVIDIA_TESLA_T4", 2),
            WorkerPool(package, (), {}, 2, "n1-standard-4"),
            None,
            WorkerPool(
                ContainerProgram(TRAINING_IMAGE, ("sh", "-c")), ("true",), {}, 1, "e2-standard-4", "", 0
            ),
        ),
        base_output_uri="gs://jobs/out",
        timeout=60.0,
        restart_on_worker_restart=True,
    )


def test_a_job_may_run_for_a_week_unless_it_says_otherwise(jobs: LocalJobs) -> None:
    assert jobs.spec(jobs.create().name).timeout == 7 * 24 * 3600


def test_without_retries_no_job_is_started_anew(jobs: LocalJobs) -> None:
    scheduling = {"restart_job_on_worker_restart": True, "disable_retries": True}
    assert not jobs.spec(jobs.create({"scheduling": scheduling}).name).restart_on_worker_restart


def test_a_project_may_be_named_by_its_number(jobs: LocalJobs) -> None:
    number = project_number("my-project")
    job = jobs.create(parent=f"projects/{number}/locations/us-central1")
    assert jobs.spec(job.name).project == jobs.spec(job.name).project_number == number
    assert jobs.job(job.name.replace(number, "my-project")).name == job.name


# Its states


def test_a_job_goes_from_pending_over_running_to_its_success(jobs: LocalJobs) -> None:
    job = jobs.create(labels={"team": "vision"})
    assert jobs.state(job.name) == "PENDING"
    assert job.labels == {"team": "vision"}
    assert job.HasField("create_time")
    assert not job.HasField("start_time")
    jobs.run(job.name)
    started = jobs.job(job.name)
    assert jobs.state(job.name) == "RUNNING"
    assert started.HasField("start_time")
    assert not started.HasField("end_time")
    # A job that its engine starts anew has been running since it first did.
    jobs.run(job.name)
    assert jobs.job(job.name).start_time == started.start_time
    jobs.end(job.name)
    ended = jobs.job(job.name)
    assert jobs.state(job.name) == "SUCCEEDED"
    assert ended.HasField("end_time")
    assert not ended.HasField("error")
    assert ended.end_time.ToNanoseconds() >= ended.start_time.ToNanoseconds()
    assert ended.update_time.ToNanoseconds() >= ended.end_time.ToNanoseconds()


@pytest.mark.parametrize(
    ("end", "state", "code", "says"),
    [
        (
            {
                "kind": EndKind.FAILED,
                "message": "The replica workerpool0-0 exited with 1.",
                "replica": "workerpool0-0",
            },
            "FAILED",
            3,
            "The replica workerpool0-0 exited with 1.",
        ),
        ({"kind": EndKind.FAILED, "message": "The disk is full."}, "FAILED", 13, "The disk is full."),
        ({"kind": EndKind.TIMED_OUT, "message": "More than 60 s."}, "CANCELLED", 1, "More than 60 s."),
        ({"kind": EndKind.TIMED_OUT}, "CANCELLED", 1, "longer than its timeout."),
        ({"kind": EndKind.CANCELLED}, "CANCELLED", 1, "CANCELED"),
    ],
)
def test_an_end_that_is_no_success_says_why(
    jobs: LocalJobs, end: dict[str, Any], state: str, code: int, says: str
) -> None:
    job = jobs.create()
    jobs.run(job.name)
    jobs.end(job.name, **end)
    ended = jobs.job(job.name)
    assert (jobs.state(job.name), ended.error.code) == (state, code)
    assert ended.error.message.endswith(says)
    assert ended.HasField("end_time")


def test_a_cancelled_job_is_cancelling_until_no_process_is_left(jobs: LocalJobs) -> None:
    job = jobs.create()
    jobs.run(job.name)
    jobs.cancel(job.name)
    assert jobs.state(job.name) == "CANCELLING"
    assert jobs.engine.cancelled == [job.name.rpartition("/")[2]]
    # What the engine had to say before it heard of it changes nothing.
    jobs.run(job.name)
    assert jobs.state(job.name) == "CANCELLING"
    jobs.end(job.name, EndKind.CANCELLED)
    assert (jobs.state(job.name), jobs.job(job.name).error.code) == ("CANCELLED", 1)


def test_a_job_may_succeed_although_it_was_to_be_cancelled(jobs: LocalJobs) -> None:
    job = jobs.create()
    jobs.cancel(job.name)
    jobs.end(job.name)
    assert jobs.state(job.name) == "SUCCEEDED"


def test_cancelling_what_has_ended_changes_nothing(jobs: LocalJobs) -> None:
    job = jobs.create()
    jobs.end(job.name)
    jobs.cancel(job.name)
    assert jobs.state(job.name) == "SUCCEEDED"
    assert not jobs.engine.cancelled


def test_a_job_that_was_cancelled_before_it_began_does_not_run(
    jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = jobs.engine.start

    def cancel_first(spec: Any, watcher: Any) -> None:
        listed = jobs.list().custom_jobs[0]
        jobs.cancel(listed.name)
        jobs.engine.cancelled.clear()
        begin(spec, watcher)

    monkeypatch.setattr(jobs.engine, "start", cancel_first)
    job = jobs.create()
    assert jobs.engine.cancelled == [job.name.rpartition("/")[2]]


def test_only_what_has_ended_is_deleted_and_its_logs_with_it(jobs: LocalJobs) -> None:
    job = jobs.create()
    with pytest.raises(ApiError, match=r"JOB_STATE_PENDING.*Cancel it first") as caught:
        jobs.delete(job.name)
    assert caught.value.code.name == "FAILED_PRECONDITION"
    assert not jobs.engine.deleted
    jobs.end(job.name)
    assert jobs.delete(job.name).done
    assert jobs.engine.deleted == [job.name.rpartition("/")[2]]
    for gone in (jobs.job, jobs.cancel, jobs.delete):
        with pytest.raises(ApiError, match="does not exist") as caught:
            gone(job.name)
        assert caught.value.code.name == "NOT_FOUND"
    # What the engine says afterwards is about nothing.
    jobs.end(job.name)


def test_an_engine_that_breaks_fails_the_job(jobs: LocalJobs) -> None:
    jobs.engine.breaks = "no space left on device"
    job = jobs.create()
    assert (jobs.state(job.name), job.error.code) == ("FAILED", 13)
    assert "no space left on device" in job.error.message


# Lists


def test_jobs_are_listed_newest_first_and_filtered_by_their_state(jobs: LocalJobs) -> None:
    first, second, third = (jobs.create(display_name=name).name for name in ("a-1", "a-2", "b"))
    jobs.end(second)
    assert [job.name for job in jobs.list().custom_jobs] == [third, second, first]
    for text, names in {
        'state="JOB_STATE_SUCCEEDED"': [second],
        'state!="JOB_STATE_SUCCEEDED"': [third, first],
        'display_name:"a-*"': [second, first],
        'NOT display_name="b" AND state="JOB_STATE_PENDING"': [first],
        'create_time>"2021-05-18T00:00:00Z"': [third, second, first],
    }.items():
        assert [job.name for job in jobs.list(filter=text).custom_jobs] == names, text
    page = jobs.list(page_size=2)
    rest = jobs.list(page_size=2, page_token=page.next_page_token)
    assert [job.name for job in (*page.custom_jobs, *rest.custom_jobs)] == [third, second, first]
    assert not rest.next_page_token
    shown = jobs.list(read_mask={"paths": ["name", "state"]}).custom_jobs[0]
    assert {field.name for field, _ in shown.ListFields()} == {"name", "state"}


def test_a_log_is_found_by_the_project_and_the_id_of_its_job(jobs: LocalJobs) -> None:
    job = jobs.create()
    number, job_id = project_number("my-project"), job.name.rpartition("/")[2]
    assert jobs.service.job_logs(number, job_id) is jobs.engine.spoken[job_id]
    assert jobs.service.job_logs(project_number("other"), job_id) is None
    assert jobs.service.job_logs(number, "1") is None
    jobs.end(job.name)
    jobs.delete(job.name)
    assert jobs.service.job_logs(number, job_id) is None


# Restarts


def test_what_a_stop_cut_short_has_failed_and_says_so(start_jobs: Callable[[], LocalJobs]) -> None:
    first = start_jobs()
    pending, running, cancelling, ended = (first.create().name for _ in range(4))
    first.run(running)
    first.cancel(cancelling)
    first.end(ended)
    before = first.job(ended)
    second = start_jobs()
    for name in (pending, running):
        job = second.job(name)
        assert (second.state(name), job.error.code) == ("FAILED", 10)
        assert "was stopped before the job finished" in job.error.message
        assert job.HasField("end_time")
    assert second.state(cancelling) == "CANCELLED"
    assert second.job(ended) == before
    assert not second.engine.specs


def test_a_job_that_is_to_be_restarted_runs_again_after_a_stop(start_jobs: Callable[[], LocalJobs]) -> None:
    first = start_jobs()
    scheduling = {"restart_job_on_worker_restart": True}
    name = first.create({"scheduling": scheduling}, parent=PARENT).name
    first.run(name)
    before, started = first.spec(name), first.job(name).start_time
    second = start_jobs()
    assert second.spec(name) == before
    assert second.state(name) == "PENDING"
    second.run(name)
    second.end(name)
    assert (second.state(name), second.job(name).start_time) == ("SUCCEEDED", started)
    third = start_jobs()
    assert third.state(name) == "SUCCEEDED"
    assert not third.engine.specs
    assert third.service.job_logs(project_number("my-project"), name.rpartition("/")[2]) is None


# What is refused


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        ({"replicas": 2}, r"worker_pool_specs\[0\].replica_count; Message: It is 2, .* exactly 1 replica"),
        ({"replicas": 0}, r"worker_pool_specs\[0\].replica_count; Message: It is 0"),
        ({"machine_spec": {}}, r"machine_spec.machine_type; Message: Required"),
        ({"machine_spec": {"machine_type": "n1-huge-4"}}, 'Machine type "n1-huge-4" is not supported'),
        (
            {"machine_spec": {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4"}},
            r"List of found errors:\t1.Field: job_spec.worker_pool_specs\[0\].machine_spec.accelerator_type; "
            r"Message: Both accelerator_type and accelerator_count should be specified or none.\t",
        ),
        (
            {
                "machine_spec": {
                    "machine_type": "n1-standard-2",
                    "accelerator_type": "NVIDIA_TESLA_T4",
                    "accelerator_count": 1,
                }
            },
            'Accelerator "NVIDIA_TESLA_T4" is not supported for machine type "n1-standard-2"',
        ),
        (
            {"python_package_spec": None},
            "Exactly one of container_spec and python_package_spec must be set",
        ),
        (
            {"python_package_spec": python_package(executor_image_uri="gcr.io/mine/image")},
            r"executor_image_uri; Message: gcr.io/mine/image is not one of the prebuilt",
        ),
        ({"python_package_spec": python_package(package_uris=[])}, "package_uris; Message: Required"),
        (
            {"python_package_spec": python_package(package_uris=[PACKAGE, "gs://jobs/none.tar.gz"])},
            r"package_uris\[1\]; Message: gs://jobs/none.tar.gz does not exist",
        ),
        (
            {"python_package_spec": python_package(package_uris=["gs://nowhere/a.tar.gz"])},
            "there is no bucket gs://nowhere",
        ),
        (
            {"python_package_spec": python_package(package_uris=["/tmp/a.tar.gz"])},
            "does not start with gs://",
        ),
        ({"python_package_spec": python_package(python_module="")}, "python_module; Message: Required"),
        (
            {"python_package_spec": python_package(python_module="a-b; rm")},
            '"a-b; rm" is not the name of a module',
        ),
        (
            {"python_package_spec": python_package(env=[{"name": "1A", "value": ""}])},
            r'env\[0\].name; Message: "1A" is not the name of an environment variable',
        ),
        (
            {"python_package_spec": python_package(env=[{"name": "A"}, {"name": "A"}])},
            r'env\[1\].name; Message: "A" is given more than once',
        ),
        (
            {"python_package_spec": None, "container_spec": {"command": ["true"]}},
            "image_uri; Message: Required",
        ),
    ],
)
def test_a_wrong_worker_pool_is_refused_in_the_service_s_words(
    jobs: LocalJobs, pool: dict[str, Any], says: str
) -> None:
    error = refused_pool(jobs, **pool)
    assert error.code.name == "INVALID_ARGUMENT"
    with pytest.raises(ApiError, match=says):
        raise error


def test_every_wrong_field_is_named_at_once(jobs: LocalJobs) -> None:
    pool = worker_pool(0, machine_spec={}, python_package_spec=python_package(python_module=""))
    error = refused(jobs, {"worker_pool_specs": [worker_pool(), pool], "scheduling": {}})
    assert error.message.startswith("List of found errors:\t1.Field: job_spec.worker_pool_specs[1].replica_")
    assert "\t2.Field: job_spec.worker_pool_specs[1].machine_spec.machine_type;" in error.message
    assert "\t3.Field: job_spec.worker_pool_specs[1].python_package_spec.python_module;" in error.message


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"worker_pool_specs": []}, "worker_pool_specs; Message: Required field is not set"),
        ({"worker_pool_specs": [{}]}, r"worker_pool_specs\[0\].replica_count"),
        ({"worker_pool_specs": [worker_pool()] * 5}, "There are 5 worker pools, and can be up to 4"),
        (
            {"base_output_directory": {"output_uri_prefix": "jobs/out"}},
            "base_output_directory.output_uri_prefix; Message: 'jobs/out' does not start with gs://",
        ),
        (
            {"base_output_directory": {"output_uri_prefix": "gs://nowhere/out"}},
            "The bucket gs://nowhere of gs://nowhere/out does not exist",
        ),
        ({"scheduling": {"timeout": duration_pb2.Duration(seconds=-1)}}, "timeout; Message: It must not be"),
    ],
)
def test_a_wrong_spec_is_refused(jobs: LocalJobs, spec: dict[str, Any], says: str) -> None:
    error = refused(jobs, {**job_spec(), **spec})
    assert error.code.name == "INVALID_ARGUMENT"
    with pytest.raises(ApiError, match=says):
        raise error


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"persistent_resource_id": "mine"}, "job_spec.persistent_resource_id"),
        ({"experiment": "e"}, "job_spec.experiment"),
        ({"psc_interface_config": {"network_attachment": "n"}}, "job_spec.psc_interface_config"),
        ({"models": ["m"]}, "job_spec.models"),
        (
            job_spec(nfs_mounts=[{"server": "s", "path": "/p", "mount_point": "m"}]),
            r"job_spec.worker_pool_specs\[0\].nfs_mounts",
        ),
        (
            job_spec(machine_spec={"machine_type": "n1-standard-4", "tpu_topology": "2x2"}),
            r"job_spec.worker_pool_specs\[0\].machine_spec.tpu_topology",
        ),
        (
            job_spec(machine_spec={"machine_type": "ct5lp-hightpu-4t"}),
            "machine_type ct5lp-hightpu-4t: there is no 4 x Cloud TPU v5e here",
        ),
    ],
)
def test_what_would_change_a_result_is_refused_by_name(
    jobs: LocalJobs, spec: dict[str, Any], field: str
) -> None:
    error = refused(jobs, {**job_spec(), **spec})
    assert error.code.name == "UNIMPLEMENTED"
    with pytest.raises(ApiError, match=field):
        raise error


def test_what_the_engine_cannot_do_is_refused_before_anything_is_kept(jobs: LocalJobs) -> None:
    jobs.engine.refuses = "There is no Docker here."
    assert refused(jobs, job_spec()).message == "There is no Docker here."


def test_a_key_of_one_s_own_is_refused_by_name(jobs: LocalJobs) -> None:
    error = refused(jobs, job_spec(), encryption_spec={"kms_key_name": "k"})
    assert (error.code.name, "encryption_spec" in error.message) == ("UNIMPLEMENTED", True)


@pytest.mark.parametrize(
    "fields", [{"display_name": ""}, {"display_name": "x" * 129}, {"labels": {"Team": "a"}}]
)
def test_a_wrong_name_or_label_is_refused(jobs: LocalJobs, fields: dict[str, Any]) -> None:
    assert refused(jobs, job_spec(), **fields).code.name == "INVALID_ARGUMENT"


def test_what_makes_no_difference_here_is_taken_and_the_log_says_so(jobs: LocalJobs) -> None:
    pool = worker_pool(
        machine_spec={
            "machine_type": "n1-standard-4",
            "accelerator_type": "NVIDIA_TESLA_K80",
            "accelerator_count": 1,
        },
        disk_spec={"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 100},
    )
    job = jobs.create(
        {
            "worker_pool_specs": [pool],
            "service_account": "me@p.iam.gserviceaccount.com",
            "network": "projects/1/global/networks/mine",
            "enable_web_access": True,
            "tensorboard": f"{PARENT}/tensorboards/1",
            "scheduling": {"strategy": "SPOT"},
        }
    )
    assert job.job_spec.service_account == "me@p.iam.gserviceaccount.com"
    jobs.run(job.name)
    told = "\n".join(jobs.log(job.name))
    for word in ("service_account", "network", "enable_web_access", "tensorboard", "Spot"):
        assert word in told
    assert all(line.startswith("service: ") for line in jobs.log(job.name))
    plain = jobs.create()
    jobs.run(plain.name)
    assert not jobs.log(plain.name)
