"""List filters and orders: a parser of AIP-160; ``comparisons.py`` evaluates over protobuf messages.

Source: https://google.aip.dev/160, https://google.aip.dev/132#ordering and, for what each list
supports, the comments on ``filter`` in ``google.cloud.aiplatform_v1``. Not supported, and refused:
functions, and literals without a field.

As AIP-160 has it, OR binds tighter than AND.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from vertexkit.emulator.comparisons import Comparison, Filterable, Incomparable, Predicate, snake_case
from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.validation import invalid

__all__ = ["Filterable", "Predicate", "parse_filter", "parse_order_by"]

_MAX_LENGTH: Final = 10_000
_MAX_DEPTH: Final = 40

_TOKEN = re.compile(
    r"""
    (?P<operator>!=|<=|>=|[=<>:])
    | (?P<paren>[()])
    | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<dot>\.)
    | (?P<text>[^\s()=!<>:"'.]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def parse_filter(text: str, over: Filterable) -> Predicate | None:
    """Turn a filter into a test of one message.

    Args:
        text: The filter, as the request has it.
        over: What it may name.

    Returns:
        The test; None when ``text`` is empty, and everything passes.

    Raises:
        ApiError: INVALID_ARGUMENT, ``text`` is no filter, or names what cannot be filtered by.
    """
    if not text.strip():
        return None
    if len(text) > _MAX_LENGTH:
        raise invalid(f"The filter is {len(text)} characters long, and can be up to {_MAX_LENGTH}.")
    return _Parser(text, over).parse()


def parse_order_by(text: str, allowed: Collection[str]) -> list[tuple[str, bool]]:
    """Take an ``order_by`` apart.

    Args:
        text: ``"display_name, create_time desc"``.
        allowed: The fields that may be named, in snake_case.

    Returns:
        Field name and whether its order is descending, in order of weight.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    order: list[tuple[str, bool]] = []
    if not text.strip():
        return order
    for part in text.split(","):
        words = part.split()
        name = snake_case(words[0]) if words else ""
        if name not in allowed or len(words) > 2 or (len(words) == 2 and words[1] not in {"asc", "desc"}):
            raise invalid(f'Invalid order_by "{text}": it can name {", ".join(sorted(allowed))}.')
        if name in (known for known, _ in order):
            raise invalid(f'Invalid order_by "{text}": it names {name} twice.')
        order.append((name, words[-1] == "desc"))
    return order


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


class _Parser:
    """Recursive descent over the grammar of AIP-160; each method is the rule of its name."""

    def __init__(self, text: str, over: Filterable) -> None:
        self.text = text
        self.over = over
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def parse(self) -> Predicate:
        found = self.expression()
        if self.at < len(self.tokens):
            raise self.error(f'unexpected "{self.tokens[self.at].text}"')
        return found

    def expression(self) -> Predicate:
        terms = [self.sequence()]
        while self.keyword("AND"):
            terms.append(self.sequence())
        return _all_of(terms)

    def sequence(self) -> Predicate:
        # Factors side by side are ANDed: ranking by how many match means nothing for an exact list.
        factors = [self.factor()]
        while (token := self.peek()) is not None and token.text not in {")", "AND"}:
            factors.append(self.factor())
        return _all_of(factors)

    def factor(self) -> Predicate:
        terms = [self.term()]
        while self.keyword("OR"):
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else lambda message: any(term(message) for term in terms)

    def term(self) -> Predicate:
        token = self.peek()
        negated = self.keyword("NOT")
        if not negated and token is not None and token.kind == "text" and token.text.startswith("-"):
            negated = True
            rest = token.text[1:]
            if rest:
                self.tokens[self.at] = _Token("text", rest, token.start + 1, token.end)
            else:
                self.at += 1
        simple = self.simple()
        return (lambda message: not simple(message)) if negated else simple

    def simple(self) -> Predicate:
        token = self.peek()
        if token is None:
            raise self.error("it ends too early")
        if token.text != "(" or token.kind != "paren":
            return self.restriction()
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} nested parentheses")
        self.at += 1
        inner = self.expression()
        closing = self.peek()
        if closing is None or closing.kind != "paren" or closing.text != ")":
            raise self.error('a ")" is missing')
        self.at += 1
        self.depth -= 1
        return inner

    def restriction(self) -> Predicate:
        path = self.member()
        token = self.peek()
        if token is None or token.kind != "operator":
            raise self.error(f'"{".".join(path)}" has to be compared with something')
        self.at += 1
        try:
            return Comparison(path, token.text, self.argument()).over(self.over)
        except Incomparable as error:
            raise self.error(f"{error}") from None

    def member(self) -> tuple[str, ...]:
        path = []
        while True:
            token = self.peek()
            if token is None or token.kind not in {"text", "quoted"}:
                raise self.error("the name of a field is missing")
            self.at += 1
            path.append(_unquoted(token))
            following = self.peek()
            if following is None or following.kind != "dot":
                return tuple(path)
            self.at += 1

    def argument(self) -> str:
        token = self.peek()
        if token is None or token.kind not in {"text", "quoted", "dot"}:
            raise self.error("the value to compare with is missing")
        self.at += 1
        if token.kind == "quoted":
            return _unquoted(token)
        # A bare 1.5 is three tokens that touch.
        parts, end = [token.text], token.end
        while (
            (following := self.peek()) is not None
            and following.kind in {"text", "dot"}
            and following.start == end
        ):
            parts.append(following.text)
            end = following.end
            self.at += 1
        return "".join(parts)

    def peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def keyword(self, word: str) -> bool:
        token = self.peek()
        if token is None or token.kind != "text" or token.text != word:
            return False
        self.at += 1
        return True

    def error(self, problem: str) -> ApiError:
        return invalid(f'Invalid filter "{self.text}": {problem}.')

    def _tokens(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise self.error(f'unexpected "{self.text[at]}"')
            tokens.append(_Token(str(match.lastgroup), match[0], at, match.end()))
            at = match.end()
        return tokens


def _all_of(tests: list[Predicate]) -> Predicate:
    return tests[0] if len(tests) == 1 else lambda message: all(test(message) for test in tests)


def _unquoted(token: _Token) -> str:
    if token.kind != "quoted":
        return token.text
    return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
