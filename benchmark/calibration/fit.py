"""Fits a logistic curve to scores, and measures how well scores are calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.calibration.samples import Key, Samples, ScoredSample
from lamm_model.tasks.calibration import Curve

BINS = 10
# With fewer, a curve would say little more than the share of right ones.
FEWEST = 50
_STEPS = 100
_RIDGE = 1e-4
_LIMIT = 30.0

Floats = NDArray[np.float64]


def fitted(samples: Samples) -> dict[Key, Curve]:
    """A curve for each key with at least `FEWEST` samples."""
    return {key: fit(found) for key, found in samples.items() if len(found) >= FEWEST}


def fit(samples: Sequence[ScoredSample]) -> Curve:
    """Logistic regression by Newton's method, on Platt's smoothed targets (Platt 1999).

    The targets and a small ridge keep the curve finite if every sample is right, or wrong.
    """
    names = tuple(samples[0].features)
    hits = np.array([one.hit for one in samples])
    right = int(hits.sum())
    targets = np.where(hits, (right + 1) / (right + 2), 1 / (len(hits) - right + 2))
    inputs = np.array([[1.0, *(one.features[name] for name in names)] for one in samples])
    penalty = _RIDGE * np.diag([0.0, *([1.0] * len(names))]) + 1e-9 * np.eye(len(names) + 1)
    weights = np.zeros(len(names) + 1)
    for _ in range(_STEPS):
        shares = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (shares - targets) + penalty @ weights
        curvature = (inputs.T * (shares * (1 - shares))) @ inputs + penalty
        step = np.linalg.solve(curvature, gradient)
        # Far from the minimum a full step may overshoot.
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-8:
            break
    rounded = [round(float(weight), 6) for weight in weights]
    return Curve(
        intercept=rounded[0],
        weights=dict(zip(names, rounded[1:], strict=True)),
        n=len(samples),
        hits=right,
    )


def calibration_error(values: Sequence[float], hits: Sequence[bool]) -> float:
    """Expected calibration error over `BINS` bins of equal width (Guo et al. 2017)."""
    return sum(n * abs(value - share) for value, share, n in bins(values, hits)) / len(values)


def bins(values: Sequence[float], hits: Sequence[bool]) -> list[tuple[float, float, int]]:
    """(mean score, share of hits, number) of each bin with scores, from 0 to 1."""
    scores, right = np.array(values), np.array(hits, dtype=float)
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    inside = [place == number for number in range(BINS)]
    return [
        (float(scores[one].mean()), float(right[one].mean()), int(one.sum()))
        for one in inside
        if one.any()
    ]


def auroc(values: Sequence[float], hits: Sequence[bool]) -> float | None:
    """Probability that a hit has a higher score than a miss; None without one of either."""
    scores, right = np.array(values), np.array(hits, dtype=bool)
    good, bad = scores[right], np.sort(scores[~right])
    if not len(good) or not len(bad):
        return None
    below = np.searchsorted(bad, good, side="left")
    at_most = np.searchsorted(bad, good, side="right")
    return float((below + at_most).mean() / (2 * len(bad)))


def _sigmoid(logits: Floats) -> Floats:
    shares: Floats = 1 / (1 + np.exp(-np.clip(logits, -_LIMIT, _LIMIT)))
    return shares
