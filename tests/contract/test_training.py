"""Training jobs, through vertexkit, against a real local Vertex AI: programs that need no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk
from vertexkit.saved_model import _message_class


@pytest.fixture
def script(tmp_path: Path) -> Any:
    """Writes a program: ``script("print('hello')")``."""

    def write(*lines: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def own_lines(text: str) -> list[str]:
    """Lines of replicas, without what the service says itself."""
    return [line for line in text.splitlines() if line.startswith("workerpool")]


WRITES_MODEL = (
    "import os",
    "from google.cloud import storage",
    "bucket, _, name = os.environ['AIP_MODEL_DIR'].removeprefix('gs://').partition('/')",
    "storage.Client().bucket(bucket).blob(name + 'saved_model.pb').upload_from_string(b'')",
)


def test_a_script_runs_with_its_arguments_and_its_log_is_shown(
    session: vk.Session, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    program = script(
        "import os, sys",
        "print('epochs', sys.argv[1:], flush=True)",
        "print('switch', os.environ['SWITCH'], file=sys.stderr)",
    )
    job = session.training.run(program, args={"epochs": 3}, env={"SWITCH": "on"}, labels={"team": "ml"})
    assert job.state == "SUCCEEDED"
    assert job.labels["team"] == "ml"
    lines = own_lines(capsys.readouterr().out)
    assert sorted(lines) == ["workerpool0-0  epochs ['--epochs=3']", "workerpool0-0  switch on"]
    assert {line.text for line in job.logs("workerpool0-0")} == {"epochs ['--epochs=3']", "switch on"}
    severities = {line.text.split()[0]: line.severity for line in job.logs("workerpool0-0")}
    assert severities == {"epochs": "INFO", "switch": "ERROR"}
    assert list(job.logs("workerpool1-0")) == []
    assert job.start_time is not None
    assert job.end_time is not None
    assert job.created <= job.start_time <= job.end_time


def test_what_it_writes_becomes_a_model(session: vk.Session, script: Any) -> None:
    job = session.training.run(script(*WRITES_MODEL), name="mnist", logs=False)
    model = job.model
    assert model is not None
    assert (model.display_name, model.artifact_uri) == ("mnist", job.model_dir)
    assert model.labels["vertexkit_session"] == session.id
    assert session.models.get("mnist") == model
    again = session.training.get("mnist")
    assert again == job
    assert again.result() == model


def test_a_trained_model_says_what_it_takes(session: vk.Session, script: Any) -> None:
    saved = _message_class()()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    definition = graph.signature_def["serving_default"]
    definition.inputs["x"].dtype = definition.outputs["y"].dtype = 1
    program = script(*(line.replace("b''", repr(saved.SerializeToString())) for line in WRITES_MODEL))
    model = session.training.run(program, logs=False).model
    assert model is not None
    assert str(model.signature) == "serving_default(x: float32[...]) -> y: float32[...]"


def test_what_nothing_can_be_made_of_is_told_from_a_program_that_failed(
    session: vk.Session, script: Any
) -> None:
    program = script(*(line.replace("saved_model.pb", "weights.h5") for line in WRITES_MODEL))
    with pytest.raises(vk.TrainingFailed, match=r"(?s)program succeeded.*saved_model\.pb.*serving_image"):
        session.training.run(program, logs=False)
    job = session.training.run(program, serving_image="gcr.io/mine/server:1", logs=False)
    assert job.model is not None


def test_a_script_that_writes_no_model_succeeds_and_says_so(
    session: vk.Session, script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    job = session.training.run(script("print('done')"), logs=False)
    assert (job.state, job.model, job.error) == ("SUCCEEDED", None, None)
    assert [text for text in caplog.messages if "wrote no model to AIP_MODEL_DIR" in text]
    (listed,) = session.training.list()
    assert (listed, listed.state) == (job, "SUCCEEDED")


def test_without_a_model_it_is_a_custom_job(session: vk.Session, script: Any) -> None:
    job = session.training.run(script(*WRITES_MODEL), model=False, logs=False)
    assert "/customJobs/" in job.resource_name
    assert (job.state, job.model, job.custom_job) == ("SUCCEEDED", None, job.resource_name)
    assert session.models.list() == []
    assert session.training.list() == [job]


def test_a_failure_names_replica_exit_code_and_last_lines(session: vk.Session, script: Any) -> None:
    program = script(
        "import importlib",
        "print('loading', flush=True)",
        "importlib.import_module('no_such_thing')",
    )
    with pytest.raises(vk.TrainingFailed) as raised:
        session.training.run(program, logs=False)
    error = raised.value
    assert (error.replica, error.exit_code, error.signal) == ("workerpool0-0", 1, None)
    assert "loading" in error.last_lines
    assert error.last_lines[-1] == "ModuleNotFoundError: No module named 'no_such_thing'"
    assert "no_such_thing" in str(error.remedy)
    assert error.job is not None
    job = session.training.get(error.job)
    assert job.state == "FAILED"
    assert "workerpool0-0 exited with a non-zero status of 1" in str(job.error)


def test_a_job_is_found_and_followed_after_its_process_has_gone(
    session: vk.Session, emulator: Any, script: Any, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    program = script(
        "import os, time",
        "print('first', flush=True)",
        f"while not os.path.exists({str(go)!r}): time.sleep(0.05)",
        "print('second', flush=True)",
    )
    code = (
        "import sys, vertexkit as vk\n"
        "session = vk.connect(sys.argv[1], emulator=sys.argv[2])\n"
        "print(session.training.run(sys.argv[3], model=False, wait=False).resource_name)\n"
    )
    name = subprocess.run(
        [sys.executable, "-c", code, session.project, emulator.rest, str(program)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    job = session.training.get(name)
    assert not job.state.ended
    with pytest.raises(vk.DeadlineExceeded, match="it goes on"):
        job.wait(0.3)
    lines = job.logs("workerpool0-0", follow=True)
    assert next(lines).text == "first"
    assert not job.state.ended
    go.touch()
    assert [line.text for line in lines] == ["second"]
    assert job.wait(10).state == "SUCCEEDED"


def test_a_running_job_is_cancelled(session: vk.Session, script: Any) -> None:
    job = session.training.run(
        script("import time", "print('up', flush=True)", "time.sleep(600)"), wait=False
    )
    next(job.logs("workerpool0-0", follow=True))
    with pytest.raises(vk.FailedPrecondition, match="RUNNING"):
        job.delete()
    job.cancel()
    with pytest.raises(vk.Cancelled):
        job.wait(30)
    assert job.state == "CANCELLED"
    job.cancel()  # over already
    job.delete()
    job.delete()  # gone already
    with pytest.raises(vk.NotFound):
        job.refresh()


def test_a_job_ends_when_its_time_is_over(session: vk.Session, script: Any) -> None:
    program = script("import time", "print('up', flush=True)", "time.sleep(600)")
    with pytest.raises(vk.TrainingFailed, match="timeout"):
        session.training.run(program, timeout=1, logs=False)


def test_a_cluster_has_the_pools_that_were_asked_for(session: vk.Session, script: Any) -> None:
    program = script("import json, os", "print(json.dumps(json.loads(os.environ['TF_CONFIG'])['task']))")
    job = session.training.run(program, workers=2, evaluators=1, model=False, logs=False)
    tasks = {line.replica: json.loads(line.text) for line in job.logs() if line.replica != "service"}
    assert {(replica, task["type"]) for replica, task in tasks.items()} == {
        ("workerpool0-0", "chief"),
        ("workerpool1-0", "worker"),
        ("workerpool1-1", "worker"),
        ("workerpool3-0", "evaluator"),
    }


def test_thousands_of_lines_are_all_shown_in_order(
    session: vk.Session, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    session.training.run(script("for n in range(20_000): print(n)"), model=False)
    lines = own_lines(capsys.readouterr().out)
    assert lines == [f"workerpool0-0  {n}" for n in range(20_000)]


def test_a_requirement_that_is_nowhere_is_named(session: vk.Session, script: Any) -> None:
    with pytest.raises(vk.TrainingFailed, match="vertexkit-no-such-package") as raised:
        session.training.run(
            script("print('never')"),
            requirements=["vertexkit-no-such-package==1.0 ; python_version >= '3'"],
            model=False,
            logs=False,
        )
    assert "never" not in raised.value.last_lines


def test_checking_does_nothing(session: vk.Session, script: Any) -> None:
    assert session.training.check(script("print('fine')"), workers=1) == []
    (found,) = session.training.check(script("import no_such_module_at_all"))
    assert found.argument in ("program", "requirements")
    assert "no_such_module_at_all" in str(found)
    with pytest.raises(vk.PreflightFailed):
        session.training.run(script("def broken(:"))
    assert session.buckets.list() == []
    assert session.training.list() == []


def test_cleaning_up_leaves_nothing_of_a_running_job(emulator: Any, project: str, script: Any) -> None:
    bucket = f"{project}-bucket"
    with vk.connect(project, emulator=emulator.rest) as keeper:
        keeper.buckets.create(bucket)
        with vk.connect(project, emulator=emulator.rest, bucket=bucket) as session:
            made = session.training.run(script(*WRITES_MODEL), logs=False)
            assert made.model is not None
            running = session.training.run(script("import time", "time.sleep(600)"), wait=False)
            report = session.cleanup()
            assert {made.resource_name, running.resource_name} < set(report.deleted)
        assert keeper.training.list() == []
        assert keeper.models.list() == []
        assert keeper.buckets.get(bucket).list() == []
        keeper.buckets.delete(bucket)


def test_ctrl_c_away_from_a_terminal_cancels(session: vk.Session, emulator: Any, script: Any) -> None:
    program = script("import time", "print('up', flush=True)", "time.sleep(600)")
    command = [
        *(sys.executable, "-m", "vertexkit", "train", str(program), "--no-model", "--name=forever"),
        *(f"--project={session.project}", f"--emulator={emulator.rest}"),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line == "workerpool0-0  up\n":
                break
        process.send_signal(2)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "was asked to stop" in errors
    job = session.training.get("forever")
    deadline = time.monotonic() + 20
    while not job.state.ended and time.monotonic() < deadline:
        time.sleep(0.1)
    assert job.state == "CANCELLED"


def test_the_command_line_trains_shows_and_deletes(session: vk.Session, emulator: Any, script: Any) -> None:
    where = (f"--project={session.project}", f"--emulator={emulator.rest}")

    def vertexkit(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vertexkit", *arguments], capture_output=True, text=True, timeout=60
        )

    program = script("import sys", "print('args', sys.argv[1:])", "sys.exit(int(sys.argv[-1]))")
    trained = vertexkit("train", *where, "--no-model", "--name=cli", "--json", str(program), "--", "--a", "0")
    assert trained.returncode == 0, trained.stderr
    shown = json.loads(trained.stdout)
    assert (shown["state"], shown["name"], shown["model"]) == ("SUCCEEDED", "cli", None)
    assert "workerpool0-0  args ['--a', '0']" in trained.stderr
    failed = vertexkit("train", *where, "--no-model", str(program), "--", "3")
    assert failed.returncode == 1
    assert "workerpool0-0 exited with code 3" in failed.stderr
    logs = vertexkit("jobs", "logs", *where, "cli", "--replica=workerpool0-0")
    assert logs.stdout == "workerpool0-0  args ['--a', '0']\n"
    listed = json.loads(vertexkit("jobs", "list", *where, "--json").stdout)
    assert [row["state"] for row in listed] == ["FAILED", "SUCCEEDED"]
    assert vertexkit("jobs", "delete", *where, "cli", "--yes").returncode == 0
    assert vertexkit("jobs", "show", *where, "cli").returncode == 1
    refused = vertexkit("train", *where, "--check", "--workers=1", "--timeout=0", str(program))
    assert (refused.returncode, "timeout" in refused.stdout) == (1, True)
