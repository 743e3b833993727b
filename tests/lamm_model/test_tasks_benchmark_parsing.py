"""Parsers of the LAMM-Benchmark's tasks on the answers that models really write."""

from __future__ import annotations

from typing import Any

import pytest

from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.label_sets import CIFAR10, HAIR_COLOURS, VOC2012
from lamm_model.tasks.reading.classes import class_index, find_classes


def read(task: str, text: str, **inputs: Any) -> tuple[Any, str]:
    definition = TASKS[task]
    result = definition.parse(text, definition.inputs_model(**inputs))
    return (None if result.answer is None else result.answer.model_dump(), str(result.status))


@pytest.mark.parametrize(
    ("text", "point", "status"),
    [
        ("[0.5, 0.25]", [0.5, 0.25], "ok"),
        ("The right ankle is at (0.5, 0.25).", [0.5, 0.25], "ok"),
        ("[x=0.5, y=0.25]", [0.5, 0.25], "ok"),
        ('{"x": 0.5, "y": 0.25}', [0.5, 0.25], "ok"),
        ("[5e-1, 2.5E-1]", [0.5, 0.25], "ok"),
        ("(50%, 25%)", [0.5, 0.25], "ok"),
        ("[50, 25]", [0.5, 0.25], "partial"),
        ("[100, 75] px", [0.5, 0.25], "ok"),
        ("[100px, 75px]", [0.5, 0.25], "ok"),
        ("[500, 250]", [0.5, 0.25], "partial"),
        ("x is 0.5 and y is 0.25", [0.5, 0.25], "partial"),
        ("0.5, 0.25", [0.5, 0.25], "partial"),
        ("[\u22120.02, 0.25]", [0.0, 0.25], "partial"),
        ("[0.5, 0.25] or [0.6, 0.3]", [0.5, 0.25], "partial"),
        ("[0.5, 0.25] [0.5, 0.25]", [0.5, 0.25], "ok"),
        ("[0.4, 0.2, 0.6, 0.3]", [0.5, 0.25], "partial"),
        ("[0.1, 0.2, 0.3] then [0.5, 0.25]", [0.5, 0.25], "partial"),
        ("[-30, 5]", None, "unparsed"),
        ("[5000, 20]", None, "unparsed"),
        ("near the left foot", None, "unparsed"),
        ("", None, "unparsed"),
    ],
)
def test_keypoint(text: str, point: list[float] | None, status: str) -> None:
    answer, read_as = read("keypoints", text, joint="right ankle", size=(200, 300))
    assert (answer and pytest.approx(answer["point"]), read_as) == (point, status)


def test_keypoint_in_pixels_needs_the_size() -> None:
    assert read("keypoints", "[150, 75]", joint="neck") == (None, "unparsed")
    assert read("keypoints", "[150, 75]", joint="neck", size=(300, 300))[0] == {
        "point": (0.5, 0.25)
    }
    with pytest.raises(ValueError, match="joint 'tail' is not one of"):
        read("keypoints", "[0, 0]", joint="tail")


@pytest.mark.parametrize(
    ("text", "objects", "status"),
    [
        ("dog [0.5, 0.25]; cat [0.1, 0.9]", [("dog", 0.5, 0.25), ("cat", 0.1, 0.9)], "ok"),
        ("[0.5, 0.25] dog, [0.1, 0.9] cat", [("dog", 0.5, 0.25), ("cat", 0.1, 0.9)], "ok"),
        ('[{"label": "dog", "point": [0.5, 0.25]}]', [("dog", 0.5, 0.25)], "ok"),
        ("A puppy at (0.5, 0.25) and a TV at (0.1, 0.9)",
         [("dog", 0.5, 0.25), ("tvmonitor", 0.1, 0.9)], "ok"),
        ("There is a dining table at [0.5, 0.25].", [("diningtable", 0.5, 0.25)], "ok"),
        ("[0.5, 0.25]", [(None, 0.5, 0.25)], "ok"),
        ("dog [0.4, 0.2, 0.6, 0.3]", [("dog", 0.5, 0.25)], "partial"),
        ("dog [0.5, 0.25]; cat [0.1, 0.", [("dog", 0.5, 0.25)], "partial"),
        ("dog [0.5, 0.25, 0.1]; cat [0.1, 0.9]", [("cat", 0.1, 0.9)], "partial"),
        ("There are no objects.", [], "ok"),
        ("A dog in the middle.", None, "unparsed"),
    ],
)  # fmt: skip
def test_locating(text: str, objects: list[Any] | None, status: str) -> None:
    answer, read_as = read("locating", text, labels=VOC2012)
    found = answer and [(o["label"], *o["point"]) for o in answer["objects"]]
    assert read_as == status
    assert found == objects or found == [(n, *map(pytest.approx, p)) for n, *p in objects or ()]


