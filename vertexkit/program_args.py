"""Whether a program takes the arguments that it is to get, where its parser can be read off its source.

The parser is built again from the calls of ``add_argument``, as far as they are written out, and asked: what
it says is what argparse will say in the job. What cannot be read is not checked.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vertexkit.errors import Finding

if TYPE_CHECKING:
    from vertexkit.packaging import Program

__all__ = ["check_args", "missing_args", "number_types"]

_ARGUMENT: Final = "args"
_TYPES: Final = {"int": int, "float": float, "str": str}
_ACTIONS: Final = {
    "store",
    "store_true",
    "store_false",
    "store_const",
    "append",
    "append_const",
    "count",
    "extend",
}
_NAMED_NARGS: Final = {
    "REMAINDER": argparse.REMAINDER,
    "OPTIONAL": "?",
    "ZERO_OR_MORE": "*",
    "ONE_OR_MORE": "+",
}
_MISSING: Final = "the following arguments are required: "
_IGNORED: Final = {"help", "metavar", "default"}
_OPEN_WORDS: Final = {"parents", "prefix_chars", "fromfile_prefix_chars", "conflict_handler"}


def check_args(program: Program, args: Sequence[str], *, complete: bool = True) -> list[Finding]:
    """Whether a program's own parser would take these arguments.

    Args:
        program: The program.
        args: What it is to get, as in ``sys.argv[1:]``.
        complete: Whether these are all, so that what else the program requires would be missing.

    Returns:
        Options that it does not know, does not get, or does not get in the right form; nothing when its
        arguments are not read by one plain ``argparse.ArgumentParser`` in all of its modules.
    """
    try:
        parser = _parser_of(program)
        found = parser.check(args, complete=complete)
    except _Unreadable:
        return []
    return [*found, *parser.overridden(args)]


def number_types(program: Program) -> dict[str, type[int] | type[float]]:
    """Of which type the options are that the program takes as numbers, by their names without dashes.

    Args:
        program: The program.

    Returns:
        Those that are declared with ``type=int`` or ``type=float``; none where that cannot be read.
    """
    try:
        options = _parser_of(program).options
    except _Unreadable:
        return {}
    return {
        name.lstrip("-"): words["type"]
        for names, words in options
        for name in names
        if words.get("type") in (int, float)
    }


def missing_args(program: Program, each: Sequence[Sequence[str]]) -> list[list[str]]:
    """What a program requires that it does not get.

    Args:
        program: The program.
        each: Arguments of several runs of it.

    Returns:
        For each run, the options that are missing, as argparse names them: ``-l/--lr``. None where the
        program's arguments cannot be read, or it refuses them for something else.
    """
    try:
        return _parser_of(program).missing(each)
    except _Unreadable:
        return [[] for _ in each]


class _Unreadable(Exception):
    """The parser is not written out in the program."""


class _Refused(Exception):
    """What argparse would have said before it ended the program."""


class _Silent(argparse.ArgumentParser):
    """A parser that neither prints nor exits."""

    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


@dataclass
class _Parser:
    """A parser as it is written in a program."""

    is_open: bool = False
    """Whether there may be options that were not read."""
    abbreviates: bool = True
    options: list[tuple[list[str], dict[str, Any]]] = field(default_factory=list)

    def check(self, args: Sequence[str], *, complete: bool) -> list[Finding]:
        """What it would not take.

        Raises:
            _Unreadable: argparse would not even make that parser.
        """
        findings = []
        try:
            # What is required is asked for afterwards, so that a misspelt option is told as such.
            _, unknown = self._built(demanding=False).parse_known_args(args)
        except _Refused as refused:
            return [_finding(args, str(refused))]
        if not self.is_open:
            findings += [self._unknown(word) for word in unknown if word.startswith("-")]
            findings += [
                Finding(_ARGUMENT, word, "is no argument that the program takes")
                for word in unknown
                if not word.startswith("-") and not findings
            ]
        if not complete:
            return findings
        try:
            self._built(demanding=True).parse_known_args(args)
        except _Refused as refused:
            findings.append(_finding(args, str(refused)))
        return findings

    def missing(self, each: Sequence[Sequence[str]]) -> list[list[str]]:
        """The options that it requires and does not get, for each of several arguments.

        Raises:
            _Unreadable: argparse would not even make that parser.
        """
        parser = self._built(demanding=True)
        return [_missing(parser, args) for args in each]

    def overridden(self, args: Sequence[str]) -> Iterator[Finding]:
        """Values that the program will not see, for another follows: those of a list, most probably."""
        for names, words in self.options:
            given = [arg for arg in args if arg.startswith("-") and arg.partition("=")[0] in names]
            if len(given) < 2 or words.get("action", "store") != "store":
                continue
            values = [arg.partition("=")[2] or "..." for arg in given]
            yield Finding(
                _ARGUMENT,
                given,
                "has an option several times, of which the program keeps the last",
                f"give a list: args={[names[0], *values]}"
                if "nargs" in words
                else 'let it have action="append"',
                warning=True,
            )

    def _built(self, *, demanding: bool) -> argparse.ArgumentParser:
        parser = _Silent(prog="program", add_help=False, allow_abbrev=self.abbreviates)
        for names, words in self.options:
            given = dict(words)
            if not demanding and names[0].startswith("-"):
                given.pop("required", None)
            elif not demanding and given.get("nargs") is None:
                given["nargs"] = "?"
            try:
                parser.add_argument(*names, **given)
            except (ValueError, TypeError, argparse.ArgumentError):
                raise _Unreadable from None
        if all("-h" not in names for names, _ in self.options):
            parser.add_argument("-h", "--help", action="store_true")
        return parser

    def _unknown(self, word: str) -> Finding:
        name = word.partition("=")[0]
        known = [option for names, _ in self.options for option in names if option.startswith("-")]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        remedy = f"use {close[0]}" if close else f"it takes {', '.join(known) or 'none'}"
        return Finding(_ARGUMENT, word, "is no option of the program", remedy)


def _missing(parser: argparse.ArgumentParser, args: Sequence[str]) -> list[str]:
    try:
        parser.parse_known_args(args)
    except _Refused as refused:
        _, is_missing, names = str(refused).partition(_MISSING)
        return names.split(", ") if is_missing else []
    return []


def _finding(args: Sequence[str], message: str) -> Finding:
    remedy = None
    if "ignored explicit argument" in message:
        name = message.removeprefix("argument ").partition(":")[0].rpartition("/")[2].lstrip("-")
        remedy = f"it takes no value: give args={{{name!r}: True}}"
    return Finding(_ARGUMENT, [*args], f"would be refused by the program: {message}", remedy)


def _parser_of(program: Program) -> _Parser:
    """The one parser of a program.

    Raises:
        _Unreadable: As `_read`.
    """
    found = _read_once(tuple(source.tree for source in program.sources))
    if found is None:
        raise _Unreadable
    return found


# A program is asked for each parameter of a space, and to walk through all of it takes a while.
@functools.lru_cache(maxsize=4)
def _read_once(trees: tuple[ast.Module, ...]) -> _Parser | None:
    try:
        return _read(trees)
    except _Unreadable:
        return None


def _read(trees: Sequence[ast.Module]) -> _Parser:
    """Read the one parser of a program.

    Raises:
        _Unreadable: There is none, there are several, or it is made in a way that cannot be followed.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    made = [call for call in calls if _called(call) == "ArgumentParser"]
    parsing = [call for call in calls if _called(call) in {"parse_args", "parse_known_args"}]
    if len(made) != 1 or len(parsing) != 1 or parsing[0].args or parsing[0].keywords:
        raise _Unreadable
    if any(_called(call) == "add_subparsers" for call in calls):
        raise _Unreadable
    if any(word.arg is None or word.arg in _OPEN_WORDS for word in made[0].keywords):
        raise _Unreadable
    found = _Parser(is_open=_called(parsing[0]) == "parse_known_args" or _is_handed_on(nodes, made[0]))
    for word in made[0].keywords:
        if word.arg == "allow_abbrev":
            found.abbreviates = not (isinstance(word.value, ast.Constant) and word.value.value is False)
    loops = [node for node in nodes if isinstance(node, ast.For | ast.While)]
    looped = {id(node) for loop in loops for node in ast.walk(loop)}
    for call in calls:
        if _called(call) != "add_argument":
            continue
        names = [
            arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        if id(call) in looped or len(names) != len(call.args) or not names:
            found.is_open = True
            if id(call) in looped or not names or not names[0].startswith("-"):
                continue
        found.options.append((names, _words(call)))
    return found


def _is_handed_on(nodes: Sequence[ast.AST], made: ast.Call) -> bool:
    """Whether the parser is given to a function of another package, which may add options to it."""
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    holders = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and node.value is made
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(arg, ast.Name) and arg.id in holders
        for call in nodes
        if isinstance(call, ast.Call) and _called(call) not in own
        for arg in [*call.args, *(word.value for word in call.keywords)]
    )


