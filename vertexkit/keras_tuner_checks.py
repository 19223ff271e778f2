"""Whether a program takes part in a search by Keras Tuner, where that can be read off its source."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vertexkit.errors import Finding

if TYPE_CHECKING:
    from vertexkit.packaging import Program

__all__ = ["JOINING", "check_directories", "check_joins", "directories"]

JOINING: Final = "from trainer_scripts import keras_tuner_cluster; keras_tuner_cluster.join()"
"""The line by which a program takes part."""

_CLUSTER: Final = "keras_tuner_cluster"
_TUNERS: Final = ("keras_tuner", "kerastuner")
# A program may do by itself what joining does for it.
_OWN_CLUSTER: Final = "KERASTUNER_"
_ON_STORAGE: Final = ("gs://", "/gcs/", "AIP_")
_DIRECTORY: Final = "--directory"
# https://cloud.google.com/vertex-ai/docs/training/train-nfs-share
_MOUNTS: Final = ("/gcs/", "/mnt/nfs/")


def directories(args: Sequence[str]) -> list[str]:
    """The tuner's directories that a program is given, as one argument or as two."""
    joined = [arg.removeprefix(f"{_DIRECTORY}=") for arg in args if arg.startswith(f"{_DIRECTORY}=")]
    return joined + [value for option, value in itertools.pairwise(args) if option == _DIRECTORY]


def check_directories(args: Sequence[str]) -> list[Finding]:
    """Refuse a tuner's directory on a machine of the job, where no other sees it and nothing is found."""
    return [
        Finding(
            "args",
            f"{_DIRECTORY}={place}",
            "is a folder of each machine alone: they do not search together, and nobody finds the trials",
            "write a relative path, which lies beside the job's checkpoints, or a gs:// URI",
        )
        for place in directories(args)
        if place.startswith("/") and not place.startswith(_MOUNTS)
    ]


def check_joins(
    program: Program, workers: object, args: Sequence[str], provided: frozenset[str] | None
) -> list[Finding]:
    """Refuse a program of whose search nothing would be seen.

    Args:
        program: The program.
        workers: Machines beside the chief.
        args: Its arguments.
        provided: Top-level names that the image lets one import; None when the image is not known.

    Returns:
        An error where it certainly does not join the cluster of its job, or searches alone in a folder of its
        own machine; a warning where what it imports may do so; nothing when its source is not known.
    """
    if not program.sources:
        return []
    texts = [
        node.value
        for source in program.sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    if any(_names_cluster(source.tree) for source in program.sources) or any(
        text.startswith(_OWN_CLUSTER) or text.endswith(f".{_CLUSTER}") for text in texts
    ):
        return []
    alone = workers == 0
    if alone and any(place in text for text in [*texts, *args] for place in _ON_STORAGE):
        return []
    tuner = next(
        (
            (source, imported)
            for source in program.sources
            for imported in source.imports
            if imported.top in _TUNERS and not imported.level
        ),
        None,
    )
    if tuner is None:
        return [
            Finding(
                "program",
                program.description,
                "does not import keras_tuner",
                "give one that does; one that is a single trial is for session.tuning.run",
                warning=_imports_more(program, provided),
            )
        ]
    source, imported = tuner
    machines = 1 + workers if isinstance(workers, int) else 1
    come_to = (
        "its trials would be kept on its machine, where nobody finds them"
        if alone
        else f"each of its {machines} machines would search alone, and nobody find its trials"
    )
    return [
        Finding(
            "program",
            str(source.path),
            f"imports keras_tuner in line {imported.line} and does not join its job's cluster: {come_to}",
            f"write before that line: {JOINING}",
            warning=_imports_more(program, provided),
        )
    ]


def _names_cluster(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(_CLUSTER in module.split(".") for module in modules):
                return True
        elif isinstance(node, ast.Attribute) and node.attr == _CLUSTER:
            return True
    return False


def _imports_more(program: Program, provided: frozenset[str] | None) -> bool:
    """Whether a program imports modules whose source is not known."""
    if provided is None:
        return True
    own = {source.name.partition("/")[0].removesuffix(".py") for source in program.sources}
    known = {*own, *provided, *_TUNERS, *sys.stdlib_module_names, "trainer_scripts"}
    return any(
        imported.top not in known and not imported.level
        for source in program.sources
        for imported in source.imports
    )