@pytest.mark.parametrize(
    ("text", "label", "status"),
    [
        ('```json\n[{"bbox_2d": [0.1, 0.2, 0.5, 0.6], "label": "dog"}]\n```', "dog", "ok"),
        ("The image shows a dog [0.1, 0.2, 0.5, 0.6]", "dog", "ok"),
        ("<box>dog</box>[[0.1, 0.2, 0.5, 0.6]]", "dog", "ok"),
        ("1. Dog - [0.1, 0.2, 0.5, 0.6]", "Dog", "ok"),
        ("a {b} [0.1, 0.2, 0.5, 0.6]", "b", "ok"),
    ],
)
def test_labels_in_free_words(text: str, label: str, status: str) -> None:
    answer, read_as = read("detection", text)
    assert answer is not None
    assert ([o["label"] for o in answer["objects"]], read_as) == ([label], status)


@pytest.mark.parametrize(
    ("text", "box", "status"),
    [
        ("dog [0.1, 0.2, 0.5, 0.6]", [0.1, 0.2, 0.5, 0.6], "ok"),
        ("dog [x1=0.1, y1=0.2, x2=0.5, y2=0.6]", [0.1, 0.2, 0.5, 0.6], "ok"),
        ("dog [1e-1, 0.2, 0.5, 0.6]", [0.1, 0.2, 0.5, 0.6], "ok"),
        ("dog (0.1, 0.2), (0.5, 0.6)", [0.1, 0.2, 0.5, 0.6], "ok"),
        ("dog: x1: 0.1, y1: 0.2, x2: 0.5, y2: 0.6", [0.1, 0.2, 0.5, 0.6], "partial"),
        ('{"dog": {"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 0.6}}',
         [0.1, 0.2, 0.5, 0.6], "ok"),
        ("dog [10, 20, 50, 60]", [0.1, 0.2, 0.5, 0.6], "partial"),
        ("dog [64, 96, 320, 288]", [0.1, 0.2, 0.5, 0.6], "partial"),
        ("dog [100, 200, 500, 600]", [0.1, 0.2, 0.5, 0.6], "partial"),
    ],
)  # fmt: skip
def test_boxes_in_every_frame(text: str, box: list[float], status: str) -> None:
    answer, read_as = read("detection", text, labels=VOC2012, size=(640, 480))
    assert answer is not None
    assert list(answer["objects"][0]["bbox"]) == pytest.approx(box)
    assert (answer["objects"][0]["label"], read_as) == ("dog", status)


CHAIR = (1.2, -0.35, 0.4, 0.5, 0.5, 0.8)


@pytest.mark.parametrize(
    ("text", "bbox", "status"),
    [
        ("[1.2, -0.35, 0.4, 0.5, 0.5, 0.8]", CHAIR, "ok"),
        ("(1.20 \u22120.35 0.40 0.50 0.50 0.80)", CHAIR, "ok"),
        ("[1.2, -3.5e-1, 4e-1, 0.5, 0.5, 0.8]", CHAIR, "ok"),
        ("[x=1.2, y=-0.35, z=0.4, l=0.5, w=0.5, h=0.8]", CHAIR, "ok"),
        ("It is at [1.2, -0.35, 0.4] with size [0.5, 0.5, 0.8].", CHAIR, "ok"),
        ("[1.2m, -0.35m, 0.4m, 0.5m, 0.5m, 0.8m]", CHAIR, "ok"),
        ("1.2, -0.35, 0.4, 0.5, 0.5, 0.8", CHAIR, "partial"),
        ("[1.2, -0.35, 0.4, -0.5, 0.5, 0.8]", CHAIR, "partial"),
        ("[1.2, -0.35, 0.4, 0.5, 0.5, 0.8] [0, 0, 0, 1, 1, 1]", CHAIR, "partial"),
        ("[1.2, -0.35, 0.4]", None, "unparsed"),
        ("the chair by the window", None, "unparsed"),
    ],
)
def test_grounding(text: str, bbox: Any, status: str) -> None:
    answer, read_as = read("grounding_3d", text, description="the chair")
    assert (answer and answer["bbox"], read_as) == (bbox, status)


