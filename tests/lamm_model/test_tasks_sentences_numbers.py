"""Answers with numbers that are easily misread: shares, parts, sizes, confidences, denials."""

from __future__ import annotations

from typing import Any

import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.reading.numerals import integers


def read(task: str, text: str, **inputs: Any) -> tuple[Any, str]:
    definition = TASKS[task]
    result = definition.parse(text, definition.inputs_model(**inputs))
    return (None if result.answer is None else result.answer.model_dump(), str(result.status))


@pytest.mark.parametrize(
    ("text", "count", "status"),
    [
        # Only whole numbers are counts, however they are written.
        ("97.5%", None, "unparsed"),
        ("97 percent", None, "unparsed"),
        ("3.5m", None, "unparsed"),
        ("1.5k", None, "unparsed"),
        ("1.000", None, "unparsed"),
        ("25.0", 25, "ok"),
        ("1e2", 100, "ok"),
        ("I am 97.5% sure there are 4.", 4, "ok"),
        ("I am 90 percent sure that there are 4 of them.", 4, "ok"),
        ("1,2,3", 1, "partial"),
        ("25-30", 25, "partial"),
        ("half a dozen", 6, "ok"),
        ("There are about half a dozen birds.", 6, "ok"),
        ("two dozen", 24, "ok"),
        ("2 dozen eggs", 24, "ok"),
        ("There are dozens of birds.", None, "unparsed"),
        ("1" * 5000, None, "unparsed"),
        # "One" is not always a number.
        ("There is no one.", 0, "ok"),
        ("I see no one in this picture.", 0, "ok"),
        ("one can see 25 people", 25, "ok"),
        ("There are 5 people, one of them a child.", 5, "ok"),
        ("There is only one of them.", 1, "ok"),
        ("One.", 1, "ok"),
        ("There is one person.", 1, "ok"),
        ("This one shows 7 people.", 7, "ok"),
        # None, or not known.
        ("No people are visible.", 0, "ok"),
        ("I don't see any people in the picture.", 0, "ok"),
        ("There aren't any items.", 0, "ok"),
        ("The image contains no people.", 0, "ok"),
        ("There is no way to tell.", None, "unparsed"),
        ("I have no idea.", None, "unparsed"),
        ("There is no information about the number of items.", None, "unparsed"),
        # Bounds and parts are no certain count.
        ("There are more than 20 people.", 20, "partial"),
        ("At least ten.", 10, "partial"),
        ("There are 5 men and 5 women.", 5, "partial"),
        ("5 men and 5 women, 10 in total.", 10, "ok"),
        ("The number of people in the image is 25.", 25, "ok"),
        ("I count 2 + 3 = 5 items.", 5, "ok"),
        ("Approximately 120 people", 120, "ok"),
    ],
)
def test_counts(text: str, count: int | None, status: str) -> None:
    answer, read_as = read("counting", text)
    assert (answer and answer["count"], read_as) == (count, status)


def test_integers_of_every_form() -> None:
    assert integers("1,204 and 12,5, 3.1.2, -4, v2, 5th, 7 %") == [1204, 12, 5, -4]
    assert integers("half a hundred; half of 8; a couple dozen") == [50, 8, 24]
    assert integers("one thousand two hundred and five") == [1205]
    assert integers("three million two hundred thousand") == [3_200_000]
    assert integers("two hundred thousand; two hundred, three hundred") == [200_000, 200, 300]
    assert integers("There are thirty. Two are red.") == [30, 2]
    assert integers("1.5 thousand; one and a half dozen; 50% of 2 dozen; 3.5 m") == [24]


BOX = [0.1, 0.1, 0.4, 0.4]


