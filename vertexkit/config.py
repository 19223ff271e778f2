"""Where to connect: explicit arguments, then the environment, then pyproject.toml, then local.

Each setting is looked up by itself, in this order, so that an argument can complete what the
environment says:

============  ==================================================================  ====================
setting       environment variables, the first that is set                        ``[tool.vertexkit]``
============  ==================================================================  ====================
project       VERTEXKIT_PROJECT, GOOGLE_CLOUD_PROJECT                             project
location      VERTEXKIT_LOCATION, GOOGLE_CLOUD_LOCATION, GOOGLE_CLOUD_REGION      location
bucket        VERTEXKIT_BUCKET                                                    bucket
emulator      VERTEXKIT_EMULATOR (a URL, ``true`` or ``false``)                   emulator
key_file      VERTEXKIT_KEY_FILE                                                  key_file
============  ==================================================================  ====================

What ``emulator`` says, wherever it is found, decides between local and cloud. When nothing says
anything of it, a project, a key file or credentials mean the cloud (whoever gives credentials wants
them used), and none of them a local Vertex AI of the session's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vertexkit._core.names import bucket_name_problem
from vertexkit.errors import ConfigurationError, Finding, InvalidArgument
from vertexkit.regions import check_region

__all__ = ["Settings", "default_bucket", "refuse", "resolve"]

_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "project": ("VERTEXKIT_PROJECT", "GOOGLE_CLOUD_PROJECT"),
    "location": ("VERTEXKIT_LOCATION", "GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"),
    "bucket": ("VERTEXKIT_BUCKET",),
    "emulator": ("VERTEXKIT_EMULATOR",),
    "key_file": ("VERTEXKIT_KEY_FILE",),
}
_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}

# https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin
# An id, an id of a domain, or a number.
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|\d{1,19}")


@dataclass(frozen=True)
class Settings:
    """What ``connect()`` was told, by whomever."""

    project: str | None
    location: str | None
    bucket: str | None
    emulator: str | bool | None
    """The ``rest`` address of a running one; True to start one; False for the cloud; None for unsaid."""
    key_file: Path | None
    has_credentials: bool = False
    """Whether ``connect()`` was given credentials."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each setting was found, in words."""

    @property
    def local(self) -> bool:
        """Whether the target is a local Vertex AI."""
        if self.emulator is None:
            return self._cloud_because is None
        return self.emulator is not False

    @property
    def chosen_by(self) -> str:
        """What decided between local and cloud, in words for the user."""
        if self.emulator is not None:
            return self.sources["emulator"]
        return self._cloud_because or "default, for nothing names a project or credentials"

    @property
    def _cloud_because(self) -> str | None:
        """Where the first setting was found that only the cloud has a use for."""
        named = (self.project is not None, "project"), (self.key_file is not None, "key_file")
        found = next((self.sources[setting] for is_set, setting in named if is_set), None)
        if found is None and self.has_credentials:
            return "the argument credentials="
        return found