def test_detection_3d_ties_labels_to_boxes() -> None:
    text = "a shower curtain [1.2, -0.35, 0.4, 0.5, 0.5, 0.8]; a desk [0, 0, 0, 1, 1, 1]"
    answer, status = read("detection_3d", text, labels=("showercurtrain", "desk"))
    assert status == "ok"
    assert [(o["label"], o["bbox"]) for o in answer["objects"]] == [
        ("showercurtrain", CHAIR),
        ("desk", (0, 0, 0, 1, 1, 1)),
    ]
    assert read("detection_3d", "The room has no furniture.") == ({"objects": ()}, "ok")


@pytest.mark.parametrize(
    ("text", "smiling", "status"),
    [
        ("Yes.", True, "ok"),
        ("No", False, "ok"),
        ("The person is smiling.", True, "ok"),
        ("She isn't smiling.", False, "ok"),
        ("He doesn\u2019t seem to be smiling", False, "ok"),
        ("The woman has a neutral expression.", False, "ok"),
        ("No doubt she is smiling.", True, "ok"),
        ("Yes, a man who is not smiling.", True, "partial"),
        ("The answer is: yes", True, "ok"),
        ("A man in a suit.", None, "unparsed"),
        ("", None, "unparsed"),
    ],
)
def test_smile(text: str, smiling: bool | None, status: str) -> None:
    answer, read_as = read("facial_smile", text)
    assert (answer and answer["smiling"], read_as) == (smiling, status)


@pytest.mark.parametrize(
    ("task", "text", "label", "status"),
    [
        ("facial_hair", "Her hair is blonde.", "blond", "ok"),
        ("facial_hair", "Grey", "gray", "ok"),
        ("facial_hair", "brown or black", "brown", "partial"),
        ("facial_hair", "not black but brown", "brown", "ok"),
        ("facial_hair", "She is bald.", None, "unparsed"),
        ("fine_grained_classification", "This is a golfcourse.", "golf course", "ok"),
        ("fine_grained_classification", "A driver on a highway", "freeway", "ok"),
        ("fine_grained_classification", "storage tank", "storage tanks", "ok"),
    ],
)
def test_closed_sets(task: str, text: str, label: str | None, status: str) -> None:
    answer, read_as = read(task, text)
    assert (answer and answer["label"], read_as) == (label, status)


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        ("blue", "blue", "ok"),
        ("Blue.", "Blue", "ok"),
        ("The answer is: A", "A", "ok"),
        ("Look closely. The answer is red. No, the answer is dark red.", "dark red", "ok"),
        ('Answer: "Dr. No"', "Dr. No", "ok"),
        ("It is a very long sentence about many things.",
         "It is a very long sentence about many things", "partial"),
        ("  \n ", None, "unparsed"),
    ],
)  # fmt: skip
def test_open_question(text: str, said: str | None, status: str) -> None:
    answer, read_as = read("vqa", text, question="Which colour?")
    assert (answer and answer["text"], read_as) == (said, status)


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("Two dogs play.", "Two dogs play."),
        ('The caption is: "Two dogs play."', "Two dogs play."),
        ("A possible caption for this image could be: Two dogs play.", "Two dogs play."),
        ("Two dogs\nplay.", "Two dogs play."),
    ],
)
def test_caption(text: str, caption: str) -> None:
    assert read("caption", text) == ({"text": caption}, "ok")


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        ('"HOTEL", "PARIS"', ["HOTEL", "PARIS"], "ok"),
        ('The sign says "Hotel Paris".', ["Hotel", "Paris"], "ok"),
        ("The words are: hotel, paris.", ["hotel", "paris"], "ok"),
        ("The sign reads HOTEL", ["HOTEL"], "ok"),
        ("1. HOTEL\n2. PARIS", ["HOTEL", "PARIS"], "ok"),
        ("HOTEL", ["HOTEL"], "ok"),
        ("There is no text.", [], "ok"),
        ("There stands hotel on the wall", ["There", "stands", "hotel", "on", "the", "wall"],
         "partial"),
        ("I cannot read it.", None, "unparsed"),
        ("", None, "unparsed"),
    ],
)  # fmt: skip
def test_ocr_words(text: str, words: list[str] | None, status: str) -> None:
    answer, read_as = read("ocr_words", text)
    assert (answer and list(answer["words"]), read_as) == (words, status)


@pytest.mark.parametrize(
    ("text", "choice"),
    [("The answer is F", 5), ("(F)", 5), ("ANSWER: C", 2), ("The Answer is  (d).", 3)],
)
def test_six_options(text: str, choice: int) -> None:
    choices = ("one", "two", "three", "four", "five", "six")
    assert read("vqa_choice_3d", text, question="?", choices=choices)[0] == {"choice": choice}


def test_classes_by_label_synonym_and_spacing() -> None:
    assert [CIFAR10[m.label] for m in find_classes("a plane, not a lorry", CIFAR10)] == [
        "airplane",
        "truck",
    ]
    assert class_index("Golf-Course", ("river", "golf course")) == 1
    assert class_index("red", HAIR_COLOURS) is None


