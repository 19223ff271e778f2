"""Failed trainings, explained: from real last words, to the replica, how it ended, and what would do."""

# ruff: noqa: E501 - the words of other programs are as long as they are

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from vertexkit.errors import PermissionDenied, TrainingFailed
from vertexkit.failure_causes import lost_peer, remedy_for
from vertexkit.job_logs import JobLogs, LogLine
from vertexkit.training_failure import training_failed

JOB = "projects/1/locations/us-central1/customJobs/2"
WHERE = (
    "To find out more about why your job exited please check the logs: https://console.cloud.google.com/logs"
)


def exited(status: str, replica: str = "workerpool0-0") -> str:
    return (
        f"The replica {replica} exited with a non-zero status of {status}. Termination reason: Error. {WHERE}"
    )


def logs_of(lines: Mapping[str, Sequence[str]]) -> JobLogs:
    """Logs that hold these lines."""
    logs = create_autospec(JobLogs, instance=True)

    def tail(count: int, replica: str | None = None) -> list[LogLine]:
        now = datetime.now(UTC)
        names = lines if replica is None else [replica]
        return [LogLine(now, name, "ERROR", text) for name in names for text in lines.get(name, ())][-count:]

    logs.tail.side_effect = tail
    return logs


def failure(message: str, log_lines: int = 20, **lines: Sequence[str]) -> TrainingFailed:
    named = {name.replace("_", "-"): texts for name, texts in lines.items()}
    return training_failed(job=JOB, message=message, logs=logs_of(named), log_lines=log_lines)


# -- who, and how ------------------------------------------------------------------------------


def test_it_names_the_replica_its_code_and_its_last_lines() -> None:
    error = failure(exited("3"), workerpool0_0=[f"line {n}" for n in range(50)], workerpool1_0=["other"])
    assert (error.job, error.replica, error.exit_code, error.signal) == (JOB, "workerpool0-0", 3, None)
    assert error.last_lines == tuple(f"line {n}" for n in range(30, 50))
    assert error.remedy is None
    assert str(error).splitlines()[:3] == [
        f"{JOB}: the training failed: workerpool0-0 exited with code 3",
        "Last lines of workerpool0-0:",
        "  | line 30",
    ]
    assert "other" not in str(error)


@pytest.mark.parametrize(
    ("status", "exit_code", "number"),
    [
        ("1", 1, None),
        ("255", 255, None),
        ("137", None, signal.SIGKILL),
        ("139", None, signal.SIGSEGV),
        ("143", None, signal.SIGTERM),
        ("9(SIGKILL)", None, signal.SIGKILL),
        ("11 (SIGSEGV)", None, signal.SIGSEGV),
        ("128", 128, None),
        ("9", 9, None),
    ],
)
def test_a_status_is_an_exit_code_or_a_signal(status: str, exit_code: int | None, number: int | None) -> None:
    error = failure(exited(status))
    assert (error.exit_code, error.signal) == (exit_code, number)
    if number is not None:
        assert f"signal {number} ({signal.Signals(number).name})" in str(error)


@pytest.mark.parametrize(
    "words",
    ["ran out-of-memory and exited with a non-zero status of 9(SIGKILL)", "ran out of memory and exited with a non-zero status of 137"],
)  # fmt: skip
def test_running_out_of_memory_is_said_by_vertex_ai(words: str) -> None:
    error = failure(f"The replica workerpool1-2 {words}.", workerpool1_2=["Epoch 1"])
    assert (error.replica, error.signal) == ("workerpool1-2", 9)
    assert "workerpool1-2 ran out of memory" in str(error)
    assert "n1-highmem" in str(error.remedy)


