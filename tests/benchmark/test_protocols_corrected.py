"""`corrected-v1`: what each fault of upstream's gave away is no longer given."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from benchmark.protocols import ProtocolScore, Stored, binary_locating, score
from benchmark.protocols.results import Rule, measure, share
from lamm_model.tasks import Sample
from lamm_model.tasks.label_sets import CIFAR10, JOINTS, VOC2012

NEW, JULY = "corrected-v1", "upstream-2023-07"
ROWS = [[10.0 * i, 5.0 * i, i % 2] for i in range(1, 15)]


def stored(task: str, target: Any, text: str, **extra: Any) -> Stored:
    record = {"id": "1", "task": task, "question": "?", "target": target} | extra
    return Stored(Sample.model_validate(record), text)


def run(task: str, *answers: tuple[Any, str], **extra: Any) -> ProtocolScore:
    records = [
        stored(task, target, text, id=str(i), **extra) for i, (target, text) in enumerate(answers)
    ]
    return score(task, NEW, records)


def value(result: ProtocolScore, name: str | None = None) -> float:
    return result.metrics[name or result.primary].value


def test_one_class_an_answer() -> None:
    everything = ", ".join(CIFAR10)
    result = run(
        "classification",
        ("airplane", "a jet"),
        ("cat", "there is no dog, it is a cat"),
        ("frog", everything),
        ("frog", "green"),
        labels=CIFAR10,
    )
    assert value(result) == 0.5
    assert value(result, "balanced_accuracy") == pytest.approx(2 / 3)
    assert (result.chance, result.unparsed, result.n) == (0.1, 0.25, 4)


def test_classes_of_the_task_s_own_set() -> None:
    result = run(
        "fine_grained_classification", ("river", "a driver"), ("golfcourse", "golf course")
    )
    assert value(result) == 0.5
    assert result.chance == pytest.approx(1 / 21)
    free = run("classification_3d", ("office chair", "This is an office chair."))
    assert (value(free), free.chance) == (1.0, None)


def test_smiles_by_balanced_accuracy() -> None:
    answers = [("1", "Yes"), ("1", "Yes"), ("1", "smiling"), ("-1", "She isn't smiling.")]
    assert value(run("facial_smile", *answers)) == 1.0
    silent = run("facial_smile", *[(attr, "A nice hat") for attr, _ in answers])
    assert (value(silent), value(silent, "neither"), silent.chance) == (0.0, 1.0, 0.5)
    always = run("facial_smile", *[(attr, "Yes") for attr, _ in answers])
    assert value(always) == 0.5
    assert value(always, "accuracy") == 0.75
    assert value(always, "f1_smiling") == pytest.approx(6 / 7)


def test_choices_and_open_questions() -> None:
    target = {"choice": 0, "choices": ["red", "dark red", "blue"]}
    result = run(
        "vqa_choice",
        (target, "The answer is A"),
        (target, "The answer is: A"),
        (target, "The answer is B. No, the answer is A."),
        (target | {"choice": 1}, "dark red"),
        (target, "no idea"),
    )
    assert value(result) == 0.8
    assert result.chance == pytest.approx(1 / 3)
    assert "token_f1" not in result.metrics
    opened = run("vqa", (["red", "dark red"], "The answer is dark red."), ("two dogs", "2 cats"))
    assert value(opened) == 0.5
    assert value(opened, "token_f1") == 0.75


def test_corpus_bleu_is_sacrebleu_s() -> None:
    rng = random.Random(0)
    words = ["a", "man", "woman", "rides", "walks", "the", "red", "horse", "dog", "in", "park", "."]
    pairs = [
        (
            [" ".join(rng.choices(words, k=rng.randint(5, 12))) for _ in range(5)],
            " ".join(rng.choices(words, k=rng.randint(4, 14))),
        )
        for _ in range(40)
    ]
    result = run("caption", *pairs)
    references = [[refs[i] for refs, _ in pairs] for i in range(5)]
    expected = BLEU(lowercase=True, smooth_method="none").corpus_score(
        [said for _, said in pairs], references
    )
    assert value(result) == pytest.approx(expected.score)
    metric = result.metrics["bleu4_corpus"]
    assert metric.low < metric.value < metric.high
    assert value(run("caption", (["A man rides a horse."], "zebra"))) == 0.0
    assert value(run("caption", (["A man rides a horse."], "a man rides a horse."))) == (
        pytest.approx(100)
    )


def test_counts_with_both_policies_for_failures() -> None:
    result = run("counting", (25, "There are 25."), (10, "twelve"), (40, "many"), (5, ""))
    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values == {
        "mae_parsed": 1.0,
        "mae_failures_as_zero": (0 + 2 + 40 + 5) / 4,
        "mae_failures_as_mean": (0 + 2 + 20 + 15) / 4,
        "rmse_parsed": pytest.approx(2**0.5),
        "accuracy": 0.25,
        "mae_of_the_mean": (5 + 10 + 20 + 15) / 4,
    }
    assert {name for name, metric in result.metrics.items() if metric.n == 2} == {
        "mae_parsed", "rmse_parsed"
    }  # fmt: skip
    assert result.metrics["accuracy"].n == result.n == 4
    assert result.unparsed == 0.5
    assert "mae_parsed" not in run("counting", (3, "many")).metrics


def test_answers_that_are_easily_misread() -> None:
    """Readings of the tasks' parsers that used to be wrong, and cost or gave points here."""
    counts = run(
        "counting",
        (25, "one can see 25 people"),
        (4, "I am 97.5% sure there are 4."),
        (6, "There are about half a dozen."),
        (0, "There is no one."),
    )
    assert value(counts, "accuracy") == 1.0
    assert run("counting", (97, "97.5%")).unparsed == 1.0
    pets = {"choice": 1, "choices": ["a dog", "a cat", "a rabbit"]}
    options = ("The answer is a cat.", "The best choice I see is (B).", "The answer is **B**.")
    assert value(run("vqa_choice", *[(pets, text) for text in options])) == 1.0
    smiles = run(
        "facial_smile", ("-1", "Is the person smiling? No."), ("1", "The person is smiling: True")
    )
    assert (value(smiles), value(smiles, "neither")) == (1.0, 0.0)
    doubt = run("facial_smile", ("-1", "I don't know if the person is smiling."))
    assert value(doubt, "neither") == 1.0
    classes = run(
        "classification",
        ("ship", "The image does not show a cat; it shows a ship."),
        ("ship", "It isn't a cat or a dog, it's a ship."),
        labels=CIFAR10,
    )
    assert value(classes) == 1.0
    boxes = run("detection", (OBJECTS[:1], "dog [x=0.1, y=0.1, w=0.4, h=0.4]"), labels=VOC2012)
    assert value(boxes) == 1.0
    denied = run("detection", (OBJECTS[:1], f"no dogs {DOG}"), labels=VOC2012)
    assert (value(denied), denied.unparsed) == (0.0, 1.0)


