"""Whether a program reports the metric that a search asks of it, where that can be read off its source."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from vertexkit.errors import Finding

if TYPE_CHECKING:
    from vertexkit.packaging import Program

__all__ = ["check_metrics"]

_REPORT: Final = "report_hyperparameter_tuning_metric"
_TAG: Final = "hyperparameter_metric_tag"
_FILE: Final = "CLOUD_ML_HP_METRIC_FILE"


def check_metrics(program: Program, metrics: Sequence[str]) -> list[Finding]:
    """What a search would wait for in vain.

    Args:
        program: The program.
        metrics: The metrics that it is to report.

    Returns:
        Metrics that are none of those that it reports, where all of these are written out; a warning where it
        seems to report nothing at all; nothing when its source is not known.
    """
    trees = [source.tree for source in program.sources]
    if not trees:
        return []
    tags = [tag for tree in trees for tag in _reported(tree)]
    if not tags:
        if any(_mentions(tree, _FILE) or _mentions(tree, "hypertune") for tree in trees):
            return []
        return [
            Finding(
                "program",
                program.description,
                "does not seem to report a metric, without which every trial comes to nothing",
                "report it with hypertune.HyperTune().report_hyperparameter_tuning_metric "
                "(pip install cloudml-hypertune)",
                warning=True,
            )
        ]
    known = {tag for tag in tags if tag is not None}
    if None in tags:
        return []
    findings = []
    for metric in metrics:
        if metric not in known:
            close = difflib.get_close_matches(metric, known, n=1, cutoff=0.6)
            remedy = f"name {(close or sorted(known))[0]!r}"
            listed = ", ".join(map(repr, sorted(known)))
            findings.append(
                Finding("metric", metric, f"is not what the program reports, which is {listed}", remedy)
            )
    return findings


def _reported(tree: ast.Module) -> Iterator[str | None]:
    """The name of every metric that a module reports; None for one that is not written out."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) != _REPORT:
            continue
        given = next((word.value for word in node.keywords if word.arg == _TAG), None)
        tag = given if given is not None or not node.args else node.args[0]
        value = tag.value if isinstance(tag, ast.Constant) else None
        if isinstance(tag, ast.Name):
            value = constants.get(tag.id)
        yield value if isinstance(value, str) else None


def _mentions(tree: ast.Module, word: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == word:
            return True
        if _name(node) == word:
            return True
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(word in module.split(".") for module in modules):
                return True
    return False


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
