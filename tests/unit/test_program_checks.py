"""What a program would miss in its job: modules, files of this machine, arguments of its parser."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path

import pytest

from vertexkit.distributions import distribution_of, import_names
from vertexkit.errors import Finding
from vertexkit.packaging import Program, understand
from vertexkit.program_args import check_args

IMAGE = frozenset({"tensorflow", "numpy", "google"})


def checked(
    folder: Path,
    source: str,
    *,
    requirements: list[str] | None = None,
    provided: frozenset[str] | None = IMAGE,
) -> list[Finding]:
    (folder / "train.py").write_text(source)
    return list(understand(folder / "train.py", requirements=requirements, provided=provided).findings)


@pytest.mark.parametrize(
    "source",
    [
        "import os.path, json\nimport tensorflow as tf, numpy\nfrom google.cloud import storage\n",
        "from trainer_scripts import environment\n",
        "try:\n    import ujson\nexcept ImportError:\n    import json\n",
        "try:\n    import a\nexcept (ValueError, ModuleNotFoundError):\n    import b\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import missing\n",
        "import sys\nif sys.platform == 'win32':\n    import missing\n",
        "import distutils\n",
        "import __main__\n",
    ],
)
def test_what_a_job_has_is_no_finding(tmp_path: Path, source: str) -> None:
    assert checked(tmp_path, source) == []


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("import sklearn.svm\n", "add requirements=['scikit-learn']"),
        ("from PIL import Image\n", "add requirements=['pillow']"),
        ("import cv2\n", "add requirements=['opencv-python-headless']"),
        ("import some_thing\n", "add requirements=['some-thing']"),
        ("def main():\n    import yaml\nmain()\n", "add requirements=['pyyaml']"),
        ("if __name__ == '__main__':\n    import yaml\n", "add requirements=['pyyaml']"),
        ("try:\n    import yaml\nfinally:\n    pass\n", "add requirements=['pyyaml']"),
        ("try:\n    import yaml\nexcept ValueError:\n    pass\n", "add requirements=['pyyaml']"),
        ("with open('x', 'w') as f:\n    import yaml\n", "add requirements=['pyyaml']"),
    ],
)
def test_a_module_that_a_job_lacks_is_refused_with_what_has_it(
    tmp_path: Path, source: str, remedy: str
) -> None:
    (finding,) = checked(tmp_path, source)
    assert finding.remedy == f"{remedy}, or put it beside the program if it is yours"
    assert not finding.warning


def test_it_is_told_once_with_the_file_and_line_where_it_is_imported_first(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("import yaml\n")
    (finding,) = checked(tmp_path, "import helpers\n\nimport yaml\n")
    assert str(finding.value).endswith("train.py")
    assert "line 3" in finding.problem


def test_without_a_known_image_imports_are_not_checked(tmp_path: Path) -> None:
    assert checked(tmp_path, "import sklearn\n", provided=None) == []


def test_a_requirement_gives_its_modules_and_those_of_what_it_needs(tmp_path: Path) -> None:
    # pandas is installed here, and needs dateutil: what is known for sure.
    source = "import pandas, dateutil\n"
    assert checked(tmp_path, source, requirements=["pandas"], provided=frozenset()) == []
    (finding,) = checked(tmp_path, "import sklearn, pandas\n", requirements=["pandas"])
    assert not finding.warning


def test_where_a_requirement_is_not_known_a_missing_module_is_only_warned_of(tmp_path: Path) -> None:
    (finding,) = checked(tmp_path, "import mclib\n", requirements=["my-company-lib"])
    assert finding.warning
    assert checked(tmp_path, "import my_company_lib\n", requirements=["my-company-lib"]) == []
    assert checked(tmp_path, "import cv2\n", requirements=["opencv-python"]) == []
    assert checked(tmp_path, "import google.cloud.bigquery\n", requirements=["google-cloud-bigquery"]) == []


def test_vertexkit_is_not_in_a_container(tmp_path: Path) -> None:
    (finding,) = checked(tmp_path, "import vertexkit\n", provided=None)
    assert finding.remedy is not None
    assert "trainer_scripts.environment" in finding.remedy
    assert checked(tmp_path, "import vertexkit\n", requirements=["vertexkit"]) == []


def test_modules_of_an_own_trainer_scripts_are_told(tmp_path: Path) -> None:
    (tmp_path / "trainer_scripts").mkdir()
    (tmp_path / "trainer_scripts" / "mine.py").write_text("")
    for source in ("import trainer_scripts.mine\n", "from trainer_scripts import mine\n"):
        (finding,) = checked(tmp_path, source)
        assert "trainer_scripts.mine in line 1" in finding.problem
    assert checked(tmp_path, "from trainer_scripts.environment import Environment\n") == []


def test_a_file_of_this_machine_is_warned_of_only_when_it_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    (tmp_path / "model.h5").write_text("")
    (finding,) = checked(tmp_path, "import numpy as np\nx = np.loadtxt('data.csv')\n")
    assert finding.warning
    assert "'data.csv' in line 2" in finding.problem
    for source in (
        "open('data.csv', 'w')\n",
        "m.save('model.h5')\n",
        "open('gs://b/data.csv')\n",
        "'data.csv'\n",
    ):
        assert checked(tmp_path, source) == []


@pytest.mark.parametrize(
    "expression",
    [
        "Path(__file__).parent / 'config.json'",
        "Path(__file__).resolve().parent / 'config.json'",
        "os.path.join(os.path.dirname(__file__), 'config.json')",
        "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'config.json')",
    ],
)
def test_a_file_beside_a_script_does_not_travel_and_one_in_a_package_does(
    tmp_path: Path, expression: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    source = f"import os\nfrom pathlib import Path\nprint({expression})\n"
    (finding,) = checked(tmp_path, source)
    assert "'config.json' in line 3" in finding.problem
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "config.json").write_text("{}")
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(source)
    assert understand(package).findings == ()


def test_the_distribution_of_a_module_and_back() -> None:
    assert distribution_of("sklearn") == "scikit-learn"
    assert import_names(["scikit-image"])[0] >= {"skimage"}
    assert import_names([]) == (frozenset(), True)
    names, is_all = import_names(["requests"])
    assert names >= {"requests", "urllib3", "certifi"}
    assert is_all


PARSER = """
import argparse
def main():
    parser = argparse.ArgumentParser(description="trains")
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=int, required=True, help="how many")
    group.add_argument("--learning-rate", "-l", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--cache", action=argparse.BooleanOptionalAction)
    parser.add_argument("--since", type=lambda text: text.split("-"))
    options = parser.parse_args()
    print("ran")
if __name__ == "__main__":
    main()
"""


def program(folder: Path, source: str = PARSER) -> Program:
    (folder / "train.py").write_text(source)
    return understand(folder / "train.py")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--epochs=3"], None),
        (["--epochs", "3", "--verbose", "--optimizer=sgd", "--layers", "1", "2", "--no-cache"], None),
        (["--ep=3", "-l", "0.1", "--since=2020-01"], None),
        (["--epoch=3", "--optimiser=sgd"], "use --optimizer"),
        ([], "required: --epochs"),
        (["--epochs=x"], "invalid int value"),
        (["--epochs=1", "--optimizer=rmsprop"], "invalid choice"),
        (["--epochs=1", "--verbose=True"], "args={'verbose': True}"),
        (["--epochs=1", "--layers", "a"], "invalid int value"),
        (["--epochs=1", "stray"], "no argument that the program takes"),
    ],
)
def test_it_says_what_the_program_itself_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str | None
) -> None:
    findings = check_args(program(tmp_path), args)
    monkeypatch.setattr(sys, "argv", ["train.py", *args])
    with pytest.raises(SystemExit) if findings else contextlib.nullcontext():
        runpy.run_path(str(tmp_path / "train.py"), run_name="__main__")
    if words is not None:
        assert any(words in str(found) for found in findings)


def test_values_that_the_program_will_not_see_are_warned_of(tmp_path: Path) -> None:
    (found,) = check_args(program(tmp_path), ["--epochs=1", "--layers=64", "--layers=32"])
    assert found.warning
    assert found.remedy == "give a list: args=['--layers', '64', '32']"
    (found,) = check_args(program(tmp_path), ["--epochs=1", "--epochs", "2"])
    assert found.remedy == 'let it have action="append"'
    appending = PARSER.replace('nargs="+"', 'action="append"')
    assert check_args(program(tmp_path, appending), ["--epochs=1", "--layers=64", "--layers=32"]) == []


def test_a_misspelt_option_is_told_beside_the_one_that_is_missing_for_it(tmp_path: Path) -> None:
    findings = check_args(program(tmp_path), ["--epohcs=3"])
    assert [found.remedy for found in findings] == ["use --epochs", None]


@pytest.mark.parametrize(
    "source",
    [
        "print('no parser')\n",
        "import sys\nprint(sys.argv)\n",
        PARSER.replace("parser.parse_args()", "parser.parse_known_args()[0]").replace("required=True", ""),
        PARSER.replace("parser.parse_args()", "parser.parse_args(['--epochs=1'])"),
        PARSER.replace('description="trains"', "parents=[other]"),
        PARSER.replace("    options", "    add_ours(parser)\n    options").replace("required=True", ""),
        PARSER.replace("    options", "    parser.add_subparsers()\n    options"),
        PARSER.replace(
            "    options", "    for n in 'ab':\n        parser.add_argument('--' + n)\n    options"
        ).replace("required=True", ""),
        PARSER + "\nother = argparse.ArgumentParser()\n",
        PARSER.replace('nargs="+"', "nargs=COUNT"),
        "def f(:\n",
    ],
)
def test_a_parser_that_cannot_be_read_is_not_judged(tmp_path: Path, source: str) -> None:
    assert check_args(program(tmp_path, source), ["--unknown=1"]) == []


def test_what_can_be_read_of_an_open_parser_still_counts(tmp_path: Path) -> None:
    known = PARSER.replace("parser.parse_args()", "parser.parse_known_args()[0]")
    (finding,) = check_args(program(tmp_path, known), ["--unknown=1", "--epochs=x"])
    assert "invalid int value" in finding.problem


def test_a_parser_is_followed_through_the_modules_of_the_program() -> None:
    packaged = understand("trainer_scripts.mnist_multiworker")
    assert check_args(packaged, ["--epochs=1"]) == []
    (finding,) = check_args(packaged, ["--epohcs=1"])
    assert finding.remedy == "use --epochs"
