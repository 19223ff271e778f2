"""Where a session connects, and what decides it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertexkit._core.names import bucket_name_problem
from vertexkit.config import default_bucket, resolve
from vertexkit.errors import ConfigurationError, InvalidArgument


def _write(folder: Path, *lines: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text("\n".join(["[tool.vertexkit]", *lines]))
    return file


def test_nothing_at_all_means_local(tmp_path: Path) -> None:
    settings = resolve(environ={}, start=tmp_path)
    assert settings.local
    assert settings.project is None
    assert settings.chosen_by == "default, for nothing names a project or credentials"


def test_a_project_means_the_cloud_and_says_who_named_it(tmp_path: Path) -> None:
    for settings, source in (
        (resolve(project="my-project", environ={}, start=tmp_path), "the argument project="),
        (
            resolve(environ={"GOOGLE_CLOUD_PROJECT": "my-project"}, start=tmp_path),
            "the environment variable GOOGLE_CLOUD_PROJECT",
        ),
    ):
        assert not settings.local
        assert settings.project == "my-project"
        assert settings.chosen_by == source


def test_arguments_come_before_the_environment_and_that_before_pyproject(tmp_path: Path) -> None:
    file = _write(tmp_path, 'project = "from-file"', 'location = "europe-west4"', 'bucket = "file-bucket"')
    environ = {"VERTEXKIT_PROJECT": "from-environ", "VERTEXKIT_LOCATION": "asia-east1"}
    settings = resolve(project="from-argument", environ=environ, start=tmp_path)
    assert (settings.project, settings.location, settings.bucket) == (
        "from-argument",
        "asia-east1",
        "file-bucket",
    )
    assert settings.sources["bucket"] == f"[tool.vertexkit] in {file}"


def test_vertexkits_own_variables_come_before_googles(tmp_path: Path) -> None:
    environ = {"VERTEXKIT_PROJECT": "our-project", "GOOGLE_CLOUD_PROJECT": "their-project"}
    assert resolve(environ=environ, start=tmp_path).project == "our-project"


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    assert resolve(environ={"VERTEXKIT_PROJECT": ""}, start=tmp_path).project is None


def test_an_emulator_named_anywhere_keeps_a_project_local(tmp_path: Path) -> None:
    environ = {"VERTEXKIT_EMULATOR": "http://127.0.0.1:8080/"}
    settings = resolve(project="my-project", environ=environ, start=tmp_path)
    assert settings.local
    assert settings.emulator == "http://127.0.0.1:8080"
    assert settings.project == "my-project"
    assert settings.chosen_by == "the environment variable VERTEXKIT_EMULATOR"


def test_emulator_false_means_the_cloud_even_without_a_project(tmp_path: Path) -> None:
    assert not resolve(emulator=False, environ={}, start=tmp_path).local
    assert not resolve(environ={"VERTEXKIT_EMULATOR": "false"}, start=tmp_path).local


def test_emulator_true_means_local_even_with_a_project(tmp_path: Path) -> None:
    assert resolve(project="my-project", emulator=True, environ={}, start=tmp_path).local
    _write(tmp_path, "emulator = true", 'project = "my-project"')
    assert resolve(environ={}, start=tmp_path).local


def test_the_nearest_pyproject_upward_is_read(tmp_path: Path) -> None:
    _write(tmp_path, 'project = "outer-project"')
    inner = tmp_path / "a"
    (inner / "b").mkdir(parents=True)
    assert resolve(environ={}, start=inner / "b").project == "outer-project"
    _write(inner, 'project = "inner-project"')
    assert resolve(environ={}, start=inner / "b").project == "inner-project"


def test_the_nearest_pyproject_without_a_table_ends_the_search(tmp_path: Path) -> None:
    _write(tmp_path, 'project = "outer-project"')
    inner = tmp_path / "a"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert resolve(environ={}, start=inner).project is None


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    _write(tmp_path, 'projet = "typo-project"')
    with pytest.raises(ConfigurationError, match="projet") as raised:
        resolve(environ={}, start=tmp_path)
    assert "project" in str(raised.value.remedy)


def test_a_pyproject_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.vertexkit\n")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        resolve(environ={}, start=tmp_path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("project", "My Project"),
        ("project", "short"),
        ("project", "x" * 31),
        ("location", "us-central1-a"),
        ("location", "us_central1"),
        ("location", "nowhere"),
        ("bucket", "Upper"),
        ("bucket", "a"),
        ("emulator", "127.0.0.1:8080"),
        ("emulator", "perhaps"),
        ("key_file", "/no/such/file.json"),
    ],
)
def test_an_impossible_setting_is_refused_with_where_it_was_found(
    tmp_path: Path, setting: str, value: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        resolve(**{setting: value}, environ={}, start=tmp_path)  # type: ignore[arg-type]
    assert raised.value.argument == setting
    with pytest.raises(InvalidArgument, match=f"VERTEXKIT_{setting.upper()}"):
        resolve(environ={f"VERTEXKIT_{setting.upper()}": value}, start=tmp_path)


def test_a_project_may_be_a_number_or_of_a_domain(tmp_path: Path) -> None:
    for project in ("123456789012", "example.com:my-project"):
        assert resolve(project=project, environ={}, start=tmp_path).project == project


def test_a_key_file_in_pyproject_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    _write(tmp_path, 'key_file = "key.json"', 'project = "my-project"')
    inner = tmp_path / "inner"
    inner.mkdir()
    assert resolve(environ={}, start=inner).key_file == tmp_path / "key.json"


def test_a_bucket_may_be_given_as_a_uri(tmp_path: Path) -> None:
    assert resolve(bucket="gs://my-bucket/", environ={}, start=tmp_path).bucket == "my-bucket"


@pytest.mark.parametrize("project", ["my-project", "example.com:my-project", "p" * 30, "123456"])
def test_the_default_bucket_of_any_project_has_a_name_that_a_bucket_can_have(project: str) -> None:
    assert bucket_name_problem(default_bucket(project, "northamerica-northeast1")) is None
