"""What is read off a program of what it sets before it imports TensorFlow."""

import ast
import textwrap
from unittest import mock

import pytest

from vertexkit.emulator.jobs.early_settings import early_settings

KERAS = 'os.environ["TF_USE_LEGACY_KERAS"] = "1"\n'


def read(tmp_path, source, given=(), **others):
    package = tmp_path / "program"
    package.mkdir()
    for name, text in {"__init__": "", "trial": source, **others}.items():
        (package / f"{name}.py").write_text("import os\n" + textwrap.dedent(text))
    return early_settings("program.trial", [tmp_path], given)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import tensorflow as tf", {}),
        ("from tensorflow.keras import layers", {}),
        ("def main():\n    import keras", {}),
        ("from program.model import build", {}),
        ("from .model import build", {}),
        ("from . import model", {}),
        (KERAS + "import tensorflow", {"TF_USE_LEGACY_KERAS": "1"}),
        (KERAS + "from program import model", {"TF_USE_LEGACY_KERAS": "1"}),
        ('os.environ.setdefault("TF_X", "2")\nimport keras', {"TF_X": "2"}),
        ('os.environ.setdefault("TF_GIVEN", "2")\nimport keras', {}),
        ('import keras\nos.environ["WANDB_MODE"] = mode()', {}),
        ('import keras\nprint(os.environ["TF_X"], os.environ.get("TF_X"))', {}),
    ],
)
def test_plain_settings_are_read(tmp_path, source, expected):
    model = "import tensorflow as tf"
    assert read(tmp_path, source, given=["TF_GIVEN"], model=model) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import sklearn",
        "if os.name:\n    " + KERAS + "import tensorflow",
        "def set():\n    " + KERAS + "import tensorflow",
        "import tensorflow\n" + KERAS,
        'os.environ["TF_X"] = str(1)\nimport tensorflow',
        'os.environ[name()] = "1"\nimport tensorflow',
        "os.environ.update(settings())\nimport tensorflow",
        'os.putenv("TF_X", "1")\nimport tensorflow',
        'del os.environ["TF_X"]\nimport tensorflow',
        'os.environ.pop("TF_X")\nimport tensorflow',
        "from program import sets\nimport tensorflow",
        "import tensorflow as",
        "from program import broken",
    ],
)
def test_what_cannot_be_read_gets_no_template(tmp_path, source):
    assert read(tmp_path, source, sets=KERAS, broken="def (") is None


def test_a_program_that_is_not_there_gets_no_template(tmp_path):
    assert early_settings("program.trial", [tmp_path], ()) is None


def test_a_module_is_parsed_once_however_many_trials_run_it(tmp_path, monkeypatch):
    parse = mock.Mock(wraps=ast.parse)
    monkeypatch.setattr(ast, "parse", parse)
    for trial in ("1", "2"):
        (tmp_path / trial).mkdir()
        (tmp_path / trial / "once.py").write_text(
            "import os\nos.environ['TF_ONCE'] = '1'\nimport tensorflow\n"
        )
        assert early_settings("once", [tmp_path / trial], ()) == {"TF_ONCE": "1"}
    assert parse.call_count == 1
    (tmp_path / "2" / "once.py").write_text("import os\nos.environ['TF_ONCE'] = '2'\nimport tensorflow\n")
    assert early_settings("once", [tmp_path / "2"], ()) == {"TF_ONCE": "2"}
