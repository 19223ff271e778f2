"""The local Vertex AI as a process: what it says, what it refuses, and Google's client against it."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

CLI = [sys.executable, "-m", "vertexkit", "emulator"]
KEYS = {"grpc", "rest", "storage", "ca", "credentials", "project", "location", "pid", "version"}

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout) / 1024


def test_it_says_where_it_is(emulator: Any) -> None:
    about = requests.get(f"{emulator.rest}/emulator").json()
    assert set(about) >= KEYS
    assert {key: getattr(emulator, key) for key in KEYS} == {key: about[key] for key in KEYS}
    assert about["grpc"].startswith("localhost:")
    assert about["rest"].startswith("http://127.0.0.1:")
    assert about["pid"] == emulator.process.pid


def test_its_files_are_private(emulator: Any) -> None:
    credentials = Path(emulator.credentials)
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials.parent.stat().st_mode) == 0o700


def test_it_listens_on_loopback_only(emulator: Any) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect(("192.0.2.1", 9))  # Sends nothing; tells which address this machine has.
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    for url in (emulator.rest, emulator.storage, f"https://{emulator.grpc}"):
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError), socket.create_connection((outside, port), timeout=5):
            pass


def test_googles_client_lists_and_misses_over_each_transport(aiplatform: Any, emulator: Any) -> None:
    from google.api_core import exceptions

    assert aiplatform.Endpoint.list() == []
    assert aiplatform.Model.list() == []
    with pytest.raises(exceptions.NotFound, match="endpoints/1234567"):
        _ = aiplatform.Endpoint("1234567").display_name  # Looked up when first needed.
    with pytest.raises(exceptions.NotFound, match="models/1234567"):
        aiplatform.Model("1234567")


def test_googles_client_waits_for_an_operation_over_each_transport(aiplatform: Any) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="first")
    assert [found.display_name for found in aiplatform.Endpoint.list()] == ["first"]
    endpoint.update(display_name="second")
    assert aiplatform.Endpoint(endpoint.resource_name).display_name == "second"
    endpoint.delete()
    assert aiplatform.Endpoint.list() == []


def test_googles_client_is_told_what_is_not_there_by_name(aiplatform: Any) -> None:
    from google.api_core import exceptions

    with pytest.raises(exceptions.MethodNotImplemented, match=r"DatasetService\.ListDatasets"):
        aiplatform.TabularDataset.list()


def test_application_default_credentials_get_a_token_locally(grpc_env: dict[str, str]) -> None:
    program = (
        "import google.auth, google.auth.transport.requests as r\n"
        "c, p = google.auth.default(scopes=['https://www.googleapis.com/auth/cloud-platform'])\n"
        "c.refresh(r.Request()); print(p, bool(c.token))"
    )
    run = subprocess.run([sys.executable, "-c", program], env=grpc_env, capture_output=True, text=True)
    assert run.stdout.split() == [grpc_env["GOOGLE_CLOUD_PROJECT"], "True"], run.stderr


def test_faults_are_refused_unless_allowed(launch_emulator: Launch) -> None:
    with launch_emulator() as own:
        answer = requests.put(f"{own.rest}/emulator/faults", json={"rules": []})
        assert (answer.status_code, "--allow-faults" in answer.text) == (400, True)


def test_it_starts_lean(launch_emulator: Launch) -> None:
    with launch_emulator() as own:
        assert requests.get(f"{own.rest}/v1/projects/p/locations/us-central1/endpoints").ok
        assert memory_mb(own.pid) < 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(launch_emulator: Launch, number: signal.Signals) -> None:
    with launch_emulator() as own:
        assert own.stop(number) == 0
        assert not Path(own.ca).exists(), "its temporary folder is still there"


def test_it_ends_when_its_owner_is_gone(launch_emulator: Launch) -> None:
    with launch_emulator() as own:
        own.process.stdin.close()
        assert own.process.wait(30) == 0


def test_ports_and_project_are_as_asked_for_and_free_again_at_once(launch_emulator: Launch) -> None:
    free = []
    for _ in range(3):
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            free.append(str(probe.getsockname()[1]))
    ports = ["--grpc-port", free[0], "--rest-port", free[1], "--storage-port", free[2]]
    for _ in range(2):
        with launch_emulator(*ports, "--project", "my-project", "--location", "europe-west4") as own:
            assert (own.grpc, own.rest) == (f"localhost:{free[0]}", f"http://127.0.0.1:{free[1]}")
            assert own.storage == f"http://127.0.0.1:{free[2]}"
            assert (own.project, own.location) == ("my-project", "europe-west4")


def test_a_port_in_use_is_one_clear_line(emulator: Any) -> None:
    port = emulator.rest.rpartition(":")[2]
    run = subprocess.run([*CLI, "start", "--rest-port", port], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert f"port {port} (rest) is in use" in line
    assert run.stdout == ""


def test_a_data_dir_in_use_is_refused_and_one_left_is_taken_up(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    path = "/v1/projects/p/locations/us-central1/endpoints"
    with launch_emulator("--data-dir", str(folder)) as first:
        run = subprocess.run(
            [*CLI, "start", "--data-dir", str(folder)], capture_output=True, text=True, timeout=60
        )
        assert (run.returncode, f"process {first.pid}" in run.stderr) == (1, True)
        assert requests.post(first.rest + path, json={"displayName": "kept"}).ok
        ca = first.ca
        first.process.kill()
    with launch_emulator("--data-dir", str(folder)) as second:
        # Where it was, so that who has its addresses finds it again.
        assert (second.grpc, second.rest, second.storage) == (first.grpc, first.rest, first.storage)
        assert second.ca == ca
        kept = requests.get(second.rest + path).json()["endpoints"]
        assert [endpoint["displayName"] for endpoint in kept] == ["kept"]
        assert requests.get(f"https://{second.grpc}/emulator", verify=ca).ok


def test_a_data_dir_whose_ports_somebody_else_has_by_now_gets_others(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    with launch_emulator("--data-dir", str(tmp_path)) as first:
        port = int(first.rest.rpartition(":")[2])
    somebody = contextlib.closing(socket.create_server(("127.0.0.1", port)))
    with somebody, launch_emulator("--data-dir", str(tmp_path)) as second:
        assert second.rest != first.rest
        assert requests.get(second.rest + "/emulator").ok


def test_it_prints_one_line_for_people(tmp_path: Path) -> None:
    with subprocess.Popen([*CLI, "start"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.stdout.read() == ""
    assert "vertexkit.connect(emulator='http://127.0.0.1:" in line
    assert process.returncode == 0


def test_it_lists_every_rpc_of_the_services_it_serves() -> None:
    run = subprocess.run([*CLI, "methods", "--json"], capture_output=True, text=True, timeout=60, check=True)
    rows = {
        (row["service"].rpartition(".")[2], row["method"]): row["implemented"]
        for row in json.loads(run.stdout)
    }
    assert {service for service, _ in rows} == {
        "EndpointService", "JobService", "Locations", "ModelService", "Operations", "PipelineService",
        "PredictionService", "Projects", "VizierService",
    }  # fmt: skip
    assert rows["EndpointService", "DeployModel"] is True
    assert rows["ModelService", "ImportModelEvaluation"] is False
    everything = subprocess.run([*CLI, "methods", "--all"], capture_output=True, text=True, timeout=60)
    assert "no   google.cloud.aiplatform.v1.DatasetService.CreateDataset" in everything.stdout


def test_what_the_list_says_is_not_implemented_is_refused(emulator: Any) -> None:
    run = subprocess.run([*CLI, "methods", "--json"], capture_output=True, text=True, timeout=60, check=True)
    missing = {row["method"] for row in json.loads(run.stdout) if not row["implemented"]}
    assert "ExportModel" in missing
    answer = requests.post(f"{emulator.rest}/v1/projects/p/locations/us-central1/models/1:export", json={})
    assert (answer.status_code, "ModelService.ExportModel" in answer.text) == (501, True)


def test_the_environment_of_grpc_is_not_needed_by_rest(emulator: Any) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import requests; print(requests.get('https://{emulator.grpc}/emulator').status_code)",
        ],
        env={**os.environ, "REQUESTS_CA_BUNDLE": emulator.ca},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "200", run.stderr
