"""Expected calibration error: how far confidences are from the share of right answers.

With bins of equal size in place of the equal widths of Guo et al. 2017, as ChEF computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.protocols.results import RESAMPLES, SEED, Metric

BINS = 10


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities that sum to 1."""
    weights = np.exp(np.asarray(scores, dtype=np.float64) - max(scores))
    return [float(weight) for weight in weights / weights.sum()]


def expected_error(
    confidences: NDArray[np.float64], right: NDArray[np.float64], bins: int = BINS
) -> NDArray[np.float64]:
    """The error of each of R samples of n answers.

    Answers are sorted by confidence and cut into `bins` parts of equal size; the first `n % bins`
    have one more. The error is the mean distance between a part's mean confidence and its share of
    right answers, weighted by size.

    Args:
        confidences: of the chosen options, 0 to 1, [R, n].
        right: 1 for a right answer, 0 for a wrong one, [R, n].
        bins: number of parts.
    """
    count = confidences.shape[1]
    order = np.argsort(confidences, axis=1, kind="stable")
    gaps = np.take_along_axis(right - confidences, order, axis=1)
    sizes = [count // bins + (number < count % bins) for number in range(bins)]
    starts = np.cumsum([0, *sizes[:-1]])[: min(bins, count)]
    errors: NDArray[np.float64] = np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(axis=1) / count
    return errors


def calibration(confidences: Sequence[float], right: Sequence[float]) -> Metric:
    """The error with its 95 % interval: a percentile bootstrap over answers, seeded.

    Resampled answers are worse calibrated than the given ones, most of all when they are few, so
    that the interval lies high.

    Raises:
        ValueError: no answers.
    """
    count = len(confidences)
    if not count:
        raise ValueError("0 answers have no calibration error")
    sure, hit = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    value = float(expected_error(sure[None], hit[None])[0])
    drawn = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    low, high = np.quantile(expected_error(sure[drawn], hit[drawn]), [0.025, 0.975])
    note = f"{BINS} bins of equal size; confidence: softmax over the options' mean log-likelihoods"
    return Metric(value, float(low), float(high), count, note)
