"""Average precision of boxes by their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.answers import Answer
from benchmark.calibration.checks import with_checks
from benchmark.calibration.precision import box_precision
from benchmark.suite import Item
from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.calibration import Curve, Scored

# Surer with a higher log-probability of the numbers; the labels do not matter.
RISING = Curve(intercept=0.0, weights={"logprob": 1.0}, n=1, hits=1)
HERE, THERE, NOWHERE = (
    "chair [0, 0, 0, 1, 1, 1]",
    "chair [3, 0, 0, 1, 1, 1]",
    "chair [9, 9, 0, 1, 1, 1]",
)


def asked(id_: str, chairs: list[list[float]], task: str = "detection_3d") -> Item:
    target = [{"label": "chair", "bbox": box} for box in chairs]
    sample = Sample(id=id_, task=task, question="?", target=target, pcl=f"{id_}.npy")
    known = TASKS[task]
    return Item("row", sample, known, *known.read_sample(sample), Path(f"{id_}.npy"))


def said(text: str, *logprobs: float, **changes: Any) -> Answer:
    told = {f"objects[{k}].bbox": {"logprob": one} for k, one in enumerate(logprobs)}
    fields: dict[str, Any] = {
        "options": None, "score": 0.5, "scores": {}, "logprobs": {"": {"logprob": -1.0}, **told},
    }  # fmt: skip
    return Answer("key", "row", "1", text, "stop", "m", "f", 0, 0, 0.0, **(fields | changes))


def test_boxes_are_ranked_over_all_clouds() -> None:
    """Two chairs. By score: right, wrong, right, wrong: AP = (51 levels x 1 + 50 x 2/3) / 101.

    As written: wrong, right, wrong, right: the best precision is 1/2 at every level.
    """
    answered = [
        (asked("a", [[0, 0, 0, 1, 1, 1]]), said(f"{NOWHERE}; {HERE}", -2.0, -1.0)),
        (asked("b", [[3, 0, 0, 1, 1, 1]]), said(f"{NOWHERE}; {THERE}", -4.0, -3.0)),
    ]
    found = box_precision("detection_3d", answered, RISING)
    assert found is not None
    assert set(found) == {"ap@0.5", "ap@0.25"}
    for ap in found.values():
        assert ap.calibrated == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-4)
        assert ap.raw == ap.calibrated
        assert ap.constant == pytest.approx(1 / 2, abs=1e-4)


def test_an_answer_that_cannot_be_read_misses_its_objects() -> None:
    answered = [
        (asked("a", [[0, 0, 0, 1, 1, 1]]), said(HERE, -1.0)),
        (asked("b", [[0, 0, 0, 1, 1, 1]]), said("", logprobs=None, score=None)),
        (asked("c", [[0, 0, 0, 1, 1, 1]]), said(HERE, logprobs=None, score=None)),  # left out
    ]
    found = box_precision("detection_3d", answered, RISING)
    assert found is not None
    assert found["ap@0.5"].calibrated == pytest.approx(51 / 101, abs=1e-4)


def test_checks_of_both_roles_are_kept_apart() -> None:
    key = ("detection_3d", Scored.PLACE)
    right = (asked("a", [[0, 0, 0, 1, 1, 1]]), said(HERE, -1.0))
    wrong = (asked("b", [[0, 0, 0, 1, 1, 1]]), said(NOWHERE, -1.0))
    curves = with_checks(with_checks({key: RISING}, "held_out", [right]), "test", [right, wrong])
    held, last = curves[key].held_out, curves[key].test
    assert held is not None
    assert last is not None
    assert (held.n, held.hits, last.n, last.hits) == (1, 1, 2, 1)
    assert held.ap is not None
    assert last.ap is not None
    assert held.ap["ap@0.5"].calibrated == 1.0
    assert last.ap["ap@0.5"].calibrated < 1.0
    assert with_checks({key: RISING}, "test", []) == {key: RISING}


def test_other_places_have_no_average_precision() -> None:
    assert box_precision("grounding_3d", [], RISING) is None
    assert box_precision("locating", [], RISING) is None
