"""Programs of whose search nothing would be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertexkit.keras_tuner_checks import JOINING, check_directories, check_joins
from vertexkit.packaging import understand

PROVIDED = frozenset({"numpy", "tensorflow"})
TUNER = "import numpy\nimport keras_tuner\ntuner = keras_tuner.RandomSearch()\n"


def found(
    folder: Path, source: str, workers: int = 1, args: tuple[str, ...] = (), **helpers: str
) -> list[str]:
    """What is found of a script, a warning with ``?`` behind it."""
    script = folder / "search.py"
    script.write_text(source)
    for name, text in helpers.items():
        (folder / f"{name}.py").write_text(text)
    findings = check_joins(understand(script), workers, args, PROVIDED)
    return [f"{one.problem} {one.remedy}{'?' * one.warning}" for one in findings]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_search_that_does_not_join_its_cluster_is_refused(tmp_path: Path, workers: int) -> None:
    (said,) = found(tmp_path, TUNER, workers)
    assert "imports keras_tuner in line 2 and does not join its job's cluster" in said
    assert f"write before that line: {JOINING}" in said
    assert f"each of its {workers + 1} machines" in said or workers == 0
    assert not said.endswith("?")
    # The remedy is one.
    assert found(tmp_path, f"{JOINING}\n{TUNER}", workers) == []


def test_an_import_in_a_module_beside_it_is_seen(tmp_path: Path) -> None:
    (said,) = found(tmp_path, "import tuning\n", tuning=TUNER)
    assert "line 2" in said
    assert found(tmp_path, "import cluster, tuning\n", tuning=TUNER, cluster=JOINING) == []


@pytest.mark.parametrize(
    "joining",
    [
        "from trainer_scripts.keras_tuner_cluster import join\njoin()",
        "import trainer_scripts.keras_tuner_cluster as cluster\ncluster.join()",
        "import importlib\nimportlib.import_module('trainer_scripts.keras_tuner_cluster').join()",
        "import os\nos.environ['KERASTUNER_ORACLE_IP'] = '10.0.0.1'",
    ],
)
def test_who_takes_part_in_another_way_is_believed(tmp_path: Path, joining: str) -> None:
    assert found(tmp_path, f"{joining}\n{TUNER}") == []


def test_one_machine_may_search_alone_on_cloud_storage(tmp_path: Path) -> None:
    place = "directory = '/gcs/bucket/search'\n"
    assert found(tmp_path, TUNER + place, workers=0) == []
    assert found(tmp_path, TUNER, workers=0, args=("--directory=gs://bucket/search",)) == []
    assert len(found(tmp_path, TUNER + place, workers=1)) == 1


def test_a_program_that_is_no_search_is_refused(tmp_path: Path) -> None:
    (said,) = found(tmp_path, "import numpy, json\n")
    assert said.startswith("does not import keras_tuner")
    assert not said.endswith("?")
    trial = understand("trainer_scripts.mnist_trial")
    assert len(check_joins(trial, 1, (), PROVIDED)) == 1


def test_what_another_package_does_is_not_known(tmp_path: Path) -> None:
    (said,) = found(tmp_path, "import ourtuners\n")
    assert said.endswith("?")


def test_the_packaged_search_is_taken() -> None:
    assert check_joins(understand("trainer_scripts.keras_tuner_search"), 1, (), PROVIDED) == []


@pytest.mark.parametrize(
    "args", [("--directory=/tmp/search",), ("--tuner", "random", "--directory", "/home/me")]
)
def test_a_directory_of_one_machine_is_refused(args: tuple[str, ...]) -> None:
    (finding,) = check_directories(args)
    assert finding.argument == "args" and str(finding.value).startswith("--directory=/")
    assert finding.remedy is not None and "relative" in finding.remedy


@pytest.mark.parametrize("place", ["digits", "gs://bucket/search", "/gcs/bucket/search", "/mnt/nfs/search"])
def test_a_directory_that_all_machines_see_is_none_to_refuse(place: str) -> None:
    assert check_directories([f"--directory={place}", "--max_trials=2"]) == []


def test_who_may_take_part_by_a_package_that_cannot_be_read_is_warned(tmp_path: Path) -> None:
    (said,) = found(tmp_path, f"import mylab\nmylab.join()\n{TUNER}")
    assert "does not join its job's cluster" in said
    assert said.endswith("?")
