"""Parsers on the sentences that models really write."""

from __future__ import annotations

import pytest

from lamm_model.tasks import TASKS, ParseStatus
from lamm_model.tasks.classification import ClassificationInputs
from lamm_model.tasks.detection import DetectionAnswer, DetectionInputs
from lamm_model.tasks.reading.numerals import integers
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.vqa_choice import ChoiceInputs

FASHION = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@pytest.mark.parametrize(
    ("text", "label", "status"),
    [
        ("This is a pair of ankle boots.", "ankle boot", "ok"),
        ("It shows a T-shirt.", "T-shirt/top", "ok"),
        ("A tee-shirt", "T-shirt/top", "ok"),
        ("top", "T-shirt/top", "ok"),
        ("A shirt.", "shirt", "ok"),
        ("DRESSES", "dress", "ok"),
        ("This is not a coat, it is a pullover.", "pullover", "ok"),
        ("It isn't really a bag. It's a sandal.", "sandal", "ok"),
        ("A shirt rather than a coat", "shirt", "ok"),
        ("Either a coat or a pullover.", "coat", "partial"),
        ("I cannot tell.", None, "unparsed"),
        ("This is not a coat.", None, "unparsed"),
        ("", None, "unparsed"),
        ("coatrack", None, "unparsed"),
    ],
)
def test_closed_set_classification(text: str, label: str | None, status: str) -> None:
    result = TASKS["classification"].parse(text, ClassificationInputs(labels=FASHION))
    assert (result.answer and result.answer.label, result.status) == (label, status)


@pytest.mark.parametrize(
    ("text", "label", "status"),
    [
        ("This is a pair of ankle boots.", "ankle boots", "ok"),
        ("The object is an office chair.", "office chair", "ok"),
        ("A bookshelf", "bookshelf", "ok"),
        (
            "Well one might perhaps say it has legs",
            "Well one might perhaps say it has legs",
            "partial",
        ),
        ("...", None, "unparsed"),
    ],
)
def test_free_classification(text: str, label: str | None, status: str) -> None:
    result = TASKS["classification_3d"].parse(text, ClassificationInputs())
    assert (result.answer and result.answer.label, result.status) == (label, status)


@pytest.mark.parametrize(
    ("text", "count", "status"),
    [
        ("25.", 25, "ok"),
        ("(25)", 25, "ok"),
        ("There are three items", 3, "ok"),
        ("There are three (3) items.", 3, "ok"),
        ("Twenty-one", 21, "ok"),
        ("one hundred and five people", 105, "ok"),
        ("1,204 seeds", 1204, "ok"),
        ("There is a single bag.", 1, "ok"),
        ("There are no items.", 0, "ok"),
        ("None", 0, "ok"),
        ("One coat and two bags, three in total.", 3, "ok"),
        ("There are 3 items: 1 coat and 2 bags.", 3, "ok"),
        ("One coat and two bags: three.", 3, "ok"),
        ("A total of 6 things, 4 of them shoes and 1 a bag", 6, "ok"),
        ("3 or 4", 3, "partial"),
        ("Many.", None, "unparsed"),
        ("-3", None, "unparsed"),
        ("about 2.5", None, "unparsed"),
        ("10000000000", None, "unparsed"),
    ],
)
def test_counting(text: str, count: int | None, status: str) -> None:
    task = TASKS["counting"]
    result = task.parse(text, task.inputs_model())
    assert (result.answer and result.answer.count, result.status) == (count, status)


CHOICES = ("coat", "red", "dark red", "yes")


@pytest.mark.parametrize(
    ("text", "choice", "status"),
    [
        ("The answer is (B).", 1, "ok"),
        ("The answer is A", 0, "ok"),
        ("The Answer is:  c", 2, "ok"),
        ("the answer is: D", 3, "ok"),
        ("The answer is (A). No, the answer is (C).", 2, "ok"),
        ("B", 1, "ok"),
        ("b", 1, "ok"),
        ("B.", 1, "ok"),
        ("(A) coat", 0, "ok"),
        ("C) dark red", 2, "ok"),
        ("Option D", 3, "ok"),
        ("It is (B), not (A).", 1, "ok"),
        ("A coat.", 0, "ok"),
        ("It is dark red.", 2, "ok"),
        ("It is red", 1, "ok"),
        ("Yes, it is.", 3, "ok"),
        ("(A) coat (B) red", 0, "partial"),
        ("(F)", None, "unparsed"),
        ("I do not know", None, "unparsed"),
    ],
)
def test_choice(text: str, choice: int | None, status: str) -> None:
    inputs = ChoiceInputs(question="Which?", choices=CHOICES)
    result = TASKS["vqa_choice"].parse(text, inputs)
    assert (None if result.answer is None else result.answer.choice, result.status) == (
        choice,
        status,
    )


