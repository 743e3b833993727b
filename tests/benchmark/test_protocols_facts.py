"""The protocols against recorded answers of upstream's own functions and of pycocotools.

`upstream_facts.py` made the records.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmark.protocols import Stored, score
from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.label_sets import CIFAR10, VOC2012

FACTS = Path(__file__).with_name("facts")
JULY, NEW = "upstream-2023-07", "corrected-v1"
STOPS = "upstream stops: a count in superscript or circled digits"


def facts(name: str) -> list[Any]:
    rows: list[Any] = json.loads((FACTS / f"{name}.json").read_text(encoding="utf8"))
    return rows


def one(task: str, target: Any, text: str, **extra: Any) -> Stored:
    return Stored(Sample(id="1", task=task, question="?", target=target, **extra), text)


def test_equal_options_score_as_upstream_scores_them() -> None:
    rows = facts("choices")
    for options, choice, text, upstream in rows:
        answer = one("vqa_choice", {"choice": choice, "choices": options}, text)
        assert score("vqa_choice", JULY, [answer]).metrics["accuracy"].value == upstream, text
    assert {row[3] for row in rows} == {0.0, 1.0}
    assert sum(len(set(row[0])) < len(row[0]) for row in rows) == 300


@pytest.mark.parametrize(
    ("text", "july", "corrected"),
    [
        ("The answer is (A).", 0.0, 1.0),
        ("The answer is (C).", 1.0, 1.0),
        ("The answer is (B).", 0.0, 0.0),
        ("a cat", 0.0, 1.0),
        ("It is a cat.", 0.0, 1.0),
        ("a dog", 0.0, 0.0),
    ],
)
def test_an_answer_that_names_an_equal_text_is_right(
    text: str, july: float, corrected: float
) -> None:
    target = {"choice": 2, "choices": ["a cat", "a dog", "a cat"]}
    for task in ("vqa_choice", "vqa_choice_3d"):
        answer = one(task, target, text)
        assert score(task, JULY, [answer]).metrics["accuracy"].value == july
        result = score(task, NEW, [answer])
        assert result.metrics["accuracy"].value == corrected
        assert result.chance == pytest.approx(2 / 3)
        inputs, right = TASKS[task].read_sample(answer.sample)
        assert TASKS[task].is_hit(TASKS[task].parse(text, inputs).answer, right) is bool(corrected)


def test_a_request_still_has_distinct_options() -> None:
    with pytest.raises(ValueError, match="two of the 2 choices are equal"):
        TASKS["vqa_choice"].inputs_model(question="?", choices=("a", "a"))


def test_counts_and_where_upstream_stops() -> None:
    rows = facts("counts")
    for text, upstream in rows:
        result = score("counting", JULY, [one("counting", 100, text)])
        said = 0 if upstream in (None, "stops") else upstream
        assert result.metrics["mae"].value == 100 - said, text
        assert dict(result.faults) == ({STOPS: 1} if upstream == "stops" else {}), text
    assert sum(row[1] == "stops" for row in rows) == 5
    intended = score("counting", "upstream-intended", [one("counting", 25, "\u00b2 of 25")])
    assert (intended.metrics["mae"].value, dict(intended.faults)) == (0.0, {})


def test_captions_with_quotation_marks_score_as_with_nltk() -> None:
    rows = facts("captions")
    assert sum('"' in row[1] for row in rows) > 150
    for references, text, upstream in rows:
        result = score("caption", JULY, [one("caption", references, text)])
        got = result.metrics["bleu4_sentence"].value
        assert got == pytest.approx(upstream, rel=1e-6, abs=1e-9), text


@pytest.mark.parametrize("number", range(4))
def test_ap_is_that_of_pycocotools(number: int) -> None:
    case = facts("coco")[number]
    stored = []
    for image, (there, said) in enumerate(case["pictures"]):
        names = VOC2012[:4]
        objects = [{"label": names[label], "bbox": box} for label, box in there]
        text = "; ".join(f"{names[label]} {box}" for label, box, _ in said) or "Nothing."
        sample = Sample(
            id=str(image), task="detection", question="?", target=objects, labels=VOC2012,
            image=f"{image}.png",
        )  # fmt: skip
        scores = {f"objects[{k}].box": score for k, (_, _, score) in enumerate(said)}
        parsed = TASKS["detection"].parse(text, TASKS["detection"].read_sample(sample)[0])
        assert len(parsed.answer.objects if parsed.answer else ()) == len(said)
        stored.append(Stored(sample, text, scores=scores))
    result = score("detection", NEW, stored)
    metrics = result.metrics
    assert metrics["ap@0.5"].value == pytest.approx(case["ap_50"], abs=1e-9)
    assert metrics["ap@0.5:0.95"].value == pytest.approx(case["ap"], abs=1e-9)
    assert metrics["ap@0.5"].low < metrics["ap@0.5"].value < metrics["ap@0.5"].high
    assert not [name for name in metrics if name.startswith("ap_uniform")]
    assert not result.faults


def test_ap_needs_a_confidence_for_every_box() -> None:
    box, text = [0.1, 0.1, 0.5, 0.5], "dog [0.1, 0.1, 0.5, 0.5]"
    target = [{"label": "dog", "bbox": box}]
    bare = one("detection", target, text)
    with_score = Stored(
        bare.sample.model_copy(update={"id": "2"}), text, scores={"objects[0].box": 0.9}
    )
    mixed = score("detection", NEW, [bare, with_score])
    assert "ap_uniform@0.5" in mixed.metrics
    assert "ap@0.5" not in mixed.metrics
    assert dict(mixed.faults) == {"a box without a confidence in a run that has some": 1}
    none = score("detection", NEW, [bare])
    assert dict(none.faults) == {}
    assert "not AP" in none.metrics["ap_uniform@0.5"].note


def test_ap_in_space() -> None:
    target = [{"label": "chair", "bbox": [0, 0, 0, 1, 1, 1]}]
    stored = Stored(
        Sample(id="1", task="detection_3d", question="?", target=target),
        "chair [5, 5, 0, 1, 1, 1]; chair [0.3, 0, 0, 1, 1, 1]",
        scores={"objects[0].box": 0.4, "objects[1].box": 0.8},
    )
    metrics = score("detection_3d", NEW, [stored]).metrics
    assert metrics["ap@0.5"].value == 1.0
    assert {name for name in metrics if name.startswith("ap")} == {"ap@0.5", "ap@0.25"}


def test_ap_in_space_of_a_small_case() -> None:
    """Two chairs and a table in two clouds, by hand.

    Chairs by confidence at IoU 0.25: right, wrong, right, so (51 levels x 1 + 50 x 2/3) / 101. The
    third overlaps its chair by 1/3, so at 0.5 it is wrong, which leaves 51 levels. The table's AP
    is 1.
    """
    first = [{"label": "chair", "bbox": [0, 0, 0, 1, 1, 1]},
             {"label": "table", "bbox": [4, 0, 0, 2, 2, 2]}]  # fmt: skip
    second = [{"label": "chair", "bbox": [0, 0, 0, 1, 1, 1]}]
    clouds = [
        (first, "chair [7, 7, 0, 1, 1, 1]; chair [0, 0, 0, 1, 1, 1]; table [4, 0, 0, 2, 2, 2]",
         [0.8, 0.9, 0.2]),
        (second, "chair [0.5, 0, 0, 1, 1, 1]", [0.7]),
    ]  # fmt: skip
    stored = [
        Stored(
            Sample(id=str(k), task="detection_3d", question="?", target=target, pcl=f"{k}.npy"),
            text,
            scores={f"objects[{i}].bbox": one for i, one in enumerate(scores)},
        )
        for k, (target, text, scores) in enumerate(clouds)
    ]
    metrics = score("detection_3d", NEW, stored).metrics
    chairs = {"ap@0.25": (51 + 50 * 2 / 3) / 101, "ap@0.5": 51 / 101}
    for name, value in chairs.items():
        assert metrics[name].value == pytest.approx((value + 1) / 2, abs=1e-9)


EXACT = ("24/7", "A & B", "H&M", "7-ELEVEN", "St. John's", "50%", "R2-D2", "No. 5", "the", "&")


@pytest.mark.parametrize("word", EXACT)
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_a_copy_of_the_target_has_full_marks(word: str, change: Any) -> None:
    for task, target in (("ocr", word), ("ocr_words", word.split())):
        answer = one(task, target, f" {change(word)}\n")
        metrics = score(task, NEW, [answer]).metrics
        assert {n: metrics[n].value for n in ("word_f1", "exact", "one_minus_ned")} == {
            "word_f1": 1.0, "exact": 1.0, "one_minus_ned": 1.0,
        }  # fmt: skip
        inputs, right = TASKS[task].read_sample(answer.sample)
        result = TASKS[task].parse_scored(answer.text, inputs, right)
        assert TASKS[task].is_hit(result.answer, right)
    wrong = one("ocr", word, "LAMP")
    assert score("ocr", NEW, [wrong]).metrics["word_f1"].value == 0.0


SENTENCES = (
    "{a}", "This is a {a}.", "It's not a {b}, it's a {a}.", "A {a}, I think.", "I see {a}s.",
    "There is no {b} but a {a}", "either a {a} or a {b}", "The photo shows the {a}; no {b}.",
    "a {a}, a {b} and a {c}", "neither a {a} nor a {b}", "{a} ({b}?)", "Not {b}. {a}!", "a {syn}",
    "This {syn} is not a {b}", "The {syn}s, not the {b}",
)  # fmt: skip
SYNONYMS = ("jet", "plane", "puppy", "kitten", "lorry", "vessel", "taxi", "toad", "pony", "moose")


def test_the_scorer_reads_classes_as_the_task_does() -> None:
    rng = random.Random(2)
    task, disagreeing = TASKS["classification"], []
    for _ in range(2400):
        a, b, c = rng.sample(CIFAR10, 3)
        sentence = rng.choice(SENTENCES)
        text = sentence.format(a=a, b=b, c=c, syn=rng.choice(SYNONYMS))
        answer = one("classification", a, text, labels=CIFAR10)
        inputs, right = task.read_sample(answer.sample)
        read = task.parse(text, inputs)
        result = score("classification", NEW, [answer])
        hit = result.metrics["accuracy"].value == 1.0
        same = hit == task.is_hit(read.answer, right)
        if "{a}" in sentence:
            same = same and hit == (not sentence.startswith("neither"))
        if not same or result.items[0].status is not read.status:
            disagreeing.append(text)
    assert disagreeing == []
    inputs, _ = task.read_sample(one("classification", "dog", "", labels=CIFAR10).sample)
    puppy = task.parse("a puppy", inputs).answer
    assert puppy is not None
    assert puppy.label == "dog"