def test_words_are_counted_both_ways() -> None:
    result = run(
        "ocr_words", (["HOTEL", "PARIS"], "hotel, paris"), (["BAR"], "the words: a, b, bar")
    )
    assert value(result, "word_recall") == 1.0
    assert value(result, "word_precision") == pytest.approx(3 / 5)
    assert value(result, "exact") == 0.5
    one = run("ocr", ("LAMP", "LAMB"))
    assert value(one) == 0.0
    assert value(one, "one_minus_ned") == 0.75


DOG, CAT = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
OBJECTS = [{"label": "dog", "bbox": DOG}, {"label": "tvmonitor", "bbox": CAT}]


def test_a_box_belongs_to_its_label_and_spam_costs_precision() -> None:
    swapped = run("detection", (OBJECTS, f"television {DOG}; dog {CAT}"), labels=VOC2012)
    assert value(swapped) == 0.0
    right = run("detection", (OBJECTS, f"TV {CAT}; puppy {DOG}"), labels=VOC2012)
    assert value(right) == 1.0
    assert value(right, "ap_uniform@0.5:0.95") == 1.0
    spam = run("detection", (OBJECTS, "; ".join([f"dog {DOG}"] * 4)), labels=VOC2012)
    assert value(spam, "precision@0.5") == 0.25
    assert value(spam, "recall@0.5") == 0.5
    assert value(spam, "ap_uniform@0.5") == pytest.approx((0.25 + 0.0) / 2)
    assert "confidence" in spam.metrics["ap_uniform@0.5"].note
    free = run("detection", (OBJECTS, f"Tvmonitor {CAT}; Dogs {DOG}"))
    assert value(free) == 1.0