@pytest.mark.parametrize(
    ("text", "box", "status"),
    [
        ("dog [x=0.1, y=0.1, w=0.3, h=0.3]", BOX, "ok"),
        ('dog {"x":0.1,"y":0.1,"width":0.3,"height":0.3}', BOX, "ok"),
        ("dog [cx=0.25, cy=0.25, w=0.3, h=0.3]", BOX, "ok"),
        ("dog (x_center: 0.25, y_center: 0.25, width: 0.3, height: 0.3)", BOX, "ok"),
        ('dog {"ymin": 0.1, "xmin": 0.1, "ymax": 0.4, "xmax": 0.4}', BOX, "ok"),
        ("dog [x0=0.1, y0=0.1, x1=0.4, y1=0.4]", BOX, "ok"),
        ('dog {"left": 0.1, "top": 0.1, "right": 0.4, "bottom": 0.4}', BOX, "ok"),
        ('dog {"left": 0.1, "top": 0.1, "width": 0.3, "height": 0.3}', BOX, "ok"),
        ("dog at x=0.1, y=0.1, w=0.3, h=0.3", BOX, "partial"),
        ("dog (x, y, w, h): [0.1, 0.1, 0.3, 0.3]", BOX, "ok"),
        ("In [ymin, xmin, ymax, xmax] order: dog [0.1, 0.1, 0.4, 0.4]", BOX, "ok"),
        ("dog, centre (0.25, 0.25), size (0.3, 0.3)", BOX, "ok"),
        ("dog (0.1, 0.1) with size (0.3, 0.3)", BOX, "partial"),
        ("dog [x=0.1, 0.1, w=0.4, 0.4]", BOX, "partial"),
        ("dog (0.1, 0.1) to (0.4, 0.4)", BOX, "ok"),
    ],
)
def test_boxes_by_the_names_of_their_numbers(text: str, box: list[float], status: str) -> None:
    for labels in (None, ("dog", "cat")):
        answer, read_as = read("detection", text, labels=labels)
        assert answer is not None
        assert [o["label"] for o in answer["objects"]] == ["dog"]
        assert list(answer["objects"][0]["bbox"]) == pytest.approx(box)
        assert read_as == status


def test_points_by_the_names_of_their_numbers() -> None:
    assert read("keypoints", "[y=0.25, x=0.5]", joint="neck") == ({"point": (0.5, 0.25)}, "ok")
    text = '{"label": "dog", "center": [0.5, 0.25], "size": [0.2, 0.2]}'
    answer, status = read("locating", text, labels=("dog", "cat"))
    assert [o["point"] for o in answer["objects"]] == [(0.5, 0.25)]
    assert status == "partial"


CHAIR = [1.0, 2.0, 0.5, 0.4, 0.6, 1.0]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[x=1, y=2, z=0.5, l=0.4, w=0.6, h=1]", "ok"),
        ("[x1=0.8, y1=1.7, z1=0, x2=1.2, y2=2.3, z2=1]", "ok"),
        ("(0.8, 1.7, 0) to (1.2, 2.3, 1)", "ok"),
        ('{"center": [1, 2, 0.5], "size": [0.4, 0.6, 1]}', "ok"),
        ("[x, y, z, l, w, h] = [1, 2, 0.5, 0.4, 0.6, 1]", "ok"),
        ("(x, y, z, width, height, depth): [1, 2, 0.5, 0.4, 0.6, 1]", "partial"),
    ],
)
def test_boxes_in_space_by_the_names_of_their_numbers(text: str, status: str) -> None:
    answer, read_as = read("grounding_3d", text, description="the chair")
    assert list(answer["bbox"]) == pytest.approx(CHAIR)
    assert read_as == status


@pytest.mark.parametrize("labels", [None, ("dog", "cat")])
@pytest.mark.parametrize(
    ("text", "found", "status"),
    [
        ("dog (confidence 0.95): [0.1,0.2,0.5,0.6]", ["dog"], "ok"),
        ("A dog (0.95) at [0.1,0.2,0.5,0.6]", ["dog"], "partial"),
        ("dog 0.95 [0.1,0.2,0.5,0.6]", ["dog"], "ok"),
        ('[{"label": "dog", "score": 0.95, "bbox": [0.1,0.2,0.5,0.6]}]', ["dog"], "ok"),
        ('[{"bbox_2d": [0.1,0.2,0.5,0.6], "label": "dog", "score": 0.95}]', ["dog"], "ok"),
        ("The dog is not in [0.1,0.2,0.5,0.6]", None, "unparsed"),
        ("no dogs [0.1,0.2,0.5,0.6]", None, "unparsed"),
        ("There is no dog in [0.1,0.2,0.5,0.6]; cat [0.1,0.2,0.5,0.6]", ["cat"], "partial"),
        ("There is no cat, but a dog at [0.1,0.2,0.5,0.6]", ["dog"], "ok"),
        ("I have no idea.", None, "unparsed"),
        ("There is a dog but no cat.", None, "unparsed"),
        ("No objects were found.", [], "ok"),
        ("I don't see any objects in the picture.", [], "ok"),
    ],
)
def test_labels_of_boxes(
    text: str, found: list[str] | None, status: str, labels: tuple[str, ...] | None
) -> None:
    answer, read_as = read("detection", text, labels=labels)
    assert (answer and [o["label"] for o in answer["objects"]], read_as) == (found, status)


def test_a_denied_point_is_left_out() -> None:
    assert read("locating", "no dogs [0.5, 0.5]", labels=("dog", "cat")) == (None, "unparsed")
    answer, status = read("locating", "The dog is not at [0.5, 0.5]; cat [0.1, 0.9]")
    assert ([o["label"] for o in answer["objects"]], status) == (["cat"], "partial")
