"""URI templates of ``google.api.http`` rules, and the tree that finds the rule for a path.

Source: https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from vertexkit.emulator.methods import HttpRule, Method

_TEMPLATE = re.compile(
    r"(?P<before>(?:/\w+)*)(?:/\{(?P<field>[\w.]+)=(?P<inside>[^{}]+)\}(?P<after>(?:/\w+)*))?"
    r"(?::(?P<verb>\w+))?"
)
_INSIDE = re.compile(r"(?:\w+|\*)(?:/(?:\w+|\*))*")


@dataclass(frozen=True)
class UriTemplate:
    """A parsed template: ``/v1/{name=projects/*/locations/*}/models:upload``."""

    segments: tuple[str, ...]
    """What each segment of a path must be; ``*`` for anything."""
    custom_verb: str
    """``upload``, or the empty string."""
    variable: str | None
    """Path of the request field that the template captures (``model.name``), or None."""
    start: int = 0
    """First captured segment."""
    stop: int = 0
    """One past the last captured segment."""

    @classmethod
    def parse(cls, template: str) -> UriTemplate:
        """Take a template apart.

        Raises:
            ValueError: It uses a form that no rule of the API has used so far (``**``, two variables).
        """
        match = _TEMPLATE.fullmatch(template)
        inside = match["inside"] if match else None
        if match is None or (inside is not None and not _INSIDE.fullmatch(inside)):
            raise ValueError(f"{template!r} is a URI template of an unknown form")
        before = match["before"].split("/")[1:]
        captured = [] if inside is None else inside.split("/")
        after = (match["after"] or "").split("/")[1:]
        start = len(before)
        return cls(
            (*before, *captured, *after), match["verb"] or "", match["field"], start, start + len(captured)
        )


@dataclass(frozen=True)
class Match:
    """The RPC that a REST request names."""

    method: Method
    rule: HttpRule
    variables: Mapping[str, str]
    """Request fields that the path gives, by field path."""


@dataclass
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    anything: _Node | None = None
    leaves: dict[tuple[str, str], tuple[Method, HttpRule, UriTemplate]] = field(default_factory=dict)
    """By HTTP verb and custom verb."""


class Router:
    """Finds the rule for an HTTP verb and a path, in time that does not grow with the table."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._root = _Node()
        for method in methods:
            for rule in method.http:
                self._add(method, rule)

    def _add(self, method: Method, rule: HttpRule) -> None:
        template = UriTemplate.parse(rule.template)
        node = self._root
        for segment in template.segments:
            if segment == "*":
                node.anything = node.anything or _Node()
                node = node.anything
            else:
                node = node.literal.setdefault(segment, _Node())
        node.leaves.setdefault((rule.verb, template.custom_verb), (method, rule, template))

    def find(self, verb: str, raw_path: str) -> Match | None:
        """The RPC that ``verb raw_path`` calls.

        Args:
            verb: ``GET``, ``POST``, ...
            raw_path: The path as it was sent, still percent-encoded, without the query.

        Returns:
            The match, or None if no rule fits.
        """
        segments = raw_path.split("/")[1:]
        if not segments:
            return None
        head, colon, custom_verb = segments[-1].rpartition(":")
        if colon:
            found = self._match(verb, [*segments[:-1], head], unquote(custom_verb))
            if found is not None:
                return found
        # A colon may also be part of an id.
        return self._match(verb, segments, "")

    def _match(self, verb: str, segments: list[str], custom_verb: str) -> Match | None:
        leaf = _find(self._root, [unquote(segment) for segment in segments], 0, (verb, custom_verb))
        if leaf is None:
            return None
        method, rule, template = leaf
        if template.variable is None:
            return Match(method, rule, {})
        # http.proto: what several segments give together keeps its %2F.
        plain = [_unquote_but_slash(segment) for segment in segments[template.start : template.stop]]
        return Match(method, rule, {template.variable: "/".join(plain)})


def _find(
    node: _Node, segments: list[str], index: int, key: tuple[str, str]
) -> tuple[Method, HttpRule, UriTemplate] | None:
    if index == len(segments):
        return node.leaves.get(key)
    segment = segments[index]
    exact = node.literal.get(segment)
    if exact is not None:
        found = _find(exact, segments, index + 1, key)
        if found is not None:
            return found
    if node.anything is not None and segment:
        return _find(node.anything, segments, index + 1, key)
    return None


def _unquote_but_slash(segment: str) -> str:
    return segment if "%" not in segment else "%2F".join(unquote(x) for x in re.split("%2[Ff]", segment))