def test_boxes_in_space_with_a_clamped_overlap() -> None:
    target = [{"label": "chair", "bbox": [0, 0, 0, 1, 1, 1]}]
    far = run("detection_3d", (target, "chair [2, 2, 0, 1, 1, 1]"))
    assert value(far, "f1@0.25") == 0.0
    shifted = run("detection_3d", (target, "chair [0.5, 0, 0, 1, 1, 1]"))
    assert (value(shifted, "f1@0.25"), value(shifted, "f1@0.5")) == (1.0, 0.0)


def test_rotated_boxes_overlap_as_they_are_rotated() -> None:
    box = [0, 0, 0, 4, 1, 1, 0.785]
    target = [{"label": "table", "bbox": box}]
    assert value(run("detection_3d", (target, "table [0, 0, 0, 1, 4, 1, -0.786]")), "f1@0.5") == 1.0
    for wrong in ("table [0, 0, 0, 4, 1, 1, -0.785]", "table [0, 0, 0, 4, 1, 1]"):
        assert value(run("detection_3d", (target, wrong)), "f1@0.25") == 0.0
    found = run("grounding_3d", (box, "[0, 0, 0, 4, 1, 1, 0.785]"))
    assert value(found, "accuracy@0.5") == 1.0
    assert value(run("grounding_3d", (box, "[0, 0, 0, 4, 1, 1]")), "accuracy@0.25") == 0.0


def test_grounding_splits_unique_from_multiple() -> None:
    box = [0, 0, 0, 1, 1, 1]
    result = run(
        "grounding_3d",
        ({"bbox": box, "unique": True}, "[0, 0, 0, 1, 1, 1]"),
        ({"bbox": box, "unique": False}, "[2, 2, 0, 1, 1, 1]"),
        (box, "0, 0, 0, 1, 1, 1"),
    )
    assert value(result) == pytest.approx(2 / 3)
    assert value(result, "accuracy@0.5_unique") == 1.0
    assert (result.metrics["accuracy@0.5_unique"].n, result.metrics["accuracy@0.5"].n) == (1, 3)
    assert value(result, "accuracy@0.25_multiple") == 0.0
    assert "accuracy@0.5_unique" not in run("grounding_3d", (box, "?")).metrics


def test_keypoints_count() -> None:
    # Shoulder to opposite hip: (90, 45) to (40, 20), and (100, 50) to (30, 15): 78 pixels.
    records = [
        stored(
            "keypoints",
            {"joint": joint, "joints": ROWS},
            f"[{row[0] / 200:.3f}, {row[1] / 100:.3f}]" if index % 2 else "[0.99, 0.01]",
            id=joint,
            image="a.png",
            size=(200, 100),
        )
        for index, (joint, row) in enumerate(zip(JOINTS, ROWS, strict=True))
    ]
    result = score("keypoints", NEW, records)
    assert value(result) == 0.5
    assert value(result, "pck@0.1_image") == 0.5
    assert value(result, "pck@0.2_torso_mean_joint") == 0.5
    assert value(result, "pck@0.2_torso_flag_0") == 1.0
    assert value(result, "pck@0.2_torso_flag_1") == 0.0
    # One picture: there is nothing to draw, and the interval says so.
    assert (result.metrics["pck@0.1_image"].low, result.metrics["pck@0.1_image"].high) == (0.5, 0.5)
    grid = " ".join(f"[{x / 10}, {y / 10}]" for x in range(11) for y in range(11))
    spam = [
        stored("keypoints", r.sample.target, grid, id=r.sample.id, size=(200, 100)) for r in records
    ]
    assert value(score("keypoints", NEW, spam)) < 0.2
    assert value(score("keypoints", "upstream-intended", spam)) == 1.0


