"""What pip is to install beside a program: read, checked, and written as a wheel declares it.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/ and, for what a wheel can declare,
https://packaging.python.org/en/latest/specifications/dependency-specifiers/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vertexkit.errors import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Requirements", "read_requirements"]

_ARGUMENT: Final = "requirements"
_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_VARIABLE: Final = re.compile(r"\$\{[A-Z0-9_]+\}")
_INDEX_OPTIONS: Final = (
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--pre",
)
_PATH: Final = re.compile(r"(\.{0,2}/|~/|[A-Za-z]:\\)|.*\.(whl|tar\.gz|zip)$")
_LOCAL: Final = ("is a file of this machine, which a job does not have", "name it as it is on PyPI")
_WITH_LIST: Final = "give a list: requirements=['pandas==2.2.3'], or the path of a requirements.txt"


@dataclass(frozen=True)
class Requirements:
    """What was asked for, understood."""

    texts: tuple[str, ...] = ()
    """Each as PEP 508 writes it, as often as it was asked for in different words."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with them."""

    @property
    def names(self) -> frozenset[str]:
        """The names of the distributions, as PyPI normalises them: ``scikit-learn``."""
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name

        return frozenset(canonicalize_name(Requirement(text).name) for text in self.texts)


@dataclass(frozen=True)
class _Line:
    """One requirement as it was written."""

    text: str
    where: str
    """``requirements.txt, line 3``; empty for an item of a list."""


def read_requirements(given: Sequence[str] | str | os.PathLike[str] | None) -> Requirements:
    """Understand what the user gave as requirements.

    A file may hold comments, markers, extras, continued lines and ``-r other.txt``. What a wheel cannot
    declare is refused: options of pip, constraints, hashes, local paths and URLs without a name;
    ``name @ https://...`` is passed on.

    Args:
        given: A list of requirements, or the path of a requirements file.

    Returns:
        The requirements, and what is wrong with them; nothing is raised.
    """
    if given is None:
        return Requirements()
    findings: list[Finding] = []
    if isinstance(given, str | os.PathLike):
        lines = list(_file(Path(given), findings, ()))
    elif isinstance(given, Sequence) and not isinstance(given, bytes):
        lines = []
        for item in given:
            if isinstance(item, str):
                lines.append(_Line(item.strip(), ""))
            else:
                findings.append(Finding(_ARGUMENT, given, f"holds {item!r}, which is no text", _WITH_LIST))
    else:
        return Requirements(findings=(Finding(_ARGUMENT, given, "is no list of texts", _WITH_LIST),))
    if not lines:
        return Requirements(findings=tuple(findings))
    kept: list[tuple[_Line, Requirement]] = []
    for line in lines:
        found = _parsed(line)
        if isinstance(found, Finding):
            findings.append(found)
        else:
            kept.append((line, found))
    findings += _contradictions(kept)
    return Requirements(tuple(dict.fromkeys(str(found) for _, found in kept)), tuple(findings))


def _file(path: Path, findings: list[Finding], inside: tuple[Path, ...]) -> Iterator[_Line]:
    """The requirements of a file, and of those that it includes."""
    try:
        content = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        findings.append(_unreadable(path, error, inside))
        return
    inside = (*inside, path.resolve())
    waiting, start = "", 0
    for number, raw in enumerate([*content.splitlines(), ""], 1):
        start = start or number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            waiting += raw[:-1]
            continue
        text, where, waiting, start = _COMMENT.sub("", waiting + raw).strip(), f"{path}, line {start}", "", 0
        if not text:
            continue
        included = re.match(r"(-r|--requirement)[\s=]*(\S.*)", text)
        if included is None:
            yield _Line(text, where)
            continue
        other = path.parent / included[2].strip()
        if other.resolve() in inside:
            findings.append(Finding(_ARGUMENT, text, f"includes itself ({where})"))
        else:
            yield from _file(other, findings, inside)


def _unreadable(path: Path, error: Exception, inside: tuple[Path, ...]) -> Finding:
    if isinstance(error, FileNotFoundError):
        if not inside and not path.suffix and len(path.parts) == 1:
            return Finding(_ARGUMENT, str(path), "is no file", f"write requirements=[{str(path)!r}]")
        return Finding(_ARGUMENT, str(path), "does not exist", None if inside else _WITH_LIST)
    why = (error.strerror if isinstance(error, OSError) else None) or "is no text in UTF-8"
    return Finding(_ARGUMENT, str(path), f"cannot be read: {why}", _WITH_LIST)


def _parsed(line: _Line) -> Requirement | Finding:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    problem = _problem(line.text)
    if problem is None:
        try:
            found = Requirement(line.text)
        except InvalidRequirement as error:
            problem = _invalid(line.text, error)
        else:
            found.name = canonicalize_name(found.name)
            if found.url is None or not found.url.startswith("file:"):
                return found
            problem = _LOCAL
    where = f" ({line.where})" if line.where else ""
    return Finding(_ARGUMENT, _without_password(line.text), f"{problem[0]}{where}", problem[1])


def _problem(text: str) -> tuple[str, str] | None:
    """What pip would read, and a wheel cannot say, with what would do; None for what may be a requirement."""
    if _VARIABLE.search(text):
        return "has a variable in it, which would be written into the package", "write it out"
    if text.startswith("-"):
        return _option_problem(text)
    if " --hash" in text:
        return "has a hash, which a package cannot declare", "leave the hash out"
    if "://" not in text and _PATH.match(text):
        return _LOCAL
    return None


def _invalid(text: str, error: Exception) -> tuple[str, str]:
    if "://" in text and "@" not in text.partition("://")[0]:
        return "is a URL without a name", f"write NAME @ {_without_password(text)}"
    return f"is no requirement: {str(error).splitlines()[0]}", "write it as in 'pandas>=2.2,<3'"


def _option_problem(text: str) -> tuple[str, str]:
    option = re.split(r"[\s=]", text, maxsplit=1)[0]
    if option in _INDEX_OPTIONS:
        return (
            f"is an option of pip ({option}), which a package cannot declare",
            "leave it out; pip reads PIP_EXTRA_INDEX_URL and its like from env=",
        )
    if option in {"-e", "--editable"}:
        return "is a folder of this machine, which a job does not have", "name it as it is on PyPI"
    if option in {"-c", "--constraint"}:
        return "is a file of constraints, which a package cannot declare", "pin the requirements themselves"
    return f"is an option of pip ({option}), which a package cannot declare", "leave it out"


def _contradictions(kept: Sequence[tuple[_Line, Requirement]]) -> Iterator[Finding]:
    """What can never be installed together: a pin, and what else is asked of the same package."""
    for index, (line, one) in enumerate(kept):
        for earlier, other in kept[:index]:
            if one.name != other.name or str(one.marker) != str(other.marker):
                continue
            pins = [(one, other), (other, one)]
            if any(
                not rest.specifier.contains(pin, prereleases=True) for a, rest in pins for pin in _pins(a)
            ):
                where = ", ".join(part.where for part in (earlier, line) if part.where)
                yield Finding(
                    _ARGUMENT,
                    str(one),
                    f"contradicts {str(other)!r}" + (f" ({where})" if where else ""),
                    "ask for one version",
                )


def _pins(requirement: Requirement) -> list[str]:
    """The versions that it pins: ``==1.2`` and ``===1.2``, and no ``==1.*``."""
    found = requirement.specifier
    return [part.version for part in found if part.operator.startswith("==") and "*" not in part.version]


def _without_password(text: str) -> str:
    return re.sub(r"(://)[^/@\s]+@", r"\1...@", text)
