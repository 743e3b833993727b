"""Stored answers of a task's route: their scores, and what these are about."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmark.answers import Answer
from benchmark.calibration.questions import _spread
from benchmark.calibration.samples import gathered
from benchmark.errors import RequestFailedError
from benchmark.quality.task_target import read_task
from benchmark.suite import Item
from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.calibration import Scored

RESPONSE = {
    "text": "dog [0.10, 0.20, 0.45, 0.60]; dog [0.11, 0.20, 0.45, 0.60]", "finish_reason": "stop",
    "score": {"value": 0.3, "calibrated": True, "logprob": -3.0},
    "scores": [
        {"path": "objects[0].bbox", "value": 0.4, "calibrated": True, "logprob": -2.0,
         "label_logprob": -0.1},
        {"path": "objects[1].bbox", "value": 0.9, "calibrated": True, "logprob": -1.0,
         "label_logprob": None},
    ],
}  # fmt: skip


def item(id_: str = "1", media: str = "a.png") -> Item:
    task = TASKS["detection"]
    target = [{"label": "dog", "bbox": [0.1, 0.2, 0.45, 0.6]}]
    sample = Sample(id=id_, task="detection", question="Where?", image=media, target=target)
    return Item("row", sample, task, *task.read_sample(sample), Path(media))


def answer(body: object) -> Answer:
    told = read_task(json.dumps(body).encode())
    return Answer(
        "key", "row", "1", told.text, told.finish_reason, "m", "f", 0, 0, 0.0, None, told.score,
        told.scores, told.logprobs,
    )  # fmt: skip


def test_scores_are_kept_by_path() -> None:
    stored = answer(RESPONSE)
    assert (stored.score, stored.scores) == (0.3, {"objects[0].bbox": 0.4, "objects[1].bbox": 0.9})
    assert stored.logprobs is not None
    assert stored.logprobs[""] == {"logprob": -3.0}
    assert stored.logprobs["objects[1].bbox"] == {"logprob": -1.0}


def test_an_object_is_found_by_its_surest_place() -> None:
    found = gathered([(item(), answer(RESPONSE))])
    first, second = found["detection", Scored.PLACE]
    assert (first.hit, second.hit) == (False, True)
    assert second.raw == pytest.approx(math.exp(-1 / 4))
    [whole] = found["detection", Scored.ANSWER]
    assert (whole.hit, whole.raw) == (False, pytest.approx(first.raw * second.raw))


def test_absent_scores_give_no_samples() -> None:
    stored = answer({**RESPONSE, "score": None, "scores": None})
    assert (stored.score, stored.scores, stored.logprobs) == (None, None, None)
    assert gathered([(item(), stored)]) == {}
    with pytest.raises(RequestFailedError, match="not a task response"):
        read_task(b'{"error": {}}')


def test_media_come_before_further_questions_about_them() -> None:
    items = [item(f"{name}{number}", name) for name in "ab" for number in range(3)]
    assert [one.sample.id for one in _spread(items)] == ["a0", "b1", "a1", "b2", "a2", "b0"]
