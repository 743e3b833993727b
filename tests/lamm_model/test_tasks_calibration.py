"""`calibration.json`: what it holds, and which faults are refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lamm_model.tasks.calibration import (
    Calibration,
    CalibrationError,
    Curve,
    Scored,
    Suite,
    answer_features,
    raw_place,
)


def calibration(digest: str) -> Calibration:
    whole = Curve(intercept=1.0, weights={"log_surprisal": -2.0}, n=9, hits=5)
    suites = (Suite(name="mini", seed=1),)
    return Calibration(checkpoint=digest, fit=suites, tasks={"ocr": {Scored.ANSWER: whole}})


def test_a_curve_is_a_probability() -> None:
    curve = calibration("a").curve("ocr", Scored.ANSWER)
    assert curve is not None
    assert curve(answer_features(-math.exp(0.5))) == pytest.approx(0.5)
    assert curve(answer_features(-9999.0)) < 1e-6
    assert curve(answer_features(0.0)) > 0.999
    assert calibration("a").curve("ocr", Scored.PLACE) is None
    assert calibration("a").curve("caption", Scored.ANSWER) is None


def test_a_raw_place_has_the_mean_of_its_numbers() -> None:
    assert raw_place(-4.0, -0.5, 4) == pytest.approx(math.exp(-1.5))
    assert raw_place(-4.0, None, 2) == pytest.approx(math.exp(-2.0))


def test_a_file_reads_back_and_is_optional(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(calibration("a").written())
    assert Calibration.beside(tmp_path, "a") == calibration("a")
    assert Calibration.beside(tmp_path / "none", "a") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "lamm-calibration/9"}, "format"),
        ({"tasks": {"detection": {"place": {"intercept": 0, "weights": {}, "n": 0, "hits": 0}}}},
         "tasks.detection.place.n"),
        ({"tasks": {"detection": {"place": {"intercept": 0, "weights": {"luck": 1}, "n": 1,
                                            "hits": 0}}}},
         "weight of 'luck'; expected label_log_surprisal"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_by_name(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    value = {**json.loads(calibration("a").written()), **change}
    (tmp_path / "calibration.json").write_text(json.dumps(value))
    with pytest.raises(CalibrationError, match=told) as refusal:
        Calibration.beside(tmp_path, "a")
    assert str(tmp_path / "calibration.json") in str(refusal.value)
