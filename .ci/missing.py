"""Tells what this environment lacks of what pyproject.toml asks for; exits with 1 when it lacks anything.

Runs in a new environment too, so it needs nothing that is not in Python or pip.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tomllib
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ImportError:  # a new environment holds pip alone
    try:
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]  # the same class
    except ImportError:  # one made by uv not even that
        sys.exit("packaging is missing.")

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print what is missing, one a line; the number of lines, at most 1, is the exit status."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(f"{sys.prefix} has Python {sys.version.split()[0]}; remove it, and a suitable one is made.")
        return 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["pandas"],
        *project["project"]["optional-dependencies"]["plot"],
        *project["dependency-groups"]["dev"],
    ]
    missing = [text for text in asked if not satisfied(Requirement(text))]
    if not installed_from_here(project["project"]["name"], project["project"]["version"]):
        missing.append(f"{project['project']['name']} itself")
    if missing:
        print("Missing:", ", ".join(missing))
    return int(bool(missing))


def satisfied(requirement: Requirement) -> bool:
    """Whether the environment has a version that the requirement allows, or does not need one."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def installed_from_here(name: str, version: str) -> bool:
    """Whether the project is installed, editable, from this checkout and in this version."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    return found.version == version and editable and origin.get("url") == ROOT.as_uri()


if __name__ == "__main__":
    sys.exit(main())
