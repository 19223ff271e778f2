"""vertexkit's training jobs while calls of the service fail: no job twice, none half made, none lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import vertexkit as vk

ONCE = {
    "refused_503": {"status": 503, "times": 1},
    "overloaded_429": {"status": 429, "times": 1},
    "cut_off_before": {"reset": True, "times": 1},
    "answer_lost": {"reset": True, "after_work": True, "times": 1},
}


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('trained')\n")
    return path


@pytest.mark.parametrize("fault", ONCE)
@pytest.mark.parametrize("method", ["PipelineService.CreateTrainingPipeline", "JobService.CreateCustomJob"])
def test_a_creation_that_fails_once_makes_one_job(
    method: str, fault: str, session: vk.Session, script: Path, inject: Callable[..., Callable[[], list[int]]]
) -> None:
    struck = inject({"method": method, **ONCE[fault]})
    pipeline = "Pipeline" in method
    job = session.training.run(script, model="m" if pipeline else False, logs=False)
    assert struck() == [1]
    assert job.state == "SUCCEEDED"
    assert session.training.list() == [job]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("JobService.GetCustomJob", "refused_503"),
        ("JobService.GetCustomJob", "answer_lost"),
        ("JobService.CancelCustomJob", "answer_lost"),
        ("JobService.DeleteCustomJob", "answer_lost"),
        ("JobService.ListCustomJobs", "cut_off_before"),
    ],
)
def test_whatever_else_fails_once_is_done_all_the_same(
    method: str, fault: str, session: vk.Session, script: Path, inject: Callable[..., Callable[[], list[int]]]
) -> None:
    script.write_text("import time\ntime.sleep(600)\n")
    job = session.training.run(script, model=False, wait=False)
    struck = inject({"method": method, **ONCE[fault]})
    assert session.training.list() == [job]
    job.cancel()
    with pytest.raises(vk.Cancelled):
        job.wait(60)
    job.delete()
    assert session.training.list() == []
    assert struck() == [1]


def test_a_job_that_is_refused_leaves_no_file(
    session: vk.Session, script: Path, inject: Callable[..., Callable[[], list[int]]]
) -> None:
    bucket = session.bucket
    inject({"method": "PipelineService.CreateTrainingPipeline", "status": 403})
    with pytest.raises(vk.PermissionDenied):
        session.training.run(script)
    assert bucket.list() == []
    assert session.training.list() == []
