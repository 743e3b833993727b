"""Metrics with 95 % confidence intervals, as pure functions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Z_95 = 1.959963984540054
RESAMPLES = 1000

T = TypeVar("T")
S = TypeVar("S")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value, its 95 % confidence interval and the number of items."""

    value: float
    low: float
    high: float
    n: int


def proportion(hits: int, n: int) -> Estimate:
    """Share of hits with the Wilson score interval (Wilson 1927), valid near 0 and 1 too.

    Raises:
        ValueError: `n` is below 1 or below `hits`.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n}; expected 0 <= hits <= n and n >= 1")
    share = hits / n
    scale = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / scale
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / scale
    # At 0 and n the bound equals the value exactly; rounding must not exceed it.
    return Estimate(
        share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n
    )


def bootstrap(
    items: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int = 0
) -> Estimate:
    """`statistic(items)` with a percentile bootstrap over items (Efron 1979), seeded.

    Raises:
        ValueError: `items` is empty.
    """
    if not items:
        raise ValueError("a bootstrap needs at least 1 item; got 0")
    rng = random.Random(seed)
    values = sorted(statistic(rng.choices(items, k=len(items))) for _ in range(RESAMPLES))
    low, high = values[int(0.025 * RESAMPLES)], values[int(0.975 * RESAMPLES) - 1]
    return Estimate(statistic(items), low, high, len(items))


def mean_of(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes [x1, y1, x2, y2]; 0 when both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    union = box_area(first) + box_area(second) - overlap
    return overlap / union


def box_centre(box: Sequence[float]) -> tuple[float, float]:
    """Centre of a box [x1, y1, x2, y2]."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def box_area(box: Box) -> float:
    """Area of a box with x1 <= x2 and y1 <= y2."""
    return (box[2] - box[0]) * (box[3] - box[1])


def match_count(candidates: Sequence[Sequence[int]]) -> int:
    """Size of the largest one-to-one matching (augmenting paths, Kuhn 1955).

    Args:
        candidates: the targets that each prediction may be matched with.
    """
    owner: dict[int, int] = {}

    def place(prediction: int, tried: set[int]) -> bool:
        for target in candidates[prediction]:
            if target in tried:
                continue
            tried.add(target)
            if target not in owner or place(owner[target], tried):
                owner[target] = prediction
                return True
        return False

    return sum(place(prediction, set()) for prediction in range(len(candidates)))


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """Matched, spurious and missed objects of one or more media."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """Matched share of the predictions; 1 with no prediction and no target."""
        return self._share(self.false_positives)

    @property
    def recall(self) -> float:
        """Matched share of the targets; 1 with no prediction and no target."""
        return self._share(self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 with no prediction and no target."""
        wrong = self.false_positives + self.false_negatives
        total = 2 * self.true_positives + wrong
        return 2 * self.true_positives / total if total else 1.0

    def _share(self, wrong: int) -> float:
        total = self.true_positives + wrong
        if total:
            return self.true_positives / total
        return 1.0 if self.false_positives + self.false_negatives == 0 else 0.0


def sum_counts(counts: Sequence[DetectionCounts]) -> DetectionCounts:
    """The sum of several counts."""
    return DetectionCounts(
        sum(c.true_positives for c in counts),
        sum(c.false_positives for c in counts),
        sum(c.false_negatives for c in counts),
    )


def matched_counts(
    found: Sequence[T], wanted: Sequence[S], fits: Callable[[T, S], bool]
) -> DetectionCounts:
    """Counts of one medium: `found` matched one to one with `wanted` where `fits` holds."""
    candidates = [
        [index for index, there in enumerate(wanted) if fits(seen, there)] for seen in found
    ]
    matched = match_count(candidates)
    return DetectionCounts(matched, len(found) - matched, len(wanted) - matched)


def precision_recall_f1(counts: Sequence[DetectionCounts], suffix: str = "") -> dict[str, Estimate]:
    """`precision`, `recall` and `f1` over all counts, `suffix` appended to each name."""
    return {
        f"precision{suffix}": bootstrap(counts, lambda c: sum_counts(c).precision),
        f"recall{suffix}": bootstrap(counts, lambda c: sum_counts(c).recall),
        f"f1{suffix}": bootstrap(counts, lambda c: sum_counts(c).f1),
    }
