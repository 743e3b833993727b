"""Upstream's scorers, reproduced: each known fault shows, and its repair removes it.

Values marked "as run" were given by upstream's own code.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmark.protocols import ProtocolScore, Stored, score
from benchmark.protocols.upstream_text import (
    boxes,
    count,
    iou_3d,
    is_in_table,
    mentions,
    numbers,
    quoted_or_all,
    sentence_bleu,
    words_of,
)
from lamm_model.tasks import Sample
from lamm_model.tasks.label_sets import CIFAR10, HAIR_COLOURS, SCANNET, VOC2012

JULY, JUNE, INTENDED = "upstream-2023-07", "upstream-2023-06", "upstream-intended"
JOINTS = [[10.0 * i, 5.0 * i, i % 2] for i in range(1, 15)]


def stored(task: str, target: Any, text: str, **extra: Any) -> Stored:
    record = {"id": "1", "task": task, "question": "?", "target": target} | extra
    return Stored(Sample.model_validate(record), text)


def value(protocol: str, task: str, target: Any, text: str, **extra: Any) -> float:
    result = score(task, protocol, [stored(task, target, text, **extra)])
    return result.metrics[result.primary].value


def cube(*centre: float) -> list[float]:
    return [*centre, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("gap", "as_run"), [(0.82, 0.51), (0.9, 0.68), (1.0, 1.0)])
def test_boxes_apart_on_two_axes_overlap(gap: float, as_run: float) -> None:
    first, second = cube(0, 0, 0), cube(1 + gap, 1 + gap, 0)
    assert round(iou_3d(first, second), 2) == as_run
    assert iou_3d(first, second, clamped=True) == 0.0
    assert iou_3d(first, cube(0, 0, 0)) == 1.0


def test_two_empty_boxes_stop_upstream() -> None:
    with pytest.raises(ZeroDivisionError):
        iou_3d([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0])
    result = score("grounding_3d", JULY, [stored("grounding_3d", [0] * 6, "[0, 0, 0, 0, 0, 0]")])
    assert result.metrics["accuracy@0.5"].value == 0.0
    assert list(result.faults) == ["upstream fails: division by zero for two empty boxes"]


@pytest.mark.parametrize("label", ["diningtable", "pottedplant", "tvmonitor", "shower curtain"])
def test_some_labels_can_never_be_found(label: str) -> None:
    assert not mentions(label, f"a {label}")
    assert mentions(label, f"a {label}", repaired=True)


@pytest.mark.parametrize(
    ("label", "text", "found"),
    [
        ("dog", "Two dogs.", True),
        ("dog", "there is no dog, it is a cat", True),
        ("cat", "there is no dog, it is a cat", True),
        ("dog", "a puppy", False),
        ("person", "a man and a woman", False),
        ("person", "somebody", True),
        ("motorbike", "a motorcycle", False),
        ("bus", "a coach", True),
        ("toilet", "you can see it", False),
        ("toilet", "two cans", True),
        ("car", "the car's door", True),
        ("car", "a car/truck", False),
    ],
)
def test_a_mention_is_any_form_of_the_first_sense(label: str, text: str, found: bool) -> None:
    assert mentions(label, text) is found


def test_the_table_knows_the_benchmark_s_classes() -> None:
    known = [*CIFAR10, *VOC2012, *SCANNET, *HAIR_COLOURS]
    assert [label for label in known if not is_in_table(label)] == []
    assert not is_in_table("zebra")


def test_naming_every_class_scores_full_marks() -> None:
    everything = "airplane automobile bird cat deer dog frog horse ship truck"
    assert value(JULY, "classification", "frog", everything) == 1.0


def test_words_are_parted_as_the_treebank_does() -> None:
    assert words_of("She isn't. I cannot!") == ["she", "is", "n't", ".", "i", "can", "not", "!"]
    assert words_of("dog.cat, (no) 1,000") == ["dog.cat", ",", "(", "no", ")", "1,000"]


def test_numbers_are_pooled_and_one_stray_spoils_the_rest() -> None:
    assert numbers("(0.5 0.6) [0.1, 0.2]", 2) == [[0.1, 0.2], [0.5, 0.6]]
    assert numbers("[0.1, 0.2, 0.3] [0.4, 0.5, 0.6, 0.7]", 4) == [[0.1, 0.2, 0.3, 0.4]]
    # A named number stays in front of every later one; the bare digits are then taken: "1", "0.1".
    assert numbers("[x1=0.1, 0.2, 0.3, 0.4]", 4) == [[1.0, 0.1, 0.2, 0.3]]
    assert numbers("at -1.5, -2, 0.5, 1, 1, 1e-1", 6) == [[1.5, 2.0, 0.5, 1.0, 1.0, 1.0]]
    assert boxes("[0.5, 0.6, 0.1, 0.2]") == [[0.1, 0.2, 0.5, 0.6]]
    assert boxes("[0.5, 0.1, 0.1, 0.6]") == []


@pytest.mark.parametrize(
    ("text", "as_run", "repaired"),
    [
        ("There are 25.", None, 25),
        ("25,", None, 25),
        ("(25)", None, 25),
        ("twenty-five", None, None),
        ("no doubt 25", 0, 0),
        ("one can see 25", 1, 1),
        ("25 apples", 25, 25),
    ],
)
def test_counts_are_bare_words(text: str, as_run: int | None, repaired: int | None) -> None:
    assert (count(text), count(text, repaired=True)) == (as_run, repaired)


def test_a_run_of_digits_that_no_float_holds_is_no_count() -> None:
    sample = Sample(id="n", task="counting", question="How many?", target=3)
    endless = [Stored(sample, f"{'1' * digits} cats") for digits in (400, 5000)]
    for one in endless:
        assert score("counting", "upstream-2023-07", [one]).metrics["mae"].value == 3


def test_silence_costs_no_more_than_the_count() -> None:
    assert value(JULY, "counting", 25, "There are 25.") == 25.0
    assert value(INTENDED, "counting", 25, "There are 25.") == 0.0
    result = score(
        "counting",
        JULY,
        [stored("counting", 4, "6", id="a"), stored("counting", 50, "40", id="b")],
    )
    assert {n: m.value for n, m in result.metrics.items()} == {"mae": 6.0, "mae_below_10": 2.0}


CHOICES = {"choice": 0, "choices": ["red", "dark red", "blue", "green", "grey"]}


@pytest.mark.parametrize(
    ("text", "july", "intended"),
    [
        ("The answer is A.", 1.0, 1.0),
        ("The answer is A", 0.0, 1.0),
        ("The answer is: A", 0.0, 0.0),
        ("The Answer is A.", 0.0, 0.0),
        ("The answer is B. No, the answer is A.", 0.0, 0.0),
        ("ANSWER: A", 1.0, 1.0),
        ("(A)", 1.0, 1.0),
        ("(A) red (B) dark red", 0.0, 0.0),
        ("red", 1.0, 1.0),
        ("dark red", 0.0, 0.0),
    ],
)
def test_choices(text: str, july: float, intended: float) -> None:
    assert value(JULY, "vqa_choice", CHOICES, text) == july
    assert value(INTENDED, "vqa_choice", CHOICES, text) == intended


def test_options_that_contain_each_other_cannot_be_right_by_text() -> None:
    assert value(JULY, "vqa_choice", CHOICES | {"choice": 1}, "dark red") == 0.0


def test_the_sixth_option_is_for_clouds_alone() -> None:
    six = {"choice": 5, "choices": [str(n) for n in range(6)]}
    assert value(JULY, "vqa_choice_3d", six, "(F)", pcl="a.npy") == 1.0
    result = score("vqa_choice", JULY, [stored("vqa_choice", six, "(F)", image="a.png")])
    assert result.faults == {"upstream fails: no option after E": 1}


def test_sentence_bleu_is_unsmoothed_and_case_counts() -> None:
    reference = ["a", "man", "in", "a", "red", "shirt", "rides", "a", "horse"]
    assert sentence_bleu([reference], reference) == 1.0
    assert sentence_bleu([reference], ["a", "dog"]) < 1e-70
    assert sentence_bleu([reference], ["zebra"]) == 0.0
    said = ["A", *reference[1:]]
    precisions = [8 / 9, 7 / 8, 6 / 7, 5 / 6]
    expected = math.prod(precisions) ** 0.25
    assert sentence_bleu([reference], said) == pytest.approx(expected)
    assert round(expected, 2) == 0.86
    # Shorter than the closest reference: exp(1 - 4/2) for two words of four.
    assert sentence_bleu([["a", "b", "c", "d"]], ["a", "b"]) < 1e-30


def test_captions_take_the_best_sentence_and_quotes_alone() -> None:
    target = ["A man rides a horse."]
    assert value(JULY, "caption", target, "Nice. A man rides a horse. Sun.") == pytest.approx(100)
    assert value(JULY, "caption", target, 'A man rides a horse "fast"') == 0.0
    assert value(JULY, "caption", target, "a man rides a horse") < 90
    assert value(INTENDED, "caption", target, "a man rides a horse") == pytest.approx(100)
    assert quoted_or_all('a "b" c "d"') == "b d"


def test_words_with_punctuation_are_not_read() -> None:
    assert value(JULY, "ocr_words", ["HOTEL", "PARIS"], "hotel, paris") == 0.5
    assert value(INTENDED, "ocr_words", ["HOTEL", "PARIS"], "hotel, paris") == 1.0
    assert value(JULY, "ocr_words", ["HOTEL"], "a b c d e hotel f g") == 1.0


def test_a_substring_is_a_class() -> None:
    assert value(JULY, "fine_grained_classification", "river", "a driver") == 1.0
    assert value(JULY, "fine_grained_classification", "river", "A River") == 0.0
    assert value(INTENDED, "fine_grained_classification", "river", "A River") == 1.0


@pytest.mark.parametrize(
    ("text", "attr", "july", "intended"),
    [
        ("She isn't smiling.", "-1", 0.0, 1.0),
        ("No.", "-1", 1.0, 1.0),
        ("", "1", 1.0, 1.0),
        ("A nice hat", "1", 1.0, 1.0),
        ("I cannot tell", "-1", 1.0, 1.0),
    ],
)
def test_smiles(text: str, attr: str, july: float, intended: float) -> None:
    assert value(JULY, "facial_smile", attr, text) == july
    assert value(INTENDED, "facial_smile", attr, text) == intended


def test_a_list_of_colours_wins() -> None:
    assert value(JULY, "facial_hair", "gray", "black, blond, brown or gray") == 1.0


def test_keypoints_always_score_nothing() -> None:
    target = {"joint": "right ankle", "joints": JOINTS}
    right = "[0.05, 0.05]"
    assert value(JULY, "keypoints", target, right, size=(200, 100)) == 0.0
    assert value(JUNE, "keypoints", target, right, size=(200, 100)) == 0.0
    assert value(INTENDED, "keypoints", target, right, size=(200, 100)) == 1.0
    assert value(INTENDED, "keypoints", target, "[0.2, 0.2]", size=(200, 100)) == 0.0


OBJECTS = [
    {"label": "dog", "bbox": [0.1, 0.1, 0.5, 0.5]},
    {"label": "cat", "bbox": [0.1, 0.1, 0.5, 0.5]},
    {"label": "tvmonitor", "bbox": [0.6, 0.6, 0.9, 0.9]},
]


def test_one_box_without_its_label_satisfies_two_objects() -> None:
    text = "A cat sleeps. Something is at [0.1, 0.1, 0.5, 0.5], a dog; tvmonitor (0.6,0.6,0.9,0.9)"
    assert value(JULY, "detection", OBJECTS, text) == pytest.approx(2 / 3)
    assert value(INTENDED, "detection", OBJECTS, text) == 1.0


def test_3d_detection_counts_a_box_far_away() -> None:
    target = [{"label": "chair", "bbox": cube(0, 0, 0)}]
    assert value(JULY, "detection_3d", target, "chair [2, 2, 0, 1, 1, 1]") == 1.0
    assert value(INTENDED, "detection_3d", target, "chair [2, 2, 0, 1, 1, 1]") == 0.0


def test_grounding_takes_the_first_box_and_loses_minus_signs_without_brackets() -> None:
    target = cube(-2, 1, 0)
    assert value(JULY, "grounding_3d", target, "[-2, 1, 0, 1, 1, 1] [9, 9, 9, 1, 1, 1]") == 1.0
    assert value(JULY, "grounding_3d", target, "-2, 1, 0, 1, 1, 1") == 0.0


def test_grounding_has_a_second_threshold_since_july() -> None:
    # Half a metre apart: IoU 1/3.
    near = [stored("grounding_3d", [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "[0.5, 0, 0, 1, 1, 1]")]
    far = [stored("grounding_3d", [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "[0.7, 0, 0, 1, 1, 1]")]
    for protocol in (JULY, "upstream-intended"):
        metrics = score("grounding_3d", protocol, near).metrics
        assert (metrics["accuracy@0.5"].value, metrics["accuracy@0.25"].value) == (0.0, 1.0)
        assert score("grounding_3d", protocol, far).metrics["accuracy@0.25"].value == 0.0
    assert list(score("grounding_3d", "upstream-2023-06", near).metrics) == ["accuracy@0.5"]


def test_upstream_knows_no_yaw_and_says_so() -> None:
    turned = [0, 0, 0, 4, 1, 1, 1.57]
    result = score("grounding_3d", INTENDED, [stored("grounding_3d", turned, "[0, 0, 0, 4, 1, 1]")])
    assert result.metrics["accuracy@0.5"].value == 1.0
    assert list(result.faults) == ["upstream knows no yaw: targets count as unrotated"]
    target = [{"label": "chair", "bbox": [0, 0, 0, 1, 1, 1]}]
    text = "bed [5, 5, 5, 1, 1, 1, 0.50]; chair [0, 0, 0, 1, 1, 1]"
    result = score("detection_3d", INTENDED, [stored("detection_3d", target, text)])
    assert result.metrics["recall@0.5"].value == 0.0
    assert list(result.faults) == [
        "upstream cuts an answer into sixes: boxes after a yaw are shifted"
    ]


def test_labels_outside_the_table_are_named() -> None:
    result = score("classification", JULY, [stored("classification", "zebra", "two zebras")])
    assert result.metrics["accuracy"].value == 1.0
    assert result.faults == {"word forms of 'zebra' are approximated": 1}


def test_june_is_july_but_for_locating() -> None:
    answers = [stored("vqa_choice", CHOICES, "The answer is A", id=str(i)) for i in range(3)]
    july, june = (score("vqa_choice", p, answers) for p in (JULY, JUNE))
    assert isinstance(july, ProtocolScore)
    assert july.metrics == june.metrics
    assert (july.n, july.unparsed, july.chance) == (3, 0.0, pytest.approx(0.2))


def test_what_no_protocol_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule for task 'vqa'"):
        score("vqa", JULY, [])
    with pytest.raises(ValueError, match="'upstream-2024'"):
        score("counting", "upstream-2024", [])
    twice = [stored("counting", 1, "1"), stored("counting", 1, "1")]
    with pytest.raises(ValueError, match="1 duplicate ids, the first is '1'"):
        score("counting", JULY, twice)
    with pytest.raises(ValueError, match="records of task counting among those of ocr"):
        score("ocr", JULY, twice[:1])
