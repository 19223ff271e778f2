"""Bayesian optimization by a Gaussian process: suggestions where all parameters are always active.

A Matern 5/2 kernel with a length scale for each parameter, fitted by its likelihood, and the greatest
expected improvement among random points and points near the best. It takes milliseconds, and only numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vertexkit.emulator.tuning.one_core import linear_algebra_on_one_core
from vertexkit.emulator.tuning.space import Node, Pinned, Place, Space, Values
from vertexkit.emulator.tuning.types import Kind, Scale

_MOST_FITTED: Final = 50
"""Observations that the length scales are fitted to: the best, and the latest."""
_ROUNDS: Final = 16
"""Of the fit."""
_CANDIDATES: Final = 500
"""Points drawn at random, and as many near the best ones."""
_NEAREST: Final = 10
_SAME: Final = 1e-9
"""Squared distance, in length scales, of points that are the same."""
_SQRT5: Final = math.sqrt(5)

Array = NDArray[np.floating]


class Axes:
    """The parameters as coordinates between 0 and 1; a category is its index.

    Args:
        nodes: Of parameters with more than one value.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.categorical = np.array([node.parameter.kind is Kind.CATEGORICAL for node in nodes])

    def coordinate(self, node: Node, place: Place) -> float:
        """Where a place is."""
        parameter = node.parameter
        if parameter.kind in (Kind.DOUBLE, Kind.CATEGORICAL):
            return float(place)
        if parameter.kind is Kind.DISCRETE:
            return place / (len(parameter.values) - 1)
        low, high = parameter.minimum, parameter.maximum
        if parameter.scale is Scale.LINEAR:
            return (place - low) / (high - low)
        return math.log(place / low) / math.log(high / low)

    def place(self, node: Node, coordinate: float) -> Place:
        """The place that is nearest to a coordinate."""
        parameter = node.parameter
        if parameter.kind is Kind.DOUBLE:
            return float(coordinate)
        if parameter.kind is Kind.CATEGORICAL:
            return int(coordinate)
        if parameter.kind is Kind.DISCRETE:
            return round(coordinate * (len(parameter.values) - 1))
        low, high = int(parameter.minimum), int(parameter.maximum)
        if parameter.scale is Scale.LINEAR:
            return min(max(low + round(coordinate * (high - low)), low), high)
        return min(max(round(low * math.exp(coordinate * math.log(high / low))), low), high)

    def snap(self, points: Array) -> Array:
        """Points moved to where values are."""
        for column, node in enumerate(self.nodes):
            parameter = node.parameter
            if parameter.kind is Kind.DISCRETE:
                steps = len(parameter.values) - 1
                points[:, column] = (points[:, column] * steps).round() / steps
            elif parameter.kind is Kind.INTEGER:
                low, high = float(parameter.minimum), float(parameter.maximum)
                if parameter.scale is Scale.LINEAR:
                    points[:, column] = (points[:, column] * (high - low)).round() / (high - low)
                else:
                    width = math.log(high / low)
                    points[:, column] = (
                        np.log((low * np.exp(points[:, column] * width)).round() / low) / width
                    )
        return points

    def drawn(self, rng: np.random.Generator, count: int) -> Array:
        """Points at random."""
        points = rng.random((count, len(self.nodes)))
        for column, node in enumerate(self.nodes):
            if node.parameter.kind is Kind.CATEGORICAL:
                points[:, column] = rng.integers(len(node.parameter.values), size=count)
        return self.snap(points)

    def near(self, rng: np.random.Generator, points: Array, spread: float) -> Array:
        """A point near each of some, which differs from it in some coordinates only."""
        other = self.drawn(rng, len(points))
        sizes = spread * np.exp(-3 * rng.random((len(points), 1)))
        moved = points + sizes * rng.standard_normal(points.shape)
        moved = 1 - np.abs(1 - np.abs(moved))
        moved = np.where(self.categorical, np.where(rng.random(points.shape) < 0.2, other, points), moved)
        kept = rng.random(points.shape) < 0.5
        kept[np.arange(len(points)), rng.integers(points.shape[1], size=len(points))] = False
        return self.snap(np.where(kept, points, np.clip(moved, 0, None)))

    def scaled(self, points: Array, weights: Array) -> Array:
        """Points where plain distances are those in length scales: a category has an axis for each value.

        Args:
            points: Points.
            weights: Inverse squared length scales.
        """
        columns = []
        for column, node in enumerate(self.nodes):
            if self.categorical[column]:
                # Two that differ do so along two axes.
                values = np.arange(len(node.parameter.values))
                weight = weights[column] / 2
                columns.append((points[:, [column]] == values) * math.sqrt(weight))
            else:
                columns.append(points[:, [column]] * math.sqrt(weights[column]))
        return np.concatenate(columns, axis=1)

    def squared(self, first: Array, second: Array) -> Array:
        """Squared distances along each axis, ``(axes, first, second)``; of categories 1 where they differ."""
        apart = first.T[:, :, np.newaxis] - second.T[:, np.newaxis, :]
        apart *= apart
        apart[self.categorical] = apart[self.categorical] > 0
        return apart


