"""An emulator that is killed in the middle of a study: it goes on, with no trial lost and none doubled."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from plain_api import PARENT, post

SPEC = {
    "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
    "parameters": [
        {"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}},
        {"parameterId": "n", "integerValueSpec": {"minValue": "1", "maxValue": "1000000"}},
    ],
}
CLIENTS = 4
DONE_BEFORE_KILL = 12

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def create(emulator: Any, **spec: Any) -> str:
    study = {"displayName": "killed", "studySpec": {**SPEC, **spec}}
    return str(post(emulator, f"{PARENT}/studies", study)["name"])


def suggest(emulator: Any, study: str, client: str, count: int = 1) -> list[dict[str, Any]]:
    """Ask for trials, and wait for them."""
    operation = post(emulator, f"/v1/{study}/trials:suggest", {"clientId": client, "suggestionCount": count})
    while not operation.get("done"):
        time.sleep(0.1)
        operation = requests.get(f"{emulator.rest}/v1/{operation['name']}", timeout=60).json()
    assert "error" not in operation, operation
    trials: list[dict[str, Any]] = operation["response"].get("trials", [])
    return trials


def listed(emulator: Any, study: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{emulator.rest}/v1/{study}/trials", timeout=60)
    assert answer.ok, answer.text
    trials: list[dict[str, Any]] = answer.json().get("trials", [])
    return trials


# By where in an answer the emulator was killed.
CUT_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Client:
    """Evaluates trials until the emulator is gone, and remembers what it was answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.given: dict[str, Any] = {}
        self.measured: dict[str, int] = {}
        self.completed: dict[str, float] = {}

    def work(self, emulator: Any, study: str, enough: threading.Event) -> None:
        with contextlib.suppress(*CUT_OFF):
            while True:
                for trial in suggest(emulator, study, self.name, 2):
                    number = trial["id"]
                    assert number not in self.completed, "a trial that has ended was given again"
                    self.given[number] = trial["parameters"]
                    for step in (1, 2):
                        metrics = [{"metricId": "loss", "value": random.random()}]
                        body = {"measurement": {"stepCount": step, "metrics": metrics}}
                        url = f"{emulator.rest}/v1/{trial['name']}:addTrialMeasurement"
                        answer = requests.post(url, json=body, timeout=60)
                        # What was kept before the kill is in the way of another value.
                        assert answer.ok or "has another Measurement" in answer.text, answer.text
                        self.measured[number] = step
                    done = post(emulator, f"/v1/{trial['name']}:complete", {})
                    self.completed[number] = done["finalMeasurement"]["metrics"][0]["value"]
                    if len(self.completed) >= DONE_BEFORE_KILL // CLIENTS:
                        enough.set()


def test_no_trial_is_lost_or_doubled_by_kills(launch_emulator: Launch, tmp_path: Path) -> None:
    folder = ["--data-dir", str(tmp_path / "data")]
    clients = [Client(f"client-{number}") for number in range(CLIENTS)]
    study = ""
    for _ in range(2):
        with launch_emulator(*folder) as own:
            study = study or create(own)
            enough = threading.Event()
            with ThreadPoolExecutor(CLIENTS) as pool:
                working = [pool.submit(client.work, own, study, enough) for client in clients]
                assert enough.wait(120)
                own.process.kill()
                own.process.wait(30)
                for one in working:
                    one.result(60)
    with launch_emulator(*folder) as own:
        trials = {trial["id"]: trial for trial in listed(own, study)}
        assert [int(number) for number in trials] == list(range(1, len(trials) + 1))
        for client in clients:
            for number, parameters in client.given.items():
                assert trials[number]["parameters"] == parameters
                assert trials[number]["clientId"] == client.name
                assert len(trials[number].get("measurements", ())) >= client.measured.get(number, 0)
            for number, value in client.completed.items():
                assert trials[number]["state"] == "SUCCEEDED"
                assert trials[number]["finalMeasurement"]["metrics"][0]["value"] == value
            # What it was given and has not ended is given to it again, and nothing more.
            still = [
                number
                for number, trial in trials.items()
                if trial["clientId"] == client.name and trial["state"] == "ACTIVE"
            ]
            assert len(still) <= 2
            if still:
                assert [one["id"] for one in suggest(own, study, client.name, len(still))] == still
        assert len(listed(own, study)) == len(trials)
        # Suggestions are of a study that knows them all: none is tried again.
        new = suggest(own, study, "another", 2)
        tried = [trial["parameters"] for trial in trials.values()]
        assert all(trial["parameters"] not in tried for trial in new)
        assert [int(trial["id"]) for trial in new] == [len(trials) + 1, len(trials) + 2]


def test_a_suggestion_that_a_kill_cut_short_is_asked_for_again(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    count = 40
    folder = ["--data-dir", str(tmp_path / "data")]
    with launch_emulator(*folder) as own:
        study = create(own)
        for _ in range(3):
            for trial in suggest(own, study, "first"):
                metrics = [{"metricId": "loss", "value": 0.5}]
                post(own, f"/v1/{trial['name']}:complete", {"finalMeasurement": {"metrics": metrics}})
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(suggest, own, study, "me", count)
            time.sleep(0.02)
            own.process.kill()
            with contextlib.suppress(*CUT_OFF):
                asking.result(60)
    with launch_emulator(*folder) as own:
        before = [trial["id"] for trial in listed(own, study)]
        trials = suggest(own, study, "me", count)
        assert [int(trial["id"]) for trial in trials] == list(range(4, 4 + count))
        # All of them were kept, or none.
        assert len(before) in {3, 3 + count}
        assert [trial["id"] for trial in suggest(own, study, "me", count)] == [one["id"] for one in trials]
        assert len(listed(own, study)) == 3 + count
