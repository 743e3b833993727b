"""ChEF's scorers, reproduced: `chef_values.json` has what its own code gave for the same answers.

`record_chef_values.py` writes that file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.protocols import ProtocolScore, Stored, score
from benchmark.protocols.calibration import BINS, calibration, expected_error, softmax
from benchmark.protocols.chef_text import choice, cleaned, is_in_table, labelled_boxes, names
from lamm_model.tasks import Sample

CHEF = "chef-ea57136"
RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "chef_values.json").read_text())


def stored(task: str, number: int, target: Any, text: str, **extra: Any) -> Stored:
    record = {"id": str(number), "task": task, "question": "?", "target": target} | extra
    return Stored(Sample.model_validate(record), text)


def scored(task: str, pairs: list[tuple[Any, str]], **extra: Any) -> ProtocolScore:
    return score(task, CHEF, [stored(task, i, *pair, **extra) for i, pair in enumerate(pairs)])


def pairs_of(recorded: dict[str, Any]) -> list[tuple[Any, str]]:
    return [(one["gt_answers"], one["answer"]) for one in recorded["answers"]]


def percent(result: ProtocolScore, name: str) -> float:
    return 100 * result.metrics[name].value


def test_words_that_name_a_label_are_those_that_chef_accepts() -> None:
    ours = [names(label, text) for label, text, _ in RECORDED["labels"]]
    assert ours == [expected for *_, expected in RECORDED["labels"]]
    assert 50 < sum(ours) < len(ours) - 50
    assert all(is_in_table(label) for label, *_ in RECORDED["labels"])


@pytest.mark.parametrize("recorded", RECORDED["words"])
def test_accuracy_of_classes(recorded: dict[str, Any]) -> None:
    result = scored("classification", pairs_of(recorded))
    assert percent(result, "accuracy") == pytest.approx(recorded["results"]["ACC"])
    assert percent(result, "synonym_accuracy") == pytest.approx(recorded["results"]["SYN_ACC"])


@pytest.mark.parametrize("recorded", RECORDED["detection"])
def test_boxes_are_matched_one_to_one_as_chef_matches_them(recorded: dict[str, Any]) -> None:
    result, expected = scored("detection", pairs_of(recorded)), recorded["results"]
    for at in (0.5, 0.25):
        for ours, theirs in (
            ("recall", "recall"), ("precision", "prec"),
            ("recall_any_class", "recall_wocat"), ("precision_any_class", "prec_wocat"),
        ):  # fmt: skip
            value = expected[f"{theirs}@{at:.2f}"]
            assert percent(result, f"{ours}@{at}") == pytest.approx(value, abs=1e-4), ours
    assert expected["recall@0.50"] < expected["recall_wocat@0.25"] or len(result.items) < 10


@pytest.mark.parametrize("recorded", RECORDED["boxes"])
def test_plain_precision_and_recall_of_boxes(recorded: dict[str, Any]) -> None:
    result, expected = scored("detection", pairs_of(recorded)), recorded["results"]
    assert percent(result, "plain_precision@0.5") == pytest.approx(expected["mAP@0.5"])
    assert percent(result, "plain_recall@0.5") == pytest.approx(expected["mAR@0.5"])


@pytest.mark.parametrize("recorded", RECORDED["detection_3d"])
def test_boxes_in_space(recorded: dict[str, Any]) -> None:
    result = scored("detection_3d", pairs_of(recorded))
    assert percent(result, "recall@0.5") == pytest.approx(recorded["results"]["mAR"])


@pytest.mark.parametrize("recorded", RECORDED["grounding_3d"])
def test_the_first_box_in_space(recorded: dict[str, Any]) -> None:
    result = scored("grounding_3d", pairs_of(recorded))
    assert percent(result, "accuracy@0.5") == pytest.approx(recorded["results"]["mAR"])


@pytest.mark.parametrize("recorded", RECORDED["counting"])
def test_an_error_of_a_count_is_at_most_the_count(recorded: dict[str, Any]) -> None:
    result = scored("counting", pairs_of(recorded))
    assert result.metrics["mae"].value == pytest.approx(recorded["results"]["MAE"])
    far = scored("counting", [(3, "It shows 900 items")])
    assert far.metrics["mae"].value == 3


@pytest.mark.parametrize("recorded", RECORDED["choices"])
def test_the_chosen_options(recorded: dict[str, Any]) -> None:
    pairs = [
        ({"choice": one["gt_choice"], "choices": one["choices"]}, one["answer"])
        for one in recorded["answers"]
    ]
    result = scored("vqa_choice", pairs)
    assert percent(result, "accuracy") == pytest.approx(recorded["results"]["ACC"])
    assert percent(result, "match_ratio") == pytest.approx(recorded["results"]["match_ratio"])


@pytest.mark.parametrize("recorded", RECORDED["calibration"])
def test_the_calibration_error(recorded: dict[str, Any]) -> None:
    sure = [one["prob"] for one in recorded["answers"]]
    right = [float(one["correct"]) for one in recorded["answers"]]
    found = calibration(sure, right)
    assert found.value == pytest.approx(recorded["results"]["ECE"])
    assert found.low <= found.high
    assert found.n == len(sure)


def test_samples_are_binned_each_on_its_own() -> None:
    rng = np.random.default_rng(3)
    sure, right = rng.random((4, 23)), rng.integers(2, size=(4, 23)).astype(float)
    together = expected_error(sure, right)
    alone = [expected_error(sure[i : i + 1], right[i : i + 1])[0] for i in range(4)]
    assert together.tolist() == pytest.approx(alone)
    assert BINS == 10


def test_confidences_are_those_of_the_mean_log_likelihoods() -> None:
    options = [{"option": "(A", "mean_logprob": -0.5}, {"option": "(B", "mean_logprob": -1.5}]
    target = {"choice": 0, "choices": ["a dog", "a cat"]}
    right = stored("vqa_choice", 0, target, "The answer is (A).")
    wrong = stored("vqa_choice", 1, {**target, "choice": 1}, "The answer is (A).")
    unranked = stored("vqa_choice", 2, target, "The answer is (A).")
    ranked = [Stored(one.sample, one.text, options) for one in (right, wrong)]
    result = score("vqa_choice", CHEF, [*ranked, unranked])
    sure = softmax([-0.5, -1.5])[0]
    assert sure == pytest.approx(1 / (1 + np.exp(-1)))
    assert (result.metrics["ppl_accuracy"].value, result.metrics["ppl_accuracy"].n) == (0.5, 2)
    # Two answers are in two bins: one is too sure, one not sure enough.
    assert result.metrics["ece"].value == pytest.approx((1 - sure + sure) / 2)
    assert result.shown == ("ppl_accuracy", "ece")
    assert "ece" not in score("vqa_choice", CHEF, [unranked]).metrics


def test_options_of_another_record_are_no_confidences() -> None:
    three = [{"option": letter, "mean_logprob": -1.0} for letter in "ABC"]
    target = {"choice": 0, "choices": ["a dog", "a cat"]}
    one = stored("vqa_choice", 0, target, "(A)")
    with pytest.raises(ValueError, match="3 stored options for 2 of the record"):
        score("vqa_choice", CHEF, [Stored(one.sample, one.text, three)])


def test_labels_that_chef_never_counts_are_named() -> None:
    result = scored("classification", [("ankle boot", "ankle boot"), ("dog", "a dog")])
    assert result.metrics["accuracy"].value == 0.5
    assert list(result.faults) == [
        "label 'ankle boot' is no single lower-case word: never counted as said"
    ]


def test_boxes_without_a_sentence_of_chef_are_named() -> None:
    target = [{"label": "dog", "bbox": [0.1, 0.1, 0.5, 0.5]}]
    result = scored("detection", [(target, "dog [0.1, 0.1, 0.5, 0.5]")])
    assert result.metrics["recall@0.5"].value == 0
    # Without a box ChEF divides by a small number.
    assert result.metrics["precision@0.5"].value == 0
    assert result.metrics["plain_recall@0.5"].value == 1
    assert list(result.faults) == ["boxes without one of ChEF's sentences: not counted"]


def test_tasks_as_in_2023_and_tasks_without_a_rule() -> None:
    assert scored("fine_grained_classification", [("river", "a river")]).metrics["accuracy"].n == 1
    for task in ("locating", "caption", "keypoints", "vqa"):
        with pytest.raises(ValueError, match=f"{CHEF} has no rule for task '{task}'"):
            score(task, CHEF, [])


def test_readings() -> None:
    assert cleaned("The two, (dogs)!\n") == "2 dogs"
    assert choice("(C", ["x", "y", "z"]) == 2
    assert choice("It is a y.", ["x", "y", "z"]) == 1
    assert choice("x or y", ["x", "y", "z"]) is None
    said = labelled_boxes("The dog object is at [0.1,0.2, 0.3, 0.4]. A cat [0, 0, 1, 1].")
    assert said == [("dog", [0.1, 0.2, 0.3, 0.4])]
    assert labelled_boxes("The dog object is at [0.9, 0.2, 0.3, 0.4].") == []
