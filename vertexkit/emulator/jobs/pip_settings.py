"""How pip reaches its package index from here, as files and variables of the emulator's user say.

Source: https://pip.pypa.io/en/stable/topics/configuration/.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ["pip_conf"]

_INDEX_SETTINGS: Final = frozenset(
    {
        "cert",
        "client-cert",
        "extra-index-url",
        "find-links",
        "index-url",
        "no-index",
        "proxy",
        "retries",
        "timeout",
        "trusted-host",
    }
)
# Those of a command count more than the others, whichever file they are in.
_SECTIONS: Final = ("global", "download", "install", "wheel")
_QUIET: Final = {"disable-pip-version-check": "1", "root-user-action": "ignore"}


def pip_conf(environ: Mapping[str, str]) -> str:
    """The ``pip.conf`` of an interpreter whose pip is to reach the same index as ours, from any home folder.

    Args:
        environ: The environment of the emulator.
    """
    merged = configparser.RawConfigParser()
    merged.read_dict({section: {} for section in _SECTIONS})
    for file in _files(environ):
        found = configparser.RawConfigParser()
        # One that pip cannot read either, and complains of.
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
            found.read(file)
        for section in filter(found.has_section, _SECTIONS):
            merged.read_dict({section: dict(_index_settings(found.items(section)))})
    variables = (
        (name.removeprefix("PIP_"), value) for name, value in environ.items() if name.startswith("PIP_")
    )
    for name, value in _index_settings(variables):
        for section in _SECTIONS:
            merged.remove_option(section, name)
        merged.set("global", name, value)
    merged.read_dict({"global": _QUIET})
    text = io.StringIO()
    merged.write(text)
    return text.getvalue()


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where pip finds its settings; a later one counts more."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    if not named:
        home = Path(environ.get("HOME", "/"))
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if named:
        yield Path(named)


def _index_settings(settings: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in settings:
        option = name.lower().replace("_", "-").removeprefix("--").removeprefix("default-")
        if option in _INDEX_SETTINGS and value:
            yield option, value