GRID = " ".join(f"[{x / 20}, {y / 20}]" for x in range(21) for y in range(21))


def sets(text: str | None = None) -> dict[str, list[Stored]]:
    """One picture a set; `text` answers all, else each is answered rightly."""
    return {
        "VOC2012": [
            stored(
                "locating", {"objects": OBJECTS[:1]},
                f"dog {text}" if text else "a puppy [0.3, 0.3]", labels=VOC2012,
            )
        ],
        "LSP": [stored("locating", {"joints": ROWS}, text or "[0.3, 0.3]", size=(200, 100))],
        "FSC147": [
            stored(
                "locating", {"points": [[20, 20], [180, 80]]}, text or "[0.1, 0.2] [0.9, 0.8]",
                size=(200, 100),
            )
        ],
    }  # fmt: skip


def test_binary_locating_pools_two_or_three_sets() -> None:
    right = binary_locating(NEW, sets())
    assert {form: (value(s), s.n) for form, s in right.items()} == {
        "2-set": (1.0, 2),
        "3-set": (1.0, 3),
    }
    july = binary_locating(JULY, sets())
    # "puppy" is no form of "dog" to upstream: LSP's one of two, then one and two points of four.
    assert (value(july["2-set"]), value(july["3-set"])) == (0.5, 0.75)
    assert value(july["2-set"], "macro_accuracy") == 0.5
    assert value(july["3-set"], "macro_accuracy") == pytest.approx(2 / 3)
    assert list(binary_locating(JULY, {k: v for k, v in sets().items() if k != "FSC147"})) == [
        "2-set"
    ]
    with pytest.raises(ValueError, match="LSP missing"):
        binary_locating(JULY, {"VOC2012": []})


def test_a_grid_of_points_wins_upstream_and_nothing_here() -> None:
    july = binary_locating(JULY, sets(GRID))["3-set"]
    assert value(july) == 1.0
    new = binary_locating(NEW, sets(GRID))["3-set"]
    assert value(new, "recall") == 1.0
    assert value(new) == 0.0
    assert value(new, "f1") < 0.01


def test_upstream_leaves_full_pictures_out() -> None:
    many = {"points": [[10 * i, 5 * i] for i in range(10)]}
    result = score("locating", JULY, [stored("locating", many, GRID, size=(200, 100))])
    assert result.metrics == {}
    few = {"points": many["points"][:9]}
    result = score("locating", JULY, [stored("locating", few, GRID, size=(200, 100))])
    assert value(result) == 1.0


def test_intervals_are_seeded_and_draw_clusters() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random(400) < 0.3
    answers = [({"choice": 0, "choices": ["a", "b"]}, "(A)" if hit else "(B)") for hit in hits]
    first, again = run("vqa_choice", *answers), run("vqa_choice", *answers)
    assert first == again
    metric = first.metrics["accuracy"]
    spread = (metric.value * (1 - metric.value) / 400) ** 0.5
    assert metric.high - metric.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    grouped = run("vqa_choice", *answers[:40], image="one.png")
    assert grouped.metrics["accuracy"].low == grouped.metrics["accuracy"].high
    assert measure([], [Rule("x", share("a"))]) == {}
