"""What the trainer scripts print, read back."""

from __future__ import annotations

import re


def accuracy(printed: str) -> float:
    """Of the test images, at the end."""
    (found,) = re.findall(r"^Test accuracy: ([\d.]+)$", printed, re.MULTILINE)
    return float(found)


def digest(printed: str) -> str:
    """What tells whether two replicas end with the same weights."""
    (found,) = re.findall(r"^SHA-256 of the weights: ([0-9a-f]{64})$", printed, re.MULTILINE)
    return str(found)


def epochs(printed: str) -> list[int]:
    """The epochs that were begun, from 1."""
    return [int(number) for number in re.findall(r"^Epoch (\d+)/\d+$", printed, re.MULTILINE)]
