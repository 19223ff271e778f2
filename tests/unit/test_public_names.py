"""What `import vertexkit` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vertexkit

ROOT = Path(__file__).parents[2]


def test_every_public_name_can_be_imported() -> None:
    for name in vertexkit.__all__:
        assert getattr(vertexkit, name) is not None


def test_dir_shows_exactly_the_public_names() -> None:
    assert dir(vertexkit) == sorted(vertexkit.__all__)


def test_nothing_public_is_left_out_of_all() -> None:
    code = (
        "import types, vertexkit; from vertexkit import *; "
        "print(*sorted(n for n, v in vars(vertexkit).items() if not n.startswith('_') "
        "and not isinstance(v, types.ModuleType) and n not in ('annotations', 'lazily', 'TYPE_CHECKING')))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(shown.split()) == set(vertexkit.__all__) - {"__version__"}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Endpiont'"):
        _ = vertexkit.Endpiont  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vertexkit.__version__ == project["version"]


def _loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return set(output.split())


def test_importing_loads_no_heavy_library() -> None:
    loaded = _loaded("import vertexkit")
    google = {"google.auth", "google.cloud.storage", "google.cloud.aiplatform_v1", "google.protobuf", "grpc"}
    heavy = google | {"numpy", "tensorflow", "pandas", "requests", "rich", "tenacity", "obstore", "asyncio"}
    assert loaded & heavy == set()


def test_connecting_to_a_running_emulator_loads_no_generated_client() -> None:
    loaded = _loaded(
        "import vertexkit, vertexkit.endpoints, vertexkit.session, vertexkit.prediction\n"
        "from vertexkit._core.rpc import Clients\n"
        "from vertexkit._core.target import Target\n"
        "Clients(Target('p-12345', 'us-central1', 'http://r', 'g:1', 'http://s', anonymous=True)).http"
    )
    assert "requests" in loaded
    heavy = {"google.cloud.aiplatform_v1", "google.cloud.storage", "grpc", "google.protobuf", "tensorflow"}
    assert loaded & heavy == set()
