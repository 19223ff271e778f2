"""``matchGlob``: patterns over object names.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
"""

from __future__ import annotations

import re

from vertexkit.emulator.gcs import errors


def compile_glob(glob: str) -> re.Pattern[str]:
    """A pattern that matches what the glob matches: ``*``, ``**``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``.

    A backslash takes from the next character its special meaning.

    Raises:
        StorageError: 400; it is malformed.
    """
    pattern, at = _sequence(glob, 0, in_braces=False)
    if at != len(glob):
        raise _malformed(glob)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        raise _malformed(glob) from None


def _sequence(glob: str, at: int, *, in_braces: bool) -> tuple[str, int]:
    """The pattern of a glob from ``at`` up to its end, or to the ``,`` or ``}`` that ends an alternative."""
    pattern = []
    while at < len(glob) and not (in_braces and glob[at] in ",}"):
        if glob.startswith("**", at):
            # `**/` matches no folder at all, too.
            slash = glob.startswith("**/", at)
            pattern.append("(?:.*/)?" if slash else ".*")
            at += 3 if slash else 2
            continue
        character = glob[at]
        if character == "[":
            piece, at = _set(glob, at)
        elif character == "{":
            piece, at = _alternatives(glob, at)
        elif character == "\\" and at + 1 < len(glob):
            piece, at = re.escape(glob[at + 1]), at + 2
        else:
            piece, at = {"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character), at + 1
        pattern.append(piece)
    return "".join(pattern), at


def _set(glob: str, at: int) -> tuple[str, int]:
    end = glob.find("]", at + 2)
    if end < 0:
        raise _malformed(glob)
    body = glob[at + 1 : end]
    negated = body[0] in "!^"
    inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if negated else body)
    return (f"(?!/)[^{inner}]" if negated else f"(?!/)[{inner}]"), end + 1


def _alternatives(glob: str, at: int) -> tuple[str, int]:
    alternatives = []
    while at < len(glob) and glob[at] != "}":
        alternative, at = _sequence(glob, at + 1, in_braces=True)
        alternatives.append(alternative)
    if at >= len(glob):
        raise _malformed(glob)
    return f"(?:{'|'.join(alternatives)})", at + 1


def _malformed(glob: str) -> errors.StorageError:
    return errors.invalid(f"Invalid matchGlob: {glob}")
