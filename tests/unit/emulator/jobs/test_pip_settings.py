"""What the pip of a job is told, as pip itself would understand it here."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

from vertexkit.emulator.jobs import pip_settings


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment with settings below ``tmp_path`` only, but for the machine's."""
    monkeypatch.setattr(pip_settings.sys, "prefix", str(tmp_path / "venv"))
    (tmp_path / "venv").mkdir()
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), "OTHER": "x"}


def told(environ: dict[str, str]) -> configparser.RawConfigParser:
    read = configparser.RawConfigParser()
    read.read_string(pip_settings.pip_conf(environ))
    return read


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_an_environments_own_file_counts_more_than_the_users(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".config/pip/pip.conf", "[global]\nindex_url = https://user\ntrusted-host = one\n two\n")
    write(tmp_path / "venv/pip.conf", "[global]\nindex-url = https://venv\n[install]\nuser = true\n")

    settings = told(environ)

    assert settings["global"]["index-url"] == "https://venv"
    assert settings["global"]["trusted-host"].split() == ["one", "two"]
    assert not settings.has_option("install", "user"), "where to install is the job's own affair"


def test_variables_count_more_than_any_file(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "venv/pip.conf", "[install]\nindex-url = https://venv\ntimeout = 3\n")

    settings = told(
        {**environ, "PIP_INDEX_URL": "https://100%25@own", "PIP_DEFAULT_TIMEOUT": "9", "PIP_TARGET": "/x"}
    )

    assert settings["global"]["index-url"] == "https://100%25@own"
    assert settings["global"]["timeout"] == "9"
    assert dict(settings["install"]) == {}
    assert not settings.has_option("global", "target")


def test_a_named_file_stands_in_for_the_users_and_no_file_for_all(
    environ: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".pip/pip.conf", "[global]\nindex-url = https://user\nproxy = http://user\n")
    write(tmp_path / "named.conf", "[global]\nindex-url = https://named\n")

    named = told({**environ, "PIP_CONFIG_FILE": str(tmp_path / "named.conf")})
    nothing = told({**environ, "PIP_CONFIG_FILE": os.devnull})

    assert (named["global"]["index-url"], named.has_option("global", "proxy")) == ("https://named", False)
    assert set(nothing["global"]) == {"disable-pip-version-check", "root-user-action"}


def test_a_file_that_pip_cannot_read_is_passed_over(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".config/pip/pip.conf", "index-url = before any section\n")

    assert "before any section" not in pip_settings.pip_conf(environ)