JOINT_ROWS = [[10 * i, 5 * i, i % 2] for i in range(14)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"task": "keypoints", "target": {"joint": "neck", "joints": JOINT_ROWS}}, "has no size"),
        ({"task": "keypoints", "target": {"joint": "neck", "joints": JOINT_ROWS[:3]},
          "size": (200, 100)}, "expected a list of 14 rows"),
        ({"task": "keypoints", "target": {"joint": "tail", "joints": JOINT_ROWS},
          "size": (200, 100)}, "'tail' is not one of"),
        ({"task": "keypoints", "target": 3}, "'joint' and 'joints'"),
        ({"task": "locating", "target": {"points": [[3, 4]]}}, "has no size"),
        ({"task": "locating", "target": {"boxes": []}}, "objects, joints or points"),
        ({"task": "locating", "target": []}, "expected one of the keys"),
        ({"task": "locating", "target": {"points": 3}}, "not a list of objects or points"),
        ({"task": "locating", "target": {"points": [[3, None]]}, "size": (9, 9)}, "is not a point"),
        ({"task": "locating", "target": {"objects": [{"label": "dog"}]}}, "Field required"),
        ({"task": "facial_smile", "target": "yes"}, "true, false, 1 or -1"),
        ({"task": "facial_hair", "target": "green"}, "not among the 4 labels"),
        ({"task": "caption", "target": []}, "a sentence or a list"),
        ({"task": "ocr_words", "target": "word"}, "a list of words"),
        ({"task": "grounding_3d", "target": [0, 0, 0, 1, 1, -1]}, "negative extent"),
        ({"task": "detection_3d", "target": "chair"}, "list of label and bbox"),
    ],
)  # fmt: skip
def test_wrong_targets_are_refused(record: dict[str, Any], message: str) -> None:
    sample = Sample.model_validate({"id": "1", "question": "?", **record})
    with pytest.raises(ValueError, match=message):
        TASKS[sample.task].read_sample(sample)


def target(task: str, value: Any, **extra: Any) -> Any:
    sample = Sample.model_validate(
        {"id": "1", "task": task, "question": "?", "target": value} | extra
    )
    return TASKS[task].read_sample(sample)[1]


def test_a_target_is_a_hit_of_itself() -> None:
    targets = {
        "keypoints": target("keypoints", {"joint": "neck", "joints": JOINT_ROWS}, size=(200, 100)),
        "locating": target("locating", {"points": [[30, 40], [180, 90]]}, size=(200, 100)),
        "facial_smile": target("facial_smile", "-1"),
        "facial_hair": target("facial_hair", "Blond"),
        "fine_grained_classification": target("fine_grained_classification", "golfcourse"),
        "caption": target("caption", ["Two dogs.", "Dogs play."]),
        "vqa": target("vqa", "red"),
        "ocr_words": target("ocr_words", ["HOTEL"]),
        "grounding_3d": target("grounding_3d", {"bbox": list(CHAIR), "unique": True}),
        "detection_3d": target("detection_3d", [{"label": "chair", "bbox": list(CHAIR)}]),
    }
    for name, right in targets.items():
        task = TASKS[name]
        assert task.is_hit(right, right), name
        assert not task.is_hit(None, right), name
        scores = task.score([(right, right), (None, right)])
        assert 0.4 < scores[task.primary_metric].value < 0.7, name


def test_locating_counts_points_one_to_one() -> None:
    task = TASKS["locating"]
    right = target("locating", {"joints": JOINT_ROWS}, size=(200, 100))
    inputs = task.inputs_model(size=(200, 100))
    inside = task.parse("[0.3, 0.3]", inputs).answer
    spam = task.parse("[0.3, 0.3] [0.4, 0.4] [0.5, 0.5]", inputs).answer
    assert task.score([(inside, right)])["f1"].value == 1.0
    assert task.score([(spam, right)])["precision"].value == pytest.approx(1 / 3)


def test_accepted_answers_and_word_counts() -> None:
    task = TASKS["vqa"]
    right = target("vqa", ["red", "dark red"])
    said = task.answer_model(text="The Dark Reds")
    assert task.is_hit(said, right)
    words = TASKS["ocr_words"]
    there = target("ocr_words", ["HOTEL", "PARIS"])
    said = words.answer_model(words=("hotel,", "hotel", "rome"))
    scores = words.score([(said, there)])
    assert scores["word_precision"].value == pytest.approx(1 / 3)
    assert scores["word_recall"].value == 0.5