def test_of_several_replicas_the_one_that_was_killed_was_first() -> None:
    message = f"{exited('1')}\n{exited('9(SIGKILL)', 'workerpool1-0')}"
    error = failure(message, workerpool0_0=["UnavailableError"], workerpool1_0=["Epoch 3"])
    assert (error.replica, error.signal, error.last_lines) == ("workerpool1-0", 9, ("Epoch 3",))
    assert "after it, workerpool0-0 exited with code 1" in str(error)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "Resources are insufficient in region: us-central1. Please try a different region.",
            "another location",
        ),
        ("The job ran longer than its timeout of 60 s, and was ended.", "timeout="),
        ("Internal error occurred for the current attempt.", "try again"),
        ("Something that nobody knows.", None),
        ("", None),
    ],
)
def test_a_failure_that_is_no_replicas_fault_is_told_in_the_words_of_the_service(
    message: str, remedy: str | None
) -> None:
    error = failure(message)
    assert message in str(error)
    assert (error.replica, error.exit_code, error.last_lines) == (None, None, ())
    assert error.remedy is None if remedy is None else remedy in str(error.remedy)


def test_a_log_that_cannot_be_read_keeps_nothing_else_from_being_told() -> None:
    logs = create_autospec(JobLogs, instance=True)
    logs.tail.side_effect = PermissionDenied("no logging.logEntries.list")
    error = training_failed(job=JOB, message=exited("1"), logs=logs)
    assert "workerpool0-0 exited with code 1. Its log cannot be read: no logging" in str(error)
    assert error.replica == "workerpool0-0"


def test_last_lines_are_safe_to_print_and_no_more_than_asked_for() -> None:
    lines = ["a", "\x1b[2Jb", "c"]
    assert failure(exited("1"), 2, workerpool0_0=lines).last_lines == ("b", "c")
    assert failure(exited("1"), 0, workerpool0_0=lines).last_lines == ()


# -- why: what really fails --------------------------------------------------------------------


def ending(tmp_path: Path, program: str, *args: str, name: str = "task.py") -> str | None:
    """The remedy for what a program's last words are when it has really run."""
    (tmp_path / name).write_text(program)
    command = [sys.executable, *(args or (name,))]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0, ran.stdout
    code, number = (ran.returncode, None) if ran.returncode > 0 else (None, -ran.returncode)
    return remedy_for(("Epoch 1\n" + ran.stdout + ran.stderr).splitlines(), exit_code=code, signal=number)


ARGUMENTS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--epochs", type=int)
parser.add_argument("--optimizer", choices=["adam", "sgd"])
parser.parse_args()
"""
CLICK = """
import click
@click.command()
@click.option("--epochs", type=int, required=True)
def main(epochs): ...
main()
"""
CHAINED = """
try:
    {}["a"]
except KeyError as error:
    try:
        import cv2_that_is_not_there
    except ImportError as inner:
        raise RuntimeError("the data could not be read") from inner