def _words(call: ast.Call) -> dict[str, Any]:
    """The keyword arguments of ``add_argument`` that matter to a check.

    Raises:
        _Unreadable: How many values the option takes cannot be read.
    """
    words: dict[str, Any] = {}
    for word in call.keywords:
        if word.arg in _IGNORED:
            continue
        name = _last_name(word.value)
        if word.arg == "type":
            if name in _TYPES:
                words["type"] = _TYPES[name]
            else:
                words["type"] = str
                words["choices"] = None
        elif word.arg == "action" and name == "BooleanOptionalAction":
            words["action"] = argparse.BooleanOptionalAction
        elif word.arg == "nargs" and name in _NAMED_NARGS:
            words["nargs"] = _NAMED_NARGS[name]
        elif word.arg in {"action", "nargs", "choices", "required", "dest", "const"}:
            words.setdefault(word.arg, _literal(word))
        else:
            raise _Unreadable
    action = words.get("action", "store")
    if action is not argparse.BooleanOptionalAction and action not in _ACTIONS:
        raise _Unreadable
    return {key: value for key, value in words.items() if value is not None}


def _literal(word: ast.keyword) -> Any:
    try:
        return ast.literal_eval(word.value)
    except ValueError:
        if word.arg in {"action", "nargs", "dest"}:
            raise _Unreadable from None
        return None


def _called(call: ast.Call) -> str:
    return _last_name(call.func)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
