"""From what a caller asks of a search to what is sent, with all that is wrong with it. Sends nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from vertexkit import tuning_checks as checks
from vertexkit.command_line import check_args, command_line
from vertexkit.early_stopping import stopping_spec
from vertexkit.errors import Finding
from vertexkit.preflight import is_refused
from vertexkit.program_args import check_args as check_parsed
from vertexkit.program_metrics import check_metrics
from vertexkit.spaces import Categorical, Discrete, Double, Parameter, Space, by_name, parameter_spec
from vertexkit.training_plan import TrainingPlan, plan_training
from vertexkit.trials import Objective
from vertexkit.tuning_request import TuningRequest

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.packaging import Program

__all__ = ["TuningPlan", "plan_tuning"]

_ALGORITHMS: Final = {"random": "RANDOM_SEARCH", "grid": "GRID_SEARCH"}
_SELECTIONS: Final = {"last": "LAST_MEASUREMENT", "best": "BEST_MEASUREMENT"}
_AT_A_TIME: Final = 2
_TRIED: Final = 20
"""Values of one parameter that the program's parser is asked about."""


@dataclass(frozen=True)
class TuningPlan:
    """A search that is ready to be sent, if nothing of the findings says otherwise."""

    findings: tuple[Finding, ...]
    trial: TrainingPlan
    """What every trial runs."""
    study: dict[str, Any]
    """The ``StudySpec``; empty while something is wrong."""
    trials: int
    parallel: int
    max_failed: int | None


def plan_tuning(context: Context, request: TuningRequest) -> TuningPlan:
    """Look at everything that is asked for, and at where it would go.

    Args:
        context: The session's parts; the service is asked only where the buckets are.
        request: What is asked for.

    Returns:
        The plan. While its findings hold an error it is not fit to be carried out.
    """
    objectives, findings = checks.objectives_of(request.metric, request.maximize)
    wrong_space = checks.check_space(request.space)
    space: Space = {} if is_refused(wrong_space) else request.space
    trial = plan_training(context, request.trial, beside=[*_example(space)])
    rule, wrong_rule = checks.check_early_stopping(request.early_stopping, objectives, space)
    findings = [
        *findings,
        *wrong_space,
        *checks.check_counts(request.trials, request.parallel, request.max_failed),
        *checks.check_algorithm(request.algorithm, space, request.trials),
        *([] if is_refused(wrong_space) else wrong_rule),
        *checks.check_selection(request.measurement_selection),
        *checks.check_defaults(space),
        *_of_program(trial.program, space, objectives, request.trial.args),
        # Without its space, a program misses arguments that it would have.
        *(
            _of_space(found, space)
            for found in trial.findings
            if not (is_refused(wrong_space) and "are required" in found.problem)
        ),
    ]
    # The program's parser is asked many times, and says the same.
    once: dict[tuple[str, str], Finding] = {}
    for found in findings:
        once.setdefault((found.argument, found.problem), found)
    findings = [*once.values()]
    refused = is_refused(findings)
    return TuningPlan(
        findings=tuple(findings),
        trial=trial,
        study={} if refused else _study(request, objectives, rule),
        trials=request.trials,
        parallel=min(_AT_A_TIME, request.trials)
        if request.parallel is None and not refused
        else request.parallel or 0,
        max_failed=request.max_failed,
    )


def _study(request: TuningRequest, objectives: Sequence[Objective], rule: Any) -> dict[str, Any]:
    study: dict[str, Any] = {
        "metrics": [
            {"metricId": one.metric, "goal": "MAXIMIZE" if one.maximize else "MINIMIZE"} for one in objectives
        ],
        "parameters": [parameter_spec(name, parameter) for name, parameter in request.space.items()],
        "measurementSelectionType": _SELECTIONS[request.measurement_selection],
    }
    if request.algorithm is not None:
        study["algorithm"] = _ALGORITHMS[request.algorithm]
    if rule is not None:
        study |= stopping_spec(rule)
    return study


def _of_program(
    program: Program | None, space: Space, objectives: Sequence[Objective], args: Any
) -> list[Finding]:
    """What the program would not take, or not give."""
    fixed = [] if check_args(args) else command_line(args)
    findings = checks.check_twice(space, fixed)
    if program is None:
        return findings
    for name, parameter in by_name(space):
        for value in _values(parameter):
            found = check_parsed(program, [_option(name, value)], complete=False)
            if found:
                findings += [_of_space(one, space) for one in found]
                break  # the same is wrong with its other values
    return [*findings, *check_metrics(program, [objective.metric for objective in objectives])]


def _of_space(found: Finding, space: Space) -> Finding:
    """A finding about an argument of the program as one about the parameter that it comes from."""
    if found.argument != "args":
        return found
    for name, parameter in by_name(space):
        is_unknown = isinstance(found.value, str) and found.value.partition("=")[0] == f"--{name}"
        # argparse names an option with all its names: "argument -n/--neurons: ...".
        if is_unknown or re.search(rf"argument \S*--{re.escape(name)}[:/]", found.problem):
            remedy = found.remedy
            if isinstance(parameter, Double) and "invalid int value" in found.problem:
                remedy = "search an Integer, or let the program take type=float"
            return replace(found, argument=f"space[{name!r}]", value=parameter, remedy=remedy)
    return found


def _example(space: Space) -> Iterator[str]:
    """The arguments of one trial."""
    for name, parameter in space.items():
        value = next(iter(_values(parameter)))
        yield _option(name, value)
        for key, below in getattr(parameter, "children", {}).items():
            if value == key or (isinstance(key, tuple | range) and value in key):
                yield from _example(below)


def _values(parameter: Parameter) -> list[float | int | str]:
    """Values by which to see whether a program takes the parameter."""
    if isinstance(parameter, Categorical):
        return [*parameter.values[:_TRIED]]
    if isinstance(parameter, Discrete):
        whole = all(value == int(value) for value in parameter.values)
        return [int(value) if whole else float(value) for value in parameter.values[:_TRIED]]
    if isinstance(parameter, Double):
        return [(parameter.min + parameter.max) / 2, parameter.min, parameter.max]
    return [parameter.min, parameter.max]


def _option(name: str, value: float | int | str) -> str:
    return f"--{name}={value}"
