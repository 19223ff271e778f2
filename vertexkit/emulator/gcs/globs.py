"""``matchGlob``: patterns over object names.

A glob is an automaton that takes a name one character at a time, so that a match costs no more than the
length of the name times that of the glob, whatever either of them is.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vertexkit.emulator.gcs import errors

_MAX_CHARACTERS = 1024
"""No longer than a name can be."""
_MAX_NESTING = 16
_MAX_REMEMBERED = 10_000

_Accepts = Callable[[str], bool]
_States = frozenset[int]


class Glob:
    """What a glob matches: ``*``, ``**``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``.

    A backslash takes from the next character its special meaning.

    Raises:
        StorageError: 400; it is malformed, too long, or its braces are too deep.
    """

    def __init__(self, glob: str) -> None:
        if len(glob) > _MAX_CHARACTERS:
            raise errors.invalid(f"Invalid matchGlob: it has {len(glob)} characters, not {_MAX_CHARACTERS}.")
        self._glob = glob
        self._steps: list[tuple[_Accepts, int] | None] = [None]
        """By state: which character leads on, and where to."""
        self._free: list[list[int]] = [[]]
        """By state: the states that it is as good as."""
        self._last, _ = self._sequence(0, 0, depth=0)
        self._first = self._reached([0])
        self._remembered: dict[tuple[_States, str], _States] = {}

    def matches(self, name: str) -> bool:
        """Whether the whole of a name matches."""
        states = self._first
        for character in name:
            following = self._remembered.get((states, character))
            if following is None:
                following = self._following(states, character)
            if not following:
                return False
            states = following
        return self._last in states

    def _following(self, states: _States, character: str) -> _States:
        steps = [step for state in states if (step := self._steps[state]) is not None]
        following = self._reached([target for accepts, target in steps if accepts(character)])
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[states, character] = following
        return following

    def _reached(self, states: list[int]) -> _States:
        """The states, with those that they are as good as."""
        reached = set(states)
        while states:
            new = [state for state in self._free[states.pop()] if state not in reached]
            reached.update(new)
            states.extend(new)
        return frozenset(reached)

    def _state(self) -> int:
        self._steps.append(None)
        self._free.append([])
        return len(self._steps) - 1

    def _one(self, state: int, accepts: _Accepts) -> int:
        """Take one character; the state behind it."""
        target = self._state()
        self._steps[state] = (accepts, target)
        return target

    def _any(self, state: int, accepts: _Accepts) -> int:
        """Take any number of characters; the state behind them."""
        looping, target = self._state(), self._state()
        self._free[state].append(looping)
        self._steps[looping] = (accepts, looping)
        self._free[looping].append(target)
        return target

    def _sequence(self, at: int, state: int, depth: int) -> tuple[int, int]:
        """Read the glob from ``at`` up to its end, or to the ``,`` or ``}`` that ends an alternative.

        Returns:
            The state behind it, and where in the glob it ended.
        """
        glob = self._glob
        while at < len(glob) and not (depth and glob[at] in ",}"):
            character = glob[at]
            if glob.startswith("**/", at):
                # It matches no folder at all, too.
                end = self._one(self._any(state, _is_anything), "/".__eq__)
                self._free[state].append(end)
                state, at = end, at + 3
            elif glob.startswith("**", at):
                state, at = self._any(state, _is_anything), at + 2
            elif character == "*":
                state, at = self._any(state, _is_no_slash), at + 1
            elif character == "?":
                state, at = self._one(state, _is_no_slash), at + 1
            elif character == "[":
                accepts, at = self._set(at)
                state = self._one(state, accepts)
            elif character == "{":
                state, at = self._alternatives(at, state, depth + 1)
            else:
                if character == "\\" and at + 1 < len(glob):
                    at += 1
                state, at = self._one(state, glob[at].__eq__), at + 1
        return state, at

    def _set(self, at: int) -> tuple[_Accepts, int]:
        end = self._glob.find("]", at + 2)
        if end < 0:
            raise self._malformed()
        body = self._glob[at + 1 : end]
        negated = body[0] in "!^"
        inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if negated else body)
        try:
            pattern = re.compile(f"(?!/)[{'^' if negated else ''}{inner}]", re.DOTALL)
        except re.error:
            raise self._malformed() from None
        return lambda character: pattern.fullmatch(character) is not None, end + 1

    def _alternatives(self, at: int, state: int, depth: int) -> tuple[int, int]:
        if depth > _MAX_NESTING:
            raise errors.invalid(f"Invalid matchGlob: its braces are more than {_MAX_NESTING} deep.")
        behind = self._state()
        while at < len(self._glob) and self._glob[at] != "}":
            start = self._state()
            self._free[state].append(start)
            end, at = self._sequence(at + 1, start, depth)
            self._free[end].append(behind)
        if at >= len(self._glob):
            raise self._malformed()
        return behind, at + 1

    def _malformed(self) -> errors.StorageError:
        return errors.invalid(f"Invalid matchGlob: {self._glob}")


def _is_anything(_character: str) -> bool:
    return True


def _is_no_slash(character: str) -> bool:
    return character != "/"