def test_a_number_as_option_is_found_in_words() -> None:
    inputs = ChoiceInputs(question="How many legs?", choices=("2", "3", "4"))
    assert TASKS["vqa_choice_3d"].parse("It has four legs.", inputs).answer.choice == 2


@pytest.mark.parametrize(
    ("text", "word", "status"),
    [
        ('It says "LAMP".', "LAMP", "ok"),
        ("It says 'lamp'.", "lamp", "ok"),
        ("It says \u201cLAMP\u201d.", "LAMP", "ok"),
        ("LAMP.", "LAMP", "ok"),
        ("lamp", "lamp", "ok"),
        ("The word is LAMP.", "LAMP", "ok"),
        ("The text reads: lamp", "lamp", "ok"),
        ("The picture says lamp in white letters.", "lamp", "ok"),
        ("L-A-M-P", "LAMP", "ok"),
        ("In the middle stands LAMP in white.", "LAMP", "ok"),
        ("some letters like lamp", "lamp", "partial"),
        ("I cannot read any text here.", None, "unparsed"),
        ("", None, "unparsed"),
    ],
)
def test_ocr(text: str, word: str | None, status: str) -> None:
    task = TASKS["ocr"]
    result = task.parse(text, task.inputs_model())
    assert (result.answer and result.answer.text, result.status) == (word, status)


def found(
    text: str, labels: tuple[str, ...] | None = FASHION
) -> tuple[list[tuple[str, list[float]]] | None, str]:
    result = TASKS["detection"].parse(text, DetectionInputs(labels=labels))
    answer: DetectionAnswer | None = result.answer
    places = None if answer is None else [(o.label, list(o.bbox)) for o in answer.objects]
    return places, result.status


BOX = [0.1, 0.2, 0.45, 0.6]
SECOND = [0.5, 0.55, 0.9, 0.8]


@pytest.mark.parametrize("labels", [FASHION, None])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("coat [0.10, 0.20, 0.45, 0.60]; sneaker [0.50, 0.55, 0.90, 0.80]", "ok"),
        ("There is a coat at [.1, .2, .45, .6] and a sneaker at [0.5,0.55,0.9,0.8].", "ok"),
        ("coat: [10%, 20%, 45%, 60%], sneaker: [50%, 55%, 90%, 80%]", "ok"),
        ("[0.1, 0.2, 0.45, 0.6] coat; [0.5, 0.55, 0.9, 0.8] sneaker", "ok"),
        ("coat (x1=0.1, y1=0.2, x2=0.45, y2=0.6), sneaker (0.5 0.55 0.9 0.8)", "ok"),
        ("coat [0.45, 0.6, 0.1, 0.2]; sneaker [0.5, 0.55, 0.9, 0.8]", "partial"),
        ("coat [0.1, 0.2, 0.45, 0.6]; sneaker [0.5, 0.55, 0.9, 0.8]; bag [0.1, 0.2", "partial"),
        (
            "coat [0.1, 0.2, 0.45, 0.6]; sneaker [0.5, 0.55, 0.9, 0.8]; bag [120, 33, 200, 80]",
            "partial",
        ),
    ],
)
def test_detection_forms(text: str, status: str, labels: tuple[str, ...] | None) -> None:
    assert found(text, labels) == ([("coat", BOX), ("sneaker", SECOND)], status)


def test_detection_clips_and_flags_a_minus() -> None:
    assert found("bag [-0.03, 0.1, 1.02, 0.5]") == ([("bag", [0.0, 0.1, 1.0, 0.5])], "partial")
    assert found("bag [\u22120.03, 0.1, 0.9, 0.5]") == ([("bag", [0.0, 0.1, 0.9, 0.5])], "partial")


def test_detection_repeats_a_label_for_further_boxes() -> None:
    text = "two coats [0.1, 0.2, 0.45, 0.6] and [0.5, 0.55, 0.9, 0.8]"
    assert found(text) == ([("coat", BOX), ("coat", SECOND)], "ok")


def test_detection_of_nothing_and_of_nonsense() -> None:
    assert found("There are no items here.") == ([], "ok")
    assert found("A coat on the left.") == (None, "unparsed")
    assert found("lamp [0.1, 0.2, 0.3, 0.4]") == (None, "unparsed")
    assert found("No box: [0.1, 0.2") == (None, "unparsed")


def test_numbers_and_tokens() -> None:
    assert integers("one and two, twenty two, two dozen, 1st, 50%, 7.") == [1, 2, 22, 24, 7]
    assert integers("two hundred thousand and three") == [200003]
    assert integers("seventeen eighteen") == [17, 18]
    assert tokens("Bookshelves, dresses, buses & people") == ["bookshelf", "dress", "bus", "person"]


def test_every_status_is_a_parse_status() -> None:
    assert {str(s) for s in ParseStatus} == {"ok", "partial", "unparsed"}
