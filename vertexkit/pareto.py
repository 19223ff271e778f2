"""Which of several results no other one beats."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["unbeaten"]


def unbeaten(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Indices of those that no other beats: is as good in every respect, and better in one.

    Args:
        points: Each of as many numbers, of which more is better, and none NaN.
    """
    front: list[tuple[float, ...]] = []
    # What beats a point comes before it; so does one of the front that beats it, if any does.
    for point in sorted(set(points), reverse=True):
        # Of two numbers, the second of the last one in the front is the greatest so far.
        rivals = front if len(point) > 2 else front[-1:]
        if not any(all(a >= b for a, b in zip(rival, point, strict=True)) for rival in rivals):
            front.append(point)
    best = set(front)
    return [index for index, point in enumerate(points) if point in best]
