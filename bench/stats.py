"""Takes measured numbers, hands on their middle, their spread and what they are worth against floor and goal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Verdict = Literal["good", "fair", "poor", ""]
"""Reaches its goal; misses it; falls below its floor; nothing is asked of it."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One number per round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: two sides, the one number that is judged, and what it is judged by."""

    what: str
    unit: str
    """Of both sides."""
    against: str
    """What the baseline is."""
    baseline: Samples | None
    ours: Samples
    value: float
    """What is judged; in `×` a ratio of medians."""
    value_unit: str = "×"
    better: Literal["more", "less"] = "more"
    floor: float | None = None
    goal: float | None = None

    @property
    def verdict(self) -> Verdict:
        if self.goal is None and self.floor is None:
            return ""
        if self.floor is not None and not self._reaches(self.floor):
            return "poor"
        return "good" if self.goal is None or self._reaches(self.goal) else "fair"

    def _reaches(self, bound: float) -> bool:
        return self.value >= bound if self.better == "more" else self.value <= bound


def ratio(ours: Samples, baseline: Samples) -> float:
    """Of the medians."""
    return ours.median / baseline.median if baseline.median else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def alternate(
    rounds: int, seconds: float, baseline: Callable[[float], float], ours: Callable[[float], float]
) -> tuple[Samples, Samples]:
    """Measure both sides for `seconds` in turn, so that whatever else the machine does meets both; after a warm-up."""
    baseline(seconds / 4)
    ours(seconds / 4)
    pairs = [(baseline(seconds), ours(seconds)) for _ in range(rounds)]
    return Samples(tuple(pair[0] for pair in pairs)), Samples(tuple(pair[1] for pair in pairs))
