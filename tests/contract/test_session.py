"""Sessions against a real local Vertex AI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk


def _gone(pid: int, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_session_starts_a_local_one_and_stops_it() -> None:
    with vk.connect(emulator=True, project="my-project") as session:
        pid = session._process.pid  # type: ignore[union-attr] # there is one
        assert session.endpoints.create("e").resource_name.startswith("projects/")
        assert [endpoint.display_name for endpoint in session.endpoints.list()] == ["e"]
    assert _gone(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_local_one_goes_with_its_owner_however_that_ends(number: signal.Signals) -> None:
    script = (
        "import time, vertexkit\n"
        "session = vertexkit.connect(emulator=True)\n"
        "print(session._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.send_signal(number)
    owner.wait(30)
    owner.stdout.close()
    assert _gone(pid)


def test_a_session_attaches_to_a_running_one_through_the_environment(
    emulator: Any, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERTEXKIT_EMULATOR", emulator.rest)
    with vk.connect(project) as session:
        assert session.project == project
        assert session.target.rest_url == emulator.rest
        assert "VERTEXKIT_EMULATOR" in session.target.chosen_by
    with vk.connect() as session:
        assert (session.project, session.location) == (emulator.project, emulator.location)


def test_a_local_one_that_has_gone_is_said_to_have_gone_long_before_the_deadline(
    launch_emulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit._core.retry._LOCAL_PATIENCE", 0.2)
    with launch_emulator("--data-dir", str(tmp_path)) as first, vk.connect(emulator=first.rest) as session:
        endpoint = session.endpoints.create("e")
        first.process.kill()
        first.process.wait()
        calls = [session.endpoints.list, lambda: session.bucket.list(), lambda: session.endpoints.create("f")]
        for call in [*calls, lambda: endpoint.predict([1], timeout=3600)]:
            with pytest.raises(vk.Unavailable, match=r"refused[\s\S]*`vertexkit emulator start`"):
                call()
        # Started again on the same folder, it is where it was, for those that ask without TLS.
        with launch_emulator("--data-dir", str(tmp_path)):
            assert [found.display_name for found in session.endpoints.list()] == ["e"]


def test_sessions_are_independent_and_see_the_same_project(emulator: Any, project: str) -> None:
    with (
        vk.connect(project, emulator=emulator.rest) as one,
        vk.connect(project, "europe-west4", emulator=emulator.rest) as elsewhere,
        vk.connect(project, emulator=emulator.rest) as other,
    ):
        one.endpoints.create("mine")
        assert [found.display_name for found in other.endpoints.list()] == ["mine"]
        assert elsewhere.endpoints.list() == []
        assert other.cleanup().deleted == ()
        assert len(one.cleanup().deleted) == 1
        assert other.endpoints.list() == []


def test_a_session_serves_many_threads(emulator: Any, project: str) -> None:
    with vk.connect(project, emulator=emulator.rest, temporary=True) as session:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                name = f"e{number}"
                assert session.endpoints.get(session.endpoints.create(name).id).display_name == name
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert {found.display_name for found in session.endpoints.list()} == {f"e{n}" for n in range(16)}


def test_everything_created_is_labelled_and_cleaned_up(
    emulator: Any, project: str, scaling_models: dict[int, Path]
) -> None:
    with vk.connect(project, emulator=emulator.rest, labels={"team": "vision"}) as session:
        model = session.models.upload("scaling", scaling_models[2])
        endpoint = session.endpoints.create("scaling")
        labels = {"team": "vision", "vertexkit_session": session.id}
        assert model.refresh().labels == labels
        assert endpoint.refresh().labels == labels
        deleted = session.cleanup().deleted
        assert deleted[:2] == (endpoint.resource_name, model.resource_name)
        assert deleted[-1] == session.bucket.uri
        assert (session.models.list(), session.endpoints.list()) == ([], [])
        with pytest.raises(vk.NotFound):
            model.refresh()


def test_what_cannot_be_deleted_is_named_and_tried_again(
    emulator: Any, project: str, scaling_models: dict[int, Path], inject: Any
) -> None:
    with vk.connect(project, emulator=emulator.rest) as session:
        model = session.models.upload("scaling", scaling_models[2])
        inject({"method": "ModelService.DeleteModel", "status": 403})
        with pytest.raises(vk.CleanupIncomplete) as raised:
            session.cleanup()
        assert set(raised.value.failures) == {model.resource_name}
        inject()
        assert session.cleanup().deleted == (model.resource_name,)


def test_the_default_bucket_is_made_when_first_needed(emulator: Any, project: str) -> None:
    with vk.connect(project, emulator=emulator.rest) as session:
        assert session.buckets.list() == []
        assert session.bucket.name == f"{project}-vertexkit-us-central1"
        assert session.bucket.location == "us-central1"
        assert [found.name for found in session.buckets.list()] == [session.bucket.name]


def test_checking_finds_what_is_wrong_and_does_nothing(
    emulator: Any, project: str, scaling_models: dict[int, Path], tmp_path: Path
) -> None:
    with vk.connect(project, emulator=emulator.rest) as session:
        good = {"artifact": scaling_models[2], "machine": "n1-standard-4", "framework": "tensorflow"}
        assert session.check(**good, instances=[[1.0, 2.0, 3.0]]) == []
        found = session.check(
            artifact=tmp_path,
            machine=vk.Machine("e2-standard-4", "NVIDIA_TESLA_T4"),
            framework="caffe",
            name="",
            bucket="no-such-bucket-anywhere",
            replicas=(3, 1),
        )
        assert {"artifact", "framework", "name", "bucket", "replicas"} <= {one.argument for one in found}
        [wrong] = session.check(scaling_models[2], instances=[[1.0, 2.0]])
        assert wrong.argument == "instances.shape"
        assert (session.buckets.list(), session.models.list(), session.endpoints.list()) == ([], [], [])


def test_a_cold_script_that_predicts_imports_no_generated_client(
    emulator: Any, project: str, scaling_models: dict[int, Path]
) -> None:
    with vk.connect(project, emulator=emulator.rest, temporary=True) as session:
        session.models.upload("scaling", scaling_models[3]).deploy()
        script = (
            "import sys, vertexkit\n"
            f"with vertexkit.connect({project!r}, emulator={emulator.rest!r}) as session:\n"
            "    print(session.endpoints.get('scaling').predict([[1.0, 2.0, 3.0]]).tolist())\n"
            "print(*sys.modules)\n"
        )
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    predictions, modules = run.stdout.splitlines()
    assert predictions == "[[3.0, 6.0, 9.0]]"
    heavy = {"grpc", "google.cloud.aiplatform_v1", "google.cloud.storage", "google.protobuf", "tensorflow"}
    assert heavy & set(modules.split()) == set()
