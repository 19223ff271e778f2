"""What is said of a trial that has no model to upload."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import Doubles

from vertexkit import storage
from vertexkit.errors import NotFound
from vertexkit.trial_model import upload_trial
from vertexkit.trials import Trial, TrialState


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"state": TrialState.ACTIVE}, ["was active when it was last read", "wait() for the search to end"]),
        ({"state": TrialState.STOPPING}, ["wait() for the search to end"]),
        ({"stopped_early": True}, ["was stopped early", "take a trial that ran to its end"]),
        (
            {"state": TrialState.INFEASIBLE, "infeasible_reason": "no loss"},
            ["came to nothing (no loss)", "take a trial that ran to its end"],
        ),
        ({}, ["the trial has written no model to AIP_MODEL_DIR (gs://bucket/model/)", "let the program"]),
    ],
)
def test_why_there_is_no_model_and_what_would_do(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], said: list[str]
) -> None:
    monkeypatch.setattr(storage.Bucket, "list", lambda *_: iter(()))
    given = {"state": TrialState.SUCCEEDED, "model_dir": "gs://bucket/model", **facts}
    trial = Trial(id="3", parameters={}, **given)
    with pytest.raises(NotFound) as raised:
        upload_trial(Doubles().context, trial, None, search="mnist", image=None)
    for words in said:
        assert words in str(raised.value)
