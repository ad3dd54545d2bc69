"""What is usual of a series of figures, and where it goes. Pure.

Robust against single figures: the middle is the median, the width the median absolute deviation
(F. R. Hampel, JASA 69 (1974), 383-393), the slope the median of the slopes between all pairs
(H. Theil, 1950; P. K. Sen, JASA 63 (1968), 1379-1389).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import median

NORMAL = 1.4826
"""The standard deviation of a normal distribution is so many of its median absolute deviations."""

WIDE = 4.0
"""Deviations from the median that are still usual."""

LEAST = 8
"""Figures that it takes to say what is usual."""


@dataclass(frozen=True)
class Band:
    """What is usual: from ``low`` to ``high``, of so many figures."""

    low: float
    middle: float
    high: float
    count: int

    def side(self, value: float) -> str:
        """`above`, `below`, or '' within."""
        if value > self.high:
            return "above"
        return "below" if value < self.low else ""


def band(values: Sequence[float], least_width: float = 0.0) -> Band | None:
    """None: there are too few. ``least_width``: a deviation that means nothing in any case."""
    if len(values) < LEAST:
        return None
    middle = median(values)
    deviation = NORMAL * median(abs(value - middle) for value in values)
    half = WIDE * max(deviation, least_width)
    return Band(max(middle - half, 0.0), middle, middle + half, len(values))


def deviation_of_rate(rate: float, count: int) -> float:
    """How far a rate that was seen in ``count`` trials lies from the true one by chance alone;
    with one hit and one miss more than there were, so that none out of few is not certain."""
    true = (rate * count + 1) / (count + 2)
    return sqrt(true * (1 - true) / count) if count else 1.0


@dataclass(frozen=True)
class Trend:
    """``slope``: per ms. ``agreement``: of the pairs of points, the share that go its way."""

    slope: float
    agreement: float


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Of (instant, value), in their order; None of fewer than three."""
    if len(points) < 3:
        return None
    pairs = [(a, b) for a, b in combinations(points, 2) if b[0] > a[0]]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs]
    if not slopes:
        return None
    slope = median(slopes)
    alike = sum(each * slope > 0 for each in slopes)
    return Trend(slope, alike / len(slopes))


def confidence(outcomes: Sequence[int]) -> float:
    """How sure the next forecast is, from whether those before came true (1) or not (0): the rule
    of succession (P. S. de Laplace, 1774), so a half where there was none."""
    return (sum(outcomes) + 1) / (len(outcomes) + 2)
