"""What a container's arguments and variables say of other variables, as in Kubernetes.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/ModelContainerSpec
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:\$\((?P<escaped>\w+)\)|\((?P<name>\w+)\))")


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """A text with every ``$(NAME)`` that is known replaced; ``$$(NAME)`` stays ``$(NAME)``."""

    def replacement(found: re.Match[str]) -> str:
        if found["escaped"] is not None:
            return f"$({found['escaped']})"
        return environment.get(found["name"], found[0])

    return _VARIABLE.sub(replacement, text)