"""
PORT = """
import socket
one, two = socket.socket(), socket.socket()
one.bind(("127.0.0.1", 0))
one.listen()
two.bind(one.getsockname())
"""


@pytest.mark.parametrize(
    ("program", "args", "remedy"),
    [
        ("import cv3_not_there.x", (), 'requirements=["cv3-not-there"]'),
        ("import vertexkit_not_there", (), 'requirements=["vertexkit-not-there"]'),
        ("import trainer_scripts.no_such", (), "trainer_scripts"),
        ("", ("-m", "trainer.task"), "no module 'trainer.task'"),
        ("from numpy import no_such_thing", (), 'requirements=["numpy==..."]'),
        (ARGUMENTS, ("task.py", "--data=x", "--epoch_count=3"), "unrecognized arguments: --epoch_count=3"),
        (ARGUMENTS, ("task.py",), "required: --data"),
        (ARGUMENTS, ("task.py", "--data=x", "--epochs=many"), "invalid int value: 'many'"),
        (ARGUMENTS, ("task.py", "--data=x", "--optimizer=none"), "invalid choice: 'none'"),
        (CLICK, ("task.py",), "Missing option '--epochs'"),
        (CLICK, ("task.py", "--epoch=1"), "No such option"),
        (CHAINED, (), 'requirements=["cv2-that-is-not-there"]'),
        ("import numpy; numpy.ones((10**6, 10**7))", (), "n1-highmem"),
        ("bytearray(10**15)", (), "n1-highmem"),
        (PORT, (), "port 0"),
        ('open("data/train.csv")', (), "'data/train.csv' has not travelled"),
        ('open("/gcs/bucket/train.csv")', (), "there is no gs://bucket/train.csv"),
        ('open("gs://bucket/train.csv")', (), "'/gcs/bucket/train.csv'"),
        ('import subprocess; subprocess.run(["no-such-program"])', (), "no program 'no-such-program'"),
        ('open("/dev/full", "w").write("x" * 100_000)', (), "the disk is full"),
        ('import os; os.environ["AIP_MODEL_DIR"]', (), "base_output_dir="),
        ('import os; os.environ["AIP_TRAINING_DATA_URI"]', (), "dataset="),
        ('import os; os.environ["TF_CONFIG"]', (), "workers="),
        ('import os; os.environ["CLOUD_ML_TRIAL_ID"]', (), "os.environ.get"),
        ("match 1", (), "task.py, line 1"),
        ("import ctypes; ctypes.string_at(0)", (), "PYTHONFAULTHANDLER"),
        ("import os; os.abort()", (), "PYTHONFAULTHANDLER"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", (), "memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", (), "timeout="),
    ],
)  # fmt: skip
def test_a_well_known_cause_has_a_remedy(
    tmp_path: Path, program: str, args: tuple[str, ...], remedy: str
) -> None:
    assert remedy in str(ending(tmp_path, program, *args))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("cv2", "opencv-python-headless"),
        ("sklearn.svm", "scikit-learn"),
        ("yaml", "pyyaml"),
        ("PIL", "pillow"),
    ],
)
def test_a_missing_module_is_asked_for_by_the_name_that_pip_knows(name: str, package: str) -> None:
    line = f"ModuleNotFoundError: No module named {name!r}"
    assert f'requirements=["{package}"]' in str(remedy_for([line], exit_code=1, signal=None)).lower()


CAUGHT = """
import logging
try:
    import tensorrt_that_is_not_there
except ImportError:
    logging.exception("going on without")
raise ValueError("shapes (3,) and (4,) do not match")
"""
CAUGHT_LONG_AGO = """
import logging, sys
try:
    open("not/there")
except OSError:
    logging.exception("going on without")
for step in range(80):
    print("step", step, file=sys.stderr)
