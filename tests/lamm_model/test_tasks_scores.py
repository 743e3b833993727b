"""Metrics against values worked out by hand, and what each task makes of wrong targets."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.counting import CountingAnswer
from lamm_model.tasks.detection import DetectionAnswer
from lamm_model.tasks.metrics import bootstrap, box_iou, match_count, mean_of, proportion


def test_wilson_interval_against_published_values() -> None:
    # Newcombe 1998, table I.
    for hits, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        estimate = proportion(hits, n)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)
    with pytest.raises(ValueError, match="3 hits of 2"):
        proportion(3, 2)


@given(st.integers(1, 3000), st.data())
def test_wilson_interval_holds_its_value(n: int, data: st.DataObject) -> None:
    estimate = proportion(data.draw(st.integers(0, n)), n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_bootstrap_is_seeded_and_brackets_the_mean() -> None:
    values = [float(i % 7) for i in range(200)]
    first, again = bootstrap(values, mean_of), bootstrap(values, mean_of)
    assert first == again
    assert first.low < first.value < first.high
    with pytest.raises(ValueError, match="at least 1 item; got 0"):
        bootstrap([], mean_of)


def test_box_iou() -> None:
    assert box_iou((0, 0, 1, 1), (0, 0, 0.5, 1)) == pytest.approx(0.5)
    assert box_iou((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)) == 0.0
    assert box_iou((0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2)) == 0.0


@given(st.lists(st.lists(st.integers(0, 4), max_size=5, unique=True), max_size=5))
def test_matching_is_the_largest(candidates: list[list[int]]) -> None:
    best = 0
    for targets in itertools.product(*[[None, *options] for options in candidates]):
        used = [t for t in targets if t is not None]
        if len(set(used)) == len(used):
            best = max(best, len(used))
    assert match_count(candidates) == best


def detection(*objects: tuple[str, list[float]]) -> DetectionAnswer:
    return DetectionAnswer.model_validate(
        {"objects": [{"label": n, "bbox": b} for n, b in objects]}
    )


def test_detection_ties_labels_to_boxes_one_to_one() -> None:
    task = TASKS["detection"]
    target = detection(("coat", [0, 0, 0.5, 0.5]), ("bag", [0.5, 0.5, 1, 1]))
    swapped = detection(("bag", [0, 0, 0.5, 0.5]), ("coat", [0.5, 0.5, 1, 1]))
    thrice = detection(*[("Coats", [0, 0, 0.5, 0.5])] * 3)
    assert task.score([(swapped, target)])["f1@0.5"].value == 0.0
    scores = task.score([(thrice, target)])
    assert scores["precision@0.5"].value == pytest.approx(1 / 3)
    assert scores["recall@0.5"].value == pytest.approx(1 / 2)
    assert scores["f1@0.5"].value == pytest.approx(2 / 5)
    assert task.score([(None, target), (target, target)])["f1@0.5"].value == pytest.approx(2 / 3)
    assert task.is_hit(target, target)
    assert not task.is_hit(None, target)
    assert not task.is_hit(thrice, target)
    assert task.score([(detection(), detection())])["f1@0.5"].value == 1.0


def test_counting_scores_exactness_and_error() -> None:
    task = TASKS["counting"]
    pairs = [
        (CountingAnswer(count=a) if a is not None else None, CountingAnswer(count=t))
        for a, t in [(3, 3), (5, 2), (None, 4), (1, 1)]
    ]
    scores = task.score(pairs)
    assert scores["accuracy"].value == 0.5
    assert scores["accuracy"].n == 4
    assert scores["mae"].value == pytest.approx(1.0)
    assert scores["mae"].n == 3
    assert "mae" not in task.score(pairs[2:3])


def test_ocr_ignores_case_and_empty_input_gives_no_metric() -> None:
    task = TASKS["ocr"]
    answer, target = task.answer_model(text="lamp"), task.answer_model(text="LAMP")
    assert task.score([(answer, target), (None, target)])["word_accuracy"].value == 0.5
    assert all(task.score([]) == {} for task in TASKS.values())


def sample(task: str, target: Any, **extra: Any) -> Sample:
    return Sample.model_validate(
        {"id": "1", "task": task, "question": "?", "target": target, **extra}
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (sample("counting", "3"), "expected a whole number"),
        (sample("counting", True), "expected a whole number"),
        (sample("counting", -1), "greater than or equal to 0"),
        (sample("classification", 3), "expected a label"),
        (
            sample("classification", "hat", labels=["coat", "bag"]),
            "'hat' is not among the 2 labels",
        ),
        (sample("vqa_choice", {"choice": 0}), "'choice' and 'choices'"),
        (sample("vqa_choice", {"choice": 2, "choices": ["a", "b"]}), "choice is 2 .from 0., but"),
        (sample("ocr", 5), "expected a word"),
        (sample("detection", "coat"), "list of label and bbox"),
        (sample("detection", [{"label": "coat", "bbox": [0.5, 0, 0.1, 1]}]), "not 0 <= x1 <= x2"),
    ],
)
def test_wrong_targets_are_refused(record: Sample, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TASKS[record.task].read_sample(record)


def test_right_targets_are_read() -> None:
    record = sample("vqa_choice_3d", {"choice": 1, "choices": ["chair", "table"]}, pcl="a.npy")
    inputs, target = TASKS["vqa_choice_3d"].read_sample(record)
    assert (inputs.choices, target.choice, record.media) == (("chair", "table"), 1, "a.npy")
    assert TASKS["vqa_choice_3d"].prompt(inputs) == "? Options: (A) chair (B) table"
    with pytest.raises(ValueError, match="both an image and a pcl"):
        sample("ocr", "x", image="a.png", pcl="b.npy")