@dataclass(frozen=True)
class Fit:
    """A Gaussian process."""

    axes: Axes
    points: Array
    """Scaled by the length scales."""
    weights: Array
    """Inverse squared length scales."""
    noise: float
    inverse: Array
    """Of the covariance, noise included."""
    solved: Array
    variance: float

    def distances(self, points: Array) -> Array:
        """Squared distances of points from the observed ones, in length scales: ``(points, observed)``."""
        scaled = self.axes.scaled(points, self.weights)
        return _apart(scaled, self.points)

    def predict(self, distances: Array) -> tuple[Array, Array]:
        """Means and standard deviations at some points.

        Args:
            distances: Of these points, ``(points, observed)``.
        """
        across = _matern(distances)
        left = np.maximum(1 - (across @ self.inverse * across).sum(axis=1), 1e-12)
        return across @ self.solved, np.sqrt(self.variance * left)


def suggest(
    space: Space,
    points: Sequence[dict[str, Place]],
    scores: Sequence[float],
    under_way: Sequence[dict[str, Place]],
    *,
    pinned: Pinned,
    seed: int,
) -> Values:
    """The values with the greatest expected improvement.

    Args:
        space: What is searched; no parameter of it is conditional.
        points: Those of which the scores are known, two at least.
        scores: More is better.
        under_way: Points to keep away from.
        pinned: What is not to be chosen.
        seed: The same one gives the same values for the same observations.
    """
    linear_algebra_on_one_core()
    axes = Axes([node for node in space.roots if not node.fixed])
    if not axes.nodes:
        return space.walk(lambda node: next(node.places()), pinned)
    rng = np.random.default_rng(seed)
    known = np.array([[axes.coordinate(node, point[node.key]) for node in axes.nodes] for point in points])
    waiting = np.array(
        [[axes.coordinate(node, point[node.key]) for node in axes.nodes] for point in under_way]
    ).reshape(-1, len(axes.nodes))
    values = warped(np.asarray(scores, dtype=float))
    fit = _fitted(axes, known, values)
    best = values.max()
    if len(waiting):
        # What is under way is taken to come out as expected.
        believed = np.concatenate([values, fit.predict(fit.distances(waiting))[0]])
        fit = _process(axes, np.concatenate([known, waiting]), believed, fit.weights, fit.noise)
    order = values.argsort()[::-1]

    def held(candidates: Array) -> Array:
        for column, node in enumerate(axes.nodes):
            if node.key in pinned:
                candidates[:, column] = axes.coordinate(node, pinned[node.key][0])
        return candidates

    leaders = known[order[np.minimum(rng.geometric(0.3, _CANDIDATES) - 1, len(order) - 1)]]
    candidates = held(np.concatenate([axes.drawn(rng, _CANDIDATES), axes.near(rng, leaders, 0.3)]))
    gains = _gains(fit, candidates, best)
    for spread in (0.1, 0.03, 0.01):
        chosen = candidates[gains.argsort()[::-1][:_NEAREST]]
        closer = held(axes.near(rng, np.repeat(chosen, 10, axis=0), spread))
        candidates = np.concatenate([chosen, closer])
        gains = _gains(fit, candidates, best)
    found = candidates[gains.argmax()]
    places = {node.key: axes.place(node, found[column]) for column, node in enumerate(axes.nodes)}
    return space.walk(lambda node: places[node.key] if node.key in places else next(node.places()), pinned)


def warped(scores: Array) -> Array:
    """Scores on a scale of the better half: what is worse than the median keeps its rank only.

    Equals stay equal, such as the trials that have learnt nothing.
    """
    middle = float(np.median(scores))
    better = scores >= middle
    spread = math.sqrt(float(((scores[better] - middle) ** 2).mean()))
    if not spread > 0:
        return np.zeros_like(scores)
    values = (scores - middle) / spread
    _, of, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    quantiles = np.array([NormalDist().inv_cdf(rank / len(scores)) for rank in ranks.tolist()])
    values = np.where(better, values, quantiles[of])
    centered: Array = values - values.mean()
    return centered


