"""Where a text writes the places of its answer, and which of them are right."""

from __future__ import annotations

from typing import Any

import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.reading.coordinates import tidy

BOX, OTHER = "[0.10, 0.20, 0.45, 0.60]", "[0.50, 0.20, 0.85, 0.60]"
LABELS = {"labels": ["cat", "dog", "sofa"]}


def spans(task: str, text: str, **inputs: Any) -> list[tuple[str, str | None]]:
    """Each place with its label, as written; one per place of the parsed answer."""
    asked = TASKS[task].inputs_model.model_validate(inputs)
    found = TASKS[task].place_spans(text, asked)
    read = TASKS[task].parse(text, asked).answer
    assert len(found) == len(list(read.places()) if read else [])
    plain = tidy(text)
    return [
        (plain[slice(*one.place)], None if one.label is None else plain[slice(*one.label)])
        for one in found
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cat {BOX}; dog {OTHER}", [(BOX, "cat"), (OTHER, "dog")]),
        # The same place twice, the first of a thing outside the set.
        (f"bird {BOX}; dog {BOX}", [(BOX, "dog")]),
        (f"Dogs {BOX}, {OTHER}", [(BOX, "Dogs"), (OTHER, "Dogs")]),
        (f"{BOX} dog; {OTHER} cat", [(BOX, "dog"), (OTHER, "cat")]),
        (f"There is no cat {BOX}, but a dog {OTHER}", [(OTHER, "dog")]),
        # Clipped and reordered places are where they were written.
        ("sofa [0.9, 0.9, 0.1, 1.02]", [("[0.9, 0.9, 0.1, 1.02]", "sofa")]),
        ("a dog from (0.1, 0.2) to (0.5, 0.6)", [("(0.1, 0.2) to (0.5, 0.6)", "dog")]),
        ("There are no items.", []),
        ("A dog.", []),
    ],
)
def test_spans_of_a_list(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert spans("detection", text, **LABELS) == expected


def test_spans_of_other_answers() -> None:
    assert spans("keypoints", "The knee: (0.1, 0.2).", joint="left knee") == [("(0.1, 0.2)", None)]
    points = spans("point", "[0.1, 0.2]; [0.3, 0.4]", label="bag")
    assert points == [("[0.1, 0.2]", None), ("[0.3, 0.4]", None)]
    assert spans("point", "bag [0.1, 0.2]", label="bag") == [("[0.1, 0.2]", "bag")]
    assert spans("counting", "3") == []


def test_one_object_is_hit_once_by_the_surest_place() -> None:
    task = TASKS["detection"]
    inputs = task.inputs_model.model_validate(LABELS)
    read = task.parse(f"dog {BOX}; dog [0.11, 0.20, 0.45, 0.60]; cat {BOX}", inputs).answer
    target = task.parse(f"dog {BOX}", inputs).answer
    assert task.place_hits(read, target, inputs, [0, 1, 2]) == [True, False, False]
    assert task.place_hits(read, target, inputs, [2, 1, 0]) == [False, True, False]


def test_one_place_is_hit_as_the_answer_is() -> None:
    task = TASKS["grounding_3d"]
    inputs = task.inputs_model.model_validate({"description": "the chair"})
    read = task.parse("[0, 0, 0, 1, 1, 1]", inputs).answer
    for text, right in (("[0, 0, 0, 1, 1, 1.1]", True), ("[3, 0, 0, 1, 1, 1]", False)):
        target = task.parse(text, inputs).answer
        assert task.place_hits(read, target, inputs, [0]) == [right]
