"""A place has the label that the text gives to it, and never that of its neighbour."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.places.listed import PlacesTask

SOUGHT = ("shirt", "coat")
BOX = "[0.10, 0.10, 0.20, 0.20]"
OTHER_BOX = "[0.30, 0.30, 0.40, 0.40]"
THIRD_BOX = "[0.50, 0.50, 0.60, 0.60]"


def read(task: str, text: str, labels: Sequence[str]) -> tuple[list[tuple[str, Any]] | None, str]:
    """Labels with the first number of their places, and the status."""
    definition = TASKS[task]
    result = definition.parse(text, definition.inputs_model(labels=tuple(labels)))
    if result.answer is None:
        return None, str(result.status)
    places = [(place.label, place.values[0]) for place in result.answer.places()]
    return places, str(result.status)


@pytest.mark.parametrize(
    ("text", "found", "status"),
    [
        (f"shirt {BOX}; bag {OTHER_BOX}; sneaker {THIRD_BOX}", [("shirt", 0.1)], "partial"),
        (f"bag {BOX}; shirt {OTHER_BOX}", [("shirt", 0.3)], "partial"),
        (f"bag {BOX}; sneaker {OTHER_BOX}", None, "unparsed"),
        (f"{BOX} is a shirt, {OTHER_BOX} is a bag", [("shirt", 0.1)], "partial"),
        (f"{BOX} is a bag, {OTHER_BOX} is a shirt", [("shirt", 0.3)], "partial"),
        (f"A shirt at {BOX} and a handbag at {OTHER_BOX}.", [("shirt", 0.1)], "partial"),
        # Places without a word of their own are of the same thing.
        (f"shirts: {BOX} and {OTHER_BOX}", [("shirt", 0.1), ("shirt", 0.3)], "ok"),
        (f"two shirts {BOX}, {OTHER_BOX}; coat {THIRD_BOX}",
         [("shirt", 0.1), ("shirt", 0.3), ("coat", 0.5)], "ok"),
        (f"shirt {BOX} {OTHER_BOX} bag {THIRD_BOX}", [("shirt", 0.1), ("shirt", 0.3)], "partial"),
    ],
)  # fmt: skip
def test_what_is_not_sought_is_left_out(
    text: str, found: list[tuple[str, float]] | None, status: str
) -> None:
    assert read("detection", text, SOUGHT) == (found, status)


@pytest.mark.parametrize(
    ("task", "place"),
    [("detection", BOX), ("locating", "[0.10, 0.20]"), ("detection_3d", "[1, 2, 3, 1, 1, 1]")],
)
def test_one_label_may_be_sought(task: str, place: str) -> None:
    text = f"shirt {place}; bag {place}; shirt {place}"
    found, status = read(task, text, ["shirt"])
    assert found is not None
    assert [label for label, _ in found] == ["shirt", "shirt"]
    assert status == "partial"
    assert read(task, f"shirt {place}", ["shirt"])[1] == "ok"
    with pytest.raises(ValueError, match="at least 1"):
        TASKS[task].inputs_model(labels=())


def test_a_class_is_chosen_from_two_labels() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        TASKS["classification"].inputs_model(labels=("shirt",))


NAMES = ("shirt", "coat", "bag", "ankle boot", "sneaker", "dress", "table lamp", "dog")
SEPARATORS = ("; ", ", ", " ", "\n", ". ", " and ", "\n- ")
FORMS = ("{n} {p}", "{n}: {p}", "a {n} at {p}", "the {n} is located at {p}", '"{n}" {p}')


@pytest.mark.parametrize("task", ["detection", "locating", "detection_3d"])
def test_no_label_is_borrowed_in_generated_texts(task: str) -> None:
    """Each place is told by its first number, which says what the text wrote before it."""
    chance = random.Random(task)
    sides = {"detection": 4, "locating": 2, "detection_3d": 6}[task]
    definition = TASKS[task]
    assert isinstance(definition, PlacesTask)
    kept = 0
    for _ in range(400):
        names = [chance.choice(NAMES) for _ in range(chance.randint(1, 6))]
        written: dict[float, str] = {}
        parts: list[str] = []
        for name in names:
            first = round(0.11 + 0.01 * len(written), 2)
            written[first] = name
            place = ", ".join([f"{first:.2f}", *["0.9"] * (sides - 1)])
            parts.append(chance.choice(FORMS).format(n=name, p=f"[{place}]"))
        text = chance.choice(SEPARATORS).join(parts)
        labels = tuple(chance.sample(NAMES, chance.randint(1, 4)))
        found, status = read(task, text, labels)
        expected = [(name, first) for first, name in written.items() if name in labels]
        assert (found or []) == expected, (text, labels)
        assert (status == "ok") == (len(expected) == len(names)), (text, labels)
        kept += len(expected)
    assert kept > 300
