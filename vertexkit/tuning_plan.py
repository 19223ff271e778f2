"""From what a caller asks of a search to what is sent, with all that is wrong with it. Sends nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vertexkit import tuning_checks as checks
from vertexkit.command_line import check_args, command_line
from vertexkit.early_stopping import stopping_spec
from vertexkit.errors import Finding
from vertexkit.preflight import is_refused
from vertexkit.program_args import check_args as check_parsed
from vertexkit.program_args import missing_args
from vertexkit.program_metrics import check_metrics
from vertexkit.space_branches import Values, argument_value, trials_of
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
_BRANCHES: Final = 1000
"""Trials for each parameter of the space, and those below it, that the program's parser is asked about."""
_SHOWN: Final = 3
"""Of those in which an argument is missing."""


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
    trial = plan_training(context, request.trial, complete=False)
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
        *(_of_space(found, space) for found in trial.findings),
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
    are_wrong = bool(check_args(args))
    fixed = [] if are_wrong else command_line(args)
    findings = checks.check_twice(space, fixed)
    if program is None:
        return findings
    if space and not are_wrong:
        # Without its space, a program misses arguments that it would have.
        findings += _check_missing(program, space, fixed)
    for name, parameter in by_name(space):
        for value in _values(parameter):
            found = check_parsed(program, [_option(name, value)], complete=False)
            if found:
                findings += [_of_space(one, space) for one in found]
                break  # the same is wrong with its other values
    return [*findings, *check_metrics(program, [objective.metric for objective in objectives])]


def _check_missing(program: Program, space: Space, fixed: Sequence[str]) -> Iterator[Finding]:
    """What the program requires and does not get, in any trial or with some values of the space."""
    ways = {name: [*islice(trials_of(name, parameter), _BRANCHES)] for name, parameter in space.items()}
    usual = {name: trials[0] for name, trials in ways.items()}
    asked = [(name, trial) for name, trials in ways.items() for trial in trials]
    each = [
        [*fixed, *(_option(*one) for values in {**usual, name: trial}.values() for one in values.items())]
        for name, trial in asked
    ]
    missing = missing_args(program, each)
    for option in dict.fromkeys(option for options in missing for option in options):
        lacking = [place for place, options in enumerate(missing) if option in options]
        without = f"leaves out {option}, which the program requires"
        if len(lacking) == len(asked):
            yield Finding("args", [*fixed], without, "give it, or have it in the space")
            continue
        for name, trials in ways.items():
            found = [trial for root, trial in (asked[place] for place in lacking) if root == name]
            if 0 < len(found) < len(trials):
                yield Finding(
                    f"space[{name!r}]",
                    space[name],
                    f"{without}, with {_with(name, space[name], found)}",
                    "have it there with every value, or let the program do without it",
                )


def _with(name: str, parameter: Parameter, trials: Sequence[Values]) -> str:
    """By which values of parameters that others depend on some trials differ from the rest."""
    parents = {one for one, found in by_name({name: parameter}) if getattr(found, "children", None)}
    ways = [
        " and ".join(f"{one}={value!r}" for one, value in trial.items() if one in parents)
        for trial in trials[:_SHOWN]
    ]
    return ", or with ".join([*ways, *(["others"] if len(trials) > _SHOWN else [])])


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
            elif "ignored explicit argument" in found.problem:
                kind = (
                    f"choices={[*parameter.values]!r}" if isinstance(parameter, Categorical) else "type=int"
                )
                remedy = f"let it take a value in the program, by {kind} for example: a search gives it one"
            return replace(found, argument=f"space[{name!r}]", value=parameter, remedy=remedy)
    return found


def _values(parameter: Parameter) -> list[float | int | str]:
    """Values by which to see whether a program takes the parameter."""
    if isinstance(parameter, Categorical):
        return [*parameter.values[:_TRIED]]
    if isinstance(parameter, Discrete):
        return [argument_value(parameter, value) for value in parameter.values[:_TRIED]]
    if isinstance(parameter, Double):
        return [parameter.min / 2 + parameter.max / 2, parameter.min, parameter.max]
    return [parameter.min, parameter.max]


def _option(name: str, value: float | int | str) -> str:
    return f"--{name}={value}"