def resolve(
    *,
    project: str | None = None,
    location: str | None = None,
    bucket: str | None = None,
    emulator: str | bool | None = None,
    key_file: str | os.PathLike[str] | None = None,
    has_credentials: bool = False,
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> Settings:
    """Look every setting up, and check it.

    Args:
        project: Project id, or None to look further.
        location: Region, or None.
        bucket: Name of the default bucket, with or without ``gs://``, or None.
        emulator: URL of a running local Vertex AI, True, False, or None.
        key_file: Path of a service-account key file, or None.
        has_credentials: Whether there are credentials already, which need no looking up.
        environ: Environment variables; those of the process by default.
        start: Folder to look for ``pyproject.toml`` from, upward; the current one by default.

    Raises:
        InvalidArgument: A setting is not possible; the message names where it was found.
        ConfigurationError: ``pyproject.toml`` cannot be read, or has unknown keys.
    """
    environ = os.environ if environ is None else environ
    explicit: dict[str, Any] = {
        "project": project,
        "location": location,
        "bucket": bucket,
        "emulator": emulator,
        "key_file": key_file,
    }
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    table, file = _pyproject(Path.cwd() if start is None else start)
    for setting, value in explicit.items():
        if value is not None:
            found[setting], sources[setting] = value, f"the argument {setting}="
            continue
        variable = next((name for name in _VARIABLES[setting] if environ.get(name)), None)
        if variable is not None:
            found[setting], sources[setting] = environ[variable], f"the environment variable {variable}"
        elif setting in table:
            found[setting], sources[setting] = table[setting], f"[tool.vertexkit] in {file}"
    relative_to = file.parent if file is not None and sources.get("key_file", "").startswith("[") else Path()
    return Settings(
        project=_project(found.get("project"), sources),
        location=_location(found.get("location"), sources),
        bucket=_bucket(found.get("bucket"), sources),
        emulator=_emulator(found.get("emulator"), sources),
        key_file=_key_file(found.get("key_file"), sources, relative_to),
        has_credentials=has_credentials,
        sources=sources,
    )


def default_bucket(project: str, location: str) -> str:
    """The name of the bucket that is used when none is given: ``{project}-vertexkit-{location}``.

    A bucket's name is at most 63 characters long and holds no ``:``, which projects of a domain do.
    """
    tail = f"-vertexkit-{location}"
    head = re.sub(r"[^a-z0-9-]+", "-", project.lower()).strip("-")
    return head[: 63 - len(tail)].rstrip("-") + tail


def refuse(findings: Sequence[Finding]) -> None:
    """Raise InvalidArgument for the first finding that is not merely a warning."""
    for found in findings:
        if not found.warning:
            raise InvalidArgument(found.argument, found.value, found.problem, remedy=found.remedy)


def _pyproject(start: Path) -> tuple[Mapping[str, Any], Path | None]:
    """``[tool.vertexkit]`` of the nearest pyproject.toml, going up from ``start``."""
    start = start.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _read(file), file
    return {}, None


def _read(file: Path) -> Mapping[str, Any]:
    text = file.read_bytes()
    if b"vertexkit" not in text:
        return {}
    import tomllib

    try:
        table = tomllib.loads(text.decode()).get("tool", {}).get("vertexkit", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}", remedy="correct its syntax") from error
    unknown = sorted(set(table) - set(_VARIABLES))
    if unknown:
        raise ConfigurationError(
            f"{file}: [tool.vertexkit] has unknown keys: {', '.join(unknown)}",
            remedy=f"the known ones are {', '.join(_VARIABLES)}",
        )
    return dict(table)


def _named(setting: str, sources: Mapping[str, str]) -> str:
    """How an error names the setting: as the argument, or by where else it was found."""
    source = sources[setting]
    return setting if source.startswith("the argument") else f"{setting} (from {source})"


def _project(value: Any, sources: Mapping[str, str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _PROJECT.fullmatch(value):
        raise InvalidArgument(
            _named("project", sources),
            value,
            "is not 6 to 30 lower-case letters, digits and '-', starting with a letter, as a project's id is",
            remedy="give the id, not the display name: `gcloud projects list` shows both",
        )
    return value


def _location(value: Any, sources: Mapping[str, str]) -> str | None:
    if value is None:
        return None
    refuse(check_region(value, _named("location", sources)))
    return str(value)


def _bucket(value: Any, sources: Mapping[str, str]) -> str | None:
    if value is None:
        return None
    name = value.removeprefix("gs://").rstrip("/") if isinstance(value, str) else ""
    problem = bucket_name_problem(name)
    if problem is not None:
        raise InvalidArgument(_named("bucket", sources), value, problem)
    return name


def _emulator(value: Any, sources: Mapping[str, str]) -> str | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.lower() in _WORDS:
            return _WORDS[value.lower()]
        with suppress(ValueError):  # of brackets that are not closed
            parts = urlsplit(value)
            if parts.scheme in ("http", "https") and parts.hostname:
                return value.rstrip("/")
    raise InvalidArgument(
        _named("emulator", sources),
        value,
        "is neither an http:// URL nor a boolean",
        remedy="give the `rest` address that `vertexkit emulator start` prints, True, or False",
    )


def _key_file(value: Any, sources: Mapping[str, str], relative_to: Path) -> Path | None:
    if value is None:
        return None
    try:
        path = relative_to / Path(value).expanduser()
        is_there = path.is_file()
    except (TypeError, ValueError, RuntimeError):  # no path; a NUL in it; a home of nobody
        is_there = False
    if not is_there:
        raise InvalidArgument(
            _named("key_file", sources),
            value,
            "is not a file",
            remedy="give the path of a service-account key file (JSON)",
        )
    return path
