"""The fit of a curve, and the measures of calibration."""

from __future__ import annotations

import math
import random

import pytest

from benchmark.calibration.checks import check
from benchmark.calibration.fit import auroc, bins, calibration_error, fit, fitted
from benchmark.calibration.samples import ScoredSample
from lamm_model.tasks.calibration import Scored


def drawn(count: int, seed: int) -> list[ScoredSample]:
    """Hits with the probability sigmoid(1 + 2 * logprob), which the raw score overstates."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        logprob = -3 * rng.random()
        share = 1 / (1 + math.exp(-1 - 2 * logprob))
        found.append(ScoredSample({"logprob": logprob}, math.exp(logprob), rng.random() < share))
    return found


def test_a_fit_finds_the_curve_that_made_the_samples() -> None:
    key = ("ocr", Scored.ANSWER)
    curve = fitted({key: drawn(20_000, 1)})[key]
    assert curve.intercept == pytest.approx(1.0, abs=0.1)
    assert curve.weights["logprob"] == pytest.approx(2.0, abs=0.1)
    held = check(curve, drawn(5000, 2))
    assert held.n == 5000
    assert held.ece < 0.03
    assert held.ece < held.raw_ece
    assert held.auroc is not None
    assert 0.7 < held.auroc < 0.95


def test_all_right_or_all_wrong_is_finite() -> None:
    for right in (True, False):
        samples = [ScoredSample({"logprob": -0.01 * i}, 0.9, right) for i in range(100)]
        value = fit(samples)({"logprob": -0.5})
        assert abs(value - right) < 0.05
        assert 0 < value < 1


def test_few_samples_give_no_curve() -> None:
    assert fitted({("ocr", Scored.ANSWER): drawn(49, 1)}) == {}


def test_expected_calibration_error_of_a_small_case() -> None:
    # Bin 0.9-1: mean 0.95, all right. Bin 0.2-0.3: mean 0.25, half right.
    values, hits = [0.95, 0.95, 0.2, 0.3 - 1e-9], [True, True, True, False]
    assert bins(values, hits) == [
        (pytest.approx(0.25), 0.5, 2), (pytest.approx(0.95), 1.0, 2),
    ]  # fmt: skip
    assert calibration_error(values, hits) == pytest.approx((0.25 + 0.05) / 2)


def test_auroc_counts_ties_as_half() -> None:
    assert auroc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert auroc([0.9, 0.5], [True, True]) is None