def _fitted(axes: Axes, points: Array, values: Array) -> Fit:
    """The process of the likeliest length scales and noise."""
    chosen = np.arange(len(values))
    if len(values) > _MOST_FITTED:
        best = values.argsort()[::-1][: _MOST_FITTED // 2]
        chosen = np.unique(np.concatenate([best, chosen[-_MOST_FITTED // 2 :]]))
    squared, targets = axes.squared(points[chosen], points[chosen]), values[chosen]
    place = np.array([math.log(0.5)] * len(axes.nodes) + [math.log(1e-3)])
    center, width = place.copy(), np.array([1.0] * len(axes.nodes) + [2.0])
    low = np.array([math.log(0.02)] * len(axes.nodes) + [math.log(1e-6)])
    high = np.array([math.log(20.0)] * len(axes.nodes) + [math.log(1.0)])
    step, before = np.full(len(place), 0.3), np.zeros(len(place))
    top, likeliest = -math.inf, place
    for _ in range(_ROUNDS):
        likelihood, slope = _likelihood(squared, targets, place)
        likelihood -= 0.5 * float((((place - center) / width) ** 2).sum())
        slope = slope - (place - center) / width**2
        if likelihood > top:
            top, likeliest = likelihood, place
        # Uphill by the slope's sign alone (Rprop): further where it stays, less far where it turns.
        turned = slope * before
        step = np.clip(step * np.where(turned > 0, 1.3, np.where(turned < 0, 0.4, 1.0)), 1e-3, 1.0)
        before = slope
        place = np.clip(place + np.sign(slope) * step, low, high)
    return _process(axes, points, values, np.exp(-2 * likeliest[:-1]), math.exp(likeliest[-1]))


def _likelihood(squared: Array, targets: Array, place: Array) -> tuple[float, Array]:
    """Log likelihood of the logarithms of length scales and noise, and its slope.

    The variance of the signal is the likeliest.
    """
    weights, noise = np.exp(-2 * place[:-1]), math.exp(place[-1])
    apart = np.sqrt(np.tensordot(weights, squared, 1))
    fading = np.exp(-_SQRT5 * apart)
    covariance = (1 + _SQRT5 * apart + 5 / 3 * apart**2) * fading
    count = len(targets)
    covariance[np.diag_indices(count)] += noise + 1e-8
    inverse = np.linalg.inv(covariance)
    solved = inverse @ targets
    variance = max(float(targets @ solved) / count, 1e-12)
    likelihood = -0.5 * (count * math.log(variance) + float(np.linalg.slogdet(covariance)[1]))
    pull = np.outer(solved, solved) / variance - inverse
    along = 0.5 * weights * np.tensordot(squared, pull * (5 / 3 * (1 + _SQRT5 * apart) * fading), 2)
    return likelihood, np.append(along, 0.5 * noise * float(np.trace(pull)))


def _process(axes: Axes, points: Array, values: Array, weights: Array, noise: float) -> Fit:
    scaled = axes.scaled(points, weights)
    covariance = _matern(_apart(scaled, scaled))
    covariance[np.diag_indices(len(points))] += noise + 1e-8
    inverse = np.linalg.inv(covariance)
    solved = inverse @ values
    variance = max(float(values @ solved) / len(values), 1e-12)
    return Fit(axes, scaled, weights, noise, inverse, solved, variance)


def _apart(first: Array, second: Array) -> Array:
    """Squared distances, ``(first, second)``."""
    squared = (first**2).sum(axis=1)[:, np.newaxis] + (second**2).sum(axis=1) - 2 * first @ second.T
    found: Array = np.maximum(squared, 0.0)
    return found


def _matern(squared: Array) -> Array:
    apart = np.sqrt(squared)
    covariance: Array = (1 + _SQRT5 * apart + 5 / 3 * squared) * np.exp(-_SQRT5 * apart)
    return covariance


def _gains(fit: Fit, points: Array, best: float) -> Array:
    """Expected improvement over the best at some points; none where something was observed already."""
    distances = fit.distances(points)
    means, deviations = fit.predict(distances)
    above = (means - best) / deviations
    density = np.exp(-0.5 * above**2) / math.sqrt(2 * math.pi)
    exceeded = 0.5 * np.array([math.erfc(value) for value in (above * -math.sqrt(0.5)).tolist()])
    gains = deviations * (above * exceeded + density)
    return np.where((distances < _SAME).any(axis=1), -1.0, gains)
