"""What of a tuning request can be checked by looking at it alone. Every function here is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from vertexkit.command_line import is_argument_name
from vertexkit.early_stopping import ConvexStopping, early_stopping
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.preflight import finding_of
from vertexkit.space_branches import points, twice_at_once
from vertexkit.spaces import Categorical, Double, Parameter, Space, by_name
from vertexkit.trials import Objective

__all__ = [
    "check_algorithm",
    "check_counts",
    "check_defaults",
    "check_early_stopping",
    "check_selection",
    "check_space",
    "check_twice",
    "objectives_of",
]

_GOALS: Final = ("maximize", "minimize")

_MOST: Final = 2**31 - 1


def objectives_of(metric: object, maximize: object) -> tuple[tuple[Objective, ...], list[Finding]]:
    """What the search is after, and what is wrong with how that is said."""
    findings = []
    if not isinstance(maximize, bool):
        findings.append(Finding("maximize", maximize, "is neither True nor False"))
    if isinstance(metric, str):
        findings += _check_metric_name(metric)
        return (Objective(metric, bool(maximize)),), findings
    if not isinstance(metric, Mapping) or not metric:
        return (), [
            *findings,
            Finding(
                "metric",
                metric,
                "is no name of a metric",
                'write metric="accuracy", or metric={"accuracy": "maximize", "latency": "minimize"}',
            ),
        ]
    if maximize is False:
        findings.append(
            Finding("maximize", maximize, "is given with metrics that say so each for itself", "leave it out")
        )
    for name, goal in metric.items():
        findings += _check_metric_name(name)
        if not isinstance(goal, str) or goal not in _GOALS:
            remedy = "write 'maximize' or 'minimize'"
            findings.append(Finding(f"metric[{name!r}]", goal, "is no goal", remedy))
    return tuple(Objective(name, goal != "minimize") for name, goal in metric.items()), findings


def check_space(space: object) -> list[Finding]:
    """Whether this is a space, whose parameters can be arguments of a program."""
    remedy = 'write space={"learning_rate": Double(1e-4, 1, scale="log")}, for example'
    if not isinstance(space, Mapping):
        return [Finding("space", space, "is no mapping from names to parameters", remedy)]
    if not space:
        return [Finding("space", space, "is empty", remedy)]
    findings: list[Finding] = []
    for name, parameter in by_name(space):
        if not isinstance(parameter, Parameter):
            findings.append(
                Finding(
                    f"space[{name!r}]",
                    parameter,
                    "is no parameter",
                    "write Double(...), Integer(...), Categorical([...]) or Discrete([...])",
                )
            )
        if not isinstance(name, str) or not is_argument_name(name):
            bare = name.lstrip("-") if isinstance(name, str) else ""
            findings.append(
                Finding(
                    "space",
                    name,
                    "is not the name of an argument, without its dashes",
                    f"write {bare!r}" if bare and is_argument_name(bare) else None,
                )
            )
    if not findings:
        findings = [
            Finding(
                "space",
                name,
                "is the name of two parameters that a trial may have both",
                "rename one of them, or have them below different values of one parameter",
            )
            for name in twice_at_once(space)
        ]
    return findings


def check_counts(trials: object, parallel: object, max_failed: object) -> list[Finding]:
    """Whether there can be so many trials, at a time and to fail."""
    findings = []
    for argument, count in (("trials", trials), ("parallel", parallel), ("max_failed", max_failed)):
        if (count is None and argument != "trials") or _is_count(count):
            continue
        if isinstance(count, int) and count > _MOST:
            problem = f"is above {_MOST:,}, up to which Vertex AI counts"
            findings.append(Finding(argument, count, problem, "write fewer"))
            continue
        remedy = "leave it out, and Vertex AI decides" if argument == "max_failed" else None
        findings.append(Finding(argument, count, "is no whole number from 1 up", remedy))
    if isinstance(trials, int) and isinstance(parallel, int) and parallel > trials >= 1:
        findings.append(
            Finding("parallel", parallel, f"is more than trials={trials}", f"write parallel={trials}")
        )
    if isinstance(trials, int) and isinstance(max_failed, int) and max_failed > trials >= 1:
        findings.append(
            Finding(
                "max_failed",
                max_failed,
                f"is more than trials={trials}, so that it is never reached",
                "leave it out",
            )
        )
    return findings


def check_algorithm(algorithm: object, space: Space, trials: object) -> list[Finding]:
    """Whether points can be chosen that way, and as many as there are to be trials."""
    if algorithm is not None and algorithm not in ("random", "grid"):
        remedy = "use 'random' or 'grid', or leave it out for Vertex AI's own, which learns from the trials"
        return [Finding("algorithm", algorithm, "is no way to search", remedy)]
    if algorithm != "grid":
        return []
    endless = dict.fromkeys(name for name, parameter in by_name(space) if isinstance(parameter, Double))
    if endless:
        return [
            Finding(
                "algorithm",
                algorithm,
                f"is not possible with {name!r}, of whose values there is no end",
                f"make {name!r} a Discrete of some values, or leave algorithm out",
            )
            for name in endless
        ]
    grid = points(space)
    if not space or not _is_count(trials) or trials <= grid:
        return []
    return [
        Finding(
            "trials",
            trials,
            f"is more than the grid has points: the search is over after {grid:,}",
            f"write trials={grid}, or have more values in the space",
            warning=True,
        )
    ]


def check_early_stopping(
    given: object, objectives: Sequence[Objective], space: Space
) -> tuple[Any, list[Finding]]:
    """The rule by which trials are stopped, and what is wrong with it."""
    try:
        rule = early_stopping(given)
    except InvalidArgument as error:
        return None, [finding_of(error)]
    findings = []
    if rule is not None and len(objectives) > 1:
        findings.append(
            Finding("early_stopping", given, "is for a single metric", "leave it out, or name one metric")
        )
    if isinstance(rule, ConvexStopping) and rule.learning_rate:
        numeric = [name for name, parameter in by_name(space) if not isinstance(parameter, Categorical)]
        if rule.learning_rate not in numeric:
            findings.append(
                Finding(
                    "early_stopping",
                    given,
                    f"names {rule.learning_rate!r} as the learning rate, which is no number of the space",
                    f"name one of {', '.join(numeric)}" if numeric else "leave it out",
                )
            )
    return rule, findings


def check_selection(selection: object) -> list[Finding]:
    """Whether a trial's metric can be chosen that way."""
    if selection in ("last", "best"):
        return []
    return [Finding("measurement_selection", selection, "is neither 'last' nor 'best'")]


def check_defaults(space: Space) -> list[Finding]:
    """Refuse what Vertex AI has for Vizier's studies only."""
    return [
        Finding(
            f"space[{name!r}]",
            parameter,
            "has a default, which Vertex AI takes for studies of Vizier only, and for no tuning job",
            "leave default out",
        )
        for name, parameter in by_name(space)
        if parameter.default is not None
    ]


def check_twice(space: Space, args: Sequence[str]) -> list[Finding]:
    """Whether an argument is fixed and searched for at once."""
    fixed = {word.partition("=")[0].lstrip("-") for word in args if word.startswith("--")}
    return [
        Finding("args", name, "is given here, and searched for in space too", "leave it out of one of them")
        for name in dict.fromkeys(name for name, _ in by_name(space))
        if name in fixed
    ]


def _check_metric_name(name: object) -> list[Finding]:
    if isinstance(name, str) and name and not any(char.isspace() for char in name):
        return []
    return [Finding("metric", name, "is not the name of a metric, which has no spaces in it")]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
