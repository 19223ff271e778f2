"""Where a search by Keras Tuner is looked for."""

from __future__ import annotations

import pytest
from doubles import PARENT, Doubles

from vertexkit.keras_tuner_job import KerasTunerJob

CHECKPOINTS = "gs://bucket/job/checkpoints"


@pytest.mark.parametrize(
    ("args", "places"),
    [
        ([], [CHECKPOINTS]),
        (["--directory=gs://mine/search", "--seed=1"], ["gs://mine/search", CHECKPOINTS]),
        (["--directory=/gcs/mine/search"], ["gs://mine/search", CHECKPOINTS]),
        (["--seed", "1", "--directory", "/gcs/mine/search"], ["gs://mine/search", CHECKPOINTS]),
        (["--directory=digits"], [CHECKPOINTS]),
    ],
)
def test_a_search_is_read_where_its_program_is_told_to_keep_it(args: list[str], places: list[str]) -> None:
    job = KerasTunerJob(
        Doubles().context,
        {
            "name": f"{PARENT}/trainingPipelines/1",
            "trainingTaskInputs": {
                "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/job"},
                "workerPoolSpecs": [{"pythonPackageSpec": {"args": args}}],
            },
        },
    )
    assert [str(place) for place in job._folder._places] == places
