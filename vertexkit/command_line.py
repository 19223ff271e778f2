"""The arguments and the environment of a training program, as the service takes them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from numbers import Real

from vertexkit.errors import Finding

__all__ = ["check_args", "check_env", "command_line", "is_argument_name"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What Vertex AI sets itself in every replica.
_RESERVED = ("AIP_", "CLOUD_ML_")
_RESERVED_NAMES = frozenset({"TF_CONFIG", "CLUSTER_SPEC"})


def command_line(args: Mapping[str, object] | Sequence[str] | None) -> list[str]:
    """The arguments of the program.

    Args:
        args: A list as it is; or by name, without dashes. See `Training.run` for what values become.
            They have passed `check_args`.
    """
    if args is None:
        return []
    if not isinstance(args, Mapping):
        return list(args)
    return [part for name, value in args.items() for part in _parts(name, value)]


def is_argument_name(name: str) -> bool:
    """Whether a program can have an argument of that name, which is without its dashes."""
    return _NAME.fullmatch(name) is not None


def check_args(args: object) -> list[Finding]:
    """Whether these can be the arguments of a program."""
    if args is None:
        return []
    if isinstance(args, Mapping):
        return [found for name, value in args.items() for found in _check_named(name, value)]
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        return [
            Finding(
                "args",
                args,
                "is neither a mapping from names to values nor a list of texts",
                'write args={"epochs": 10}, for example',
            )
        ]
    return [
        Finding(f"args[{index}]", value, "is not text", f"write {str(value)!r}")
        for index, value in enumerate(args)
        if not isinstance(value, str)
    ] + [
        Finding(f"args[{index}]", value, "has a NUL in it, as no argument does")
        for index, value in enumerate(args)
        if isinstance(value, str) and "\0" in value
    ]


def check_env(env: object) -> list[Finding]:
    """Whether these can be environment variables of a training program."""
    if env is None:
        return []
    if not isinstance(env, Mapping):
        return [Finding("env", env, "is not a mapping from names to texts", 'write env={"NAME": "value"}')]
    findings = []
    for name, value in env.items():
        where = f"env[{name!r}]"
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            findings.append(Finding("env", name, "is not the name of an environment variable"))
        elif name in _RESERVED_NAMES or name.startswith(_RESERVED):
            findings.append(Finding(where, value, "is set by Vertex AI itself", "choose another name"))
        elif not isinstance(value, str):
            findings.append(Finding(where, value, "is not text", f"write {str(value)!r}"))
        elif "\0" in value:
            findings.append(Finding(where, value, "has a NUL in it, as no environment variable does"))
    return findings


def _check_named(name: object, value: object) -> list[Finding]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        bare = name.lstrip("-").partition("=")[0] if isinstance(name, str) else ""
        remedy = f"write {bare!r}" if _NAME.fullmatch(bare) else None
        return [Finding("args", name, "is not the name of an argument, without its dashes", remedy)]
    where = f"args[{name!r}]"
    values = value if isinstance(value, list | tuple) else [value]
    findings = []
    for one in values:
        if isinstance(one, str) and "\0" in one:
            findings.append(Finding(where, one, "has a NUL in it, as no argument does"))
        elif not isinstance(one, str | Real | os.PathLike) and not (one is None and one is value):
            findings.append(
                Finding(where, one, "is neither text nor a number, a path, a boolean or a list of these")
            )
        elif isinstance(one, os.PathLike) and not isinstance(os.fspath(one), str):
            findings.append(Finding(where, one, "is a path in bytes", "give it as text"))
    return findings


def _parts(name: str, value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [part for one in value for part in _parts(name, one)]
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    return [f"--{name}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]