sys.exit("the loss is not a number")
"""


@pytest.mark.parametrize(
    "program",
    [
        "raise ValueError('boom')",
        "import sys; sys.exit(7)",
        "import sys; sys.exit('error: unrecognized arguments')",
        "import sys; sys.exit(2)",
        "{}['batch']",
        "open('/tmp/made/by/the/program')",
        "raise KeyError('MY_OWN_VARIABLE')",
        CAUGHT,
        CAUGHT_LONG_AGO,
        "assert False, 'No space left on device, said nobody'",
    ],
)
def test_where_nothing_is_known_nothing_is_guessed(tmp_path: Path, program: str) -> None:
    assert ending(tmp_path, program) is None


# -- why: what TensorFlow, Google's clients and pip say, as they said it ---------------------------

_TF = "tensorflow.python.framework.errors_impl"
_TRACEBACK = ["Traceback (most recent call last):", '  File "task.py", line 3, in <module>', "    train()"]
_SHUTDOWN = "W0000 00:00:1795337052.721079   12841 local_rendezvous.cc:412] Local rendezvous is aborting with status: ABORTED: Shutdown"
_NO_BUCKET = (
    "HTTP response code 404 with body '<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchBucket</Code>"
    "<Message>The specified bucket does not exist.</Message></Error>'"
)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "ModuleNotFoundError: No module named 'trainer_scripts'",
            "not with a package that is in a bucket already",
        ),
        (
            f"{_TF}.NotFoundError: {{{{function_node __wrapped__ReadFile_device_/job:localhost/replica:0/task:0/"
            f"device:CPU:0}}}} Error executing an HTTP request: {_NO_BUCKET}\n"
            f"\t when reading gs://no-such/data/train.npz [Op:ReadFile]\n{_SHUTDOWN}",
            "there is no gs://no-such/data/train.npz:",
        ),
        (
            f"{_TF}.NotFoundError: Error executing an HTTP request: {_NO_BUCKET}\n"
            "\t when reading gs://no-such/data/train.npz/",
            "there is no gs://no-such/data/train.npz:",
        ),
        (f"{_TF}.NotFoundError: Could not find directory data/train", "'data/train' has not travelled"),
        (
            f"{_TF}.NotFoundError: {{{{function_node __wrapped__ReadFile_device_/job:localhost/replica:0/task:0/"
            "device:CPU:0}} data/train.csv; No such file or directory [Op:ReadFile]",
            "'data/train.csv' has not travelled",
        ),
        (
            "google.api_core.exceptions.NotFound: 404 GET https://storage.googleapis.com/download/storage/v1/b/"
            "no-such/o/x?alt=media: The specified bucket does not exist.: ('Request failed with status code', "
            "404, 'Expected one of', <HTTPStatus.OK: 200>, <HTTPStatus.PARTIAL_CONTENT: 206>)",
            "there is no bucket gs://no-such:",
        ),
        (
            "google.api_core.exceptions.NotFound: 404 GET https://storage.googleapis.com/download/storage/v1/b/"
            "mine/o/a%20b%2Fx?alt=media: No such object: mine/a b/x: ('Request failed with status code', 404, "
            "'Expected one of', <HTTPStatus.OK: 200>, <HTTPStatus.PARTIAL_CONTENT: 206>)",
            "there is no gs://mine/a b/x:",
        ),
        ("FileNotFoundError: gs://mine/train.csv", "there is no gs://mine/train.csv:"),
        (
            "google.api_core.exceptions.Forbidden: 403 GET https://storage.googleapis.com/storage/v1/b/mine/o/x: "
            "me@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage "
            "object. Permission 'storage.objects.get' denied on resource (or it may not exist).",
            "lacks storage.objects.get",
        ),
        (
            f"{_TF}.PermissionDeniedError: Error executing an HTTP request: HTTP response code 403 with body "
            "'{}'\n\t when reading metadata of gs://mine/x",
            "service_account=",
        ),
        (
            f"{_TF}.ResourceExhaustedError: {{{{function_node __wrapped__Fill_device_/job:localhost/replica:0/"
            "task:0/device:CPU:0}} OOM when allocating tensor with shape[10000000,10000000] and type float on "
            "/job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu [Op:Fill] name: ",
            "n1-highmem",
        ),
        (
            f"{_TF}.ResourceExhaustedError: Graph execution error:\n\nDetected at node dense/MatMul\n"
            "OOM when allocating tensor with shape[1024,1024] and type float on /job:localhost/replica:0/task:0/"
            "device:GPU:0 by allocator GPU_0_bfc",
            "an accelerator with more memory",
        ),
        (f"{_TF}.ResourceExhaustedError: /tmp/ckpt.data; No space left on device", "the disk is full"),
        (
            f"{_TF}.InvalidArgumentError: Could not satisfy device specification '/job:localhost/replica:0/task:0/"
            "device:GPU:0'. enable_soft_placement=0. Supported device types [CPU].",
            "accelerator=",
        ),
        (f"{_TF}.UnknownError: Could not start gRPC server", "a port was taken"),
        (
            "ValueError: Attempt to convert a value (PerReplica:{\n  0: <tf.Tensor: shape=(32, 3)>\n}) with an "
            "unsupported type (<class 'tensorflow.python.distribute.values.PerReplica'>) to a Tensor.",
            "TF_USE_LEGACY_KERAS",
        ),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "headless"),
        ("OSError: libcudart.so.12: cannot open shared object file: No such file or directory", "accelerator="),
        ("ImportError: libsnappy.so.1: cannot open shared object file: No such file or directory", "libsnappy"),
        ("TypeError: unsupported operand type(s) for |: 'type' and 'NoneType'", "older than this way"),
        ("TypeError: 'type' object is not subscriptable", "older than this way"),
        ("ValueError: File not found: filepath=model.keras. Please ensure the file is an accessible", "'model.keras'"),
        ("RuntimeError: Found no NVIDIA driver on your system. Please check", "accelerator="),
    ],
)  # fmt: skip
def test_what_libraries_say_has_a_remedy(said: str, remedy: str) -> None:
    lines = ["Epoch 1/5", *_TRACEBACK, *said.split("\n")]
    assert remedy in str(remedy_for(lines, exit_code=1, signal=None))


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement no-such (from versions: none)\n"
            "ERROR: No matching distribution found for no-such",
            "pip found no no-such",
        ),
        ("ERROR: Cannot install a==1 and b==2 because these package versions have conflicting dependencies.", "contradict"),
        ("  error: subprocess-exited-with-error\nERROR: Failed building wheel for psutil", "pip could not build psutil"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc", "n1-highmem"),
        ("FATAL Flags parsing error:\n  Unknown command line flag 'epoch'. Did you mean: epochs ?", "flag 'epoch'"),
    ],
)  # fmt: skip
def test_what_programs_say_without_a_traceback_has_a_remedy(said: str, remedy: str) -> None:
    assert remedy in str(remedy_for(["starting", *said.split("\n")], exit_code=1, signal=None))


@pytest.mark.parametrize(
    "warning",
    [
        "W tensorflow/stream_executor] Could not load dynamic library 'libcudart.so.11.0'; dlerror: "
        "libcudart.so.11.0: cannot open shared object file: No such file or directory",
        "E0000 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN",
        "W0000 local_rendezvous.cc:412] Local rendezvous is aborting with status: RESOURCE_EXHAUSTED: OOM when "
        "allocating tensor with shape[1] and type float",
        "TF-TRT Warning: Could not find TensorRT",
    ],
)
def test_a_warning_is_no_cause(warning: str) -> None:
    assert remedy_for([warning, *_TRACEBACK, "ValueError: boom"], exit_code=1, signal=None) is None
    assert remedy_for([warning, "the loss is not a number"], exit_code=1, signal=None) is None


# -- victims -----------------------------------------------------------------------------------

# As the chief of a MultiWorkerMirroredStrategy said it when its only worker had been killed.
_BEREAVED = [
    "10/10 - 0s - loss: 0.6369 - 146ms/epoch - 15ms/step",
    *_TRACEBACK,
    f"{_TF}.UnavailableError: {{{{function_node __wrapped__CollectiveReduceV2_device_/job:chief/replica:0/task:0/"
    "device:CPU:0}} Collective ops is aborted by: Error reported from /job:worker/task:0: The following tasks are "
    "unhealthy (stopped sending heartbeats):",
    "/job:worker/replica:0/task:0",
    "The tasks have crashed. Check the task logs for an earlier error, or scheduler events (e.g. preemption, "
    "eviction) to debug further.",
    "The error could be from a previous operation. Restart your program to reset. [Op:CollectiveReduceV2] name: ",
]  # fmt: skip


def test_a_replica_that_lost_another_is_not_blamed_for_it() -> None:
    error = failure(exited("1"), workerpool0_0=_BEREAVED, workerpool1_0=["Epoch 3/50", "epoch 2"])
    assert "workerpool0-0 exited with code 1, because workerpool1-0 had gone before it" in str(error)
    assert 'logs(replica="workerpool1-0")' in str(error.remedy)


def test_the_remedy_is_for_whoever_went_first() -> None:
    missing = [*_TRACEBACK, "ModuleNotFoundError: No module named 'cv2'"]
    error = failure(exited("1"), workerpool0_0=_BEREAVED, workerpool1_0=missing)
    assert "opencv-python-headless" in str(error.remedy)


@pytest.mark.parametrize(
    ("task", "replica"),
    [("chief/replica:0/task:0", "workerpool0-0"), ("worker/replica:0/task:3", "workerpool1-3"), ("ps/replica:0/task:1", "workerpool2-1")],
)  # fmt: skip
def test_a_lost_task_is_known_by_its_replica(task: str, replica: str) -> None:
    said = f"{_TF}.UnavailableError: failed to connect\nAdditional GRPC error information from remote target /job:{task}:"
    assert lost_peer([*_TRACEBACK, *said.split("\n")]) == replica
    assert lost_peer([*_TRACEBACK, "ValueError: boom"]) is None
