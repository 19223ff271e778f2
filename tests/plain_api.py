"""An emulator of a test's own by plain HTTP, as the project ``p``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

PARENT = "/v1/projects/p/locations/us-central1"


def get(emulator: Any, name: str) -> Any:
    """A resource."""
    answer = requests.get(f"{emulator.rest}/v1/{name}")
    assert answer.ok, answer.text
    return answer.json()


def post(emulator: Any, path: str, body: Mapping[str, Any]) -> Any:
    """What is answered to a request."""
    answer = requests.post(f"{emulator.rest}{path}", json=body, timeout=60)
    assert answer.ok, answer.text
    return answer.json()


def texts(emulator: Any, job: str) -> list[str]:
    """Every line of a job's log."""
    body = {
        "resourceNames": ["projects/p"],
        "filter": f'resource.labels.job_id="{job.rpartition("/")[2]}"',
    }
    entries = post(emulator, "/v2/entries:list", body).get("entries", [])
    return [str(entry.get("textPayload") or entry["jsonPayload"]["message"]) for entry in entries]
