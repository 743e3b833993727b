"""Scores of places in any text: their tokens are those of the answer, and no text raises."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lamm_model.tasks import TASKS
from lamm_model.tasks.places.base import PlaceTask
from lamm_model.tasks.reading.coordinates import tidy
from service.engine.base import TokenLogprob
from service.schemas.tasks import PlaceScore
from service.tasks.scores import Scorer

LABELS = {"labels": ["cat", "dog"]}
INPUTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "detection": (LABELS, {}, {**LABELS, "size": (640, 480)}),
    "locating": (LABELS, {}, {"size": (640, 480)}),
    "point": ({"label": "cat"},),
    "keypoints": ({"joint": "neck"}, {"joint": "neck", "size": (640, 480)}),
    "detection_3d": (LABELS, {}),
    "grounding_3d": ({"description": "the cat"},),
}
PLACES = {
    "detection": ("[0.1, 0.2, 0.3, 0.4]", "[0.5, 0.5, 0.9, 0.9]"),
    "locating": ("[0.1, 0.2]", "[0.5, 0.6]"),
    "point": ("[0.1, 0.2]", "[0.5, 0.6]"),
    "keypoints": ("[0.1, 0.2]", "[0.5, 0.6]"),
    "detection_3d": ("[1, 2, 3, 1, 1, 1]", "[4, 2, 3, 1, 1, 1, 0.5]"),
    "grounding_3d": ("[1, 2, 3, 1, 1, 1]", "[4, 2, 3, 1, 1, 1, 0.5]"),
}
# Before the answer and after it; `{}` is a place that is not in the answer.
MARKS = [
    ("<think>Is the cat at {}? Or a dog at {}.</think>", ""),
    ("Is the cat at {}?\n</think>\n\n", ""),
    ("\u25c1think\u25b7It is \ufb01ne,  cat {}\u25c1/think\u25b7", ""),
    ("<think>cat {}</think> So: <answer>", "</answer>"),
    ("<answer>dog {}</answer> No. <answer>", "</answer> I mean cat {}"),
    ("cat {}<|begin_of_box|>", "<|end_of_box|>."),
    ("", "<think>Or is the cat at {}?"),
    ("-  \u00a0", "</answer>"),
]


def scored(task: str, inputs: Mapping[str, Any], pieces: Sequence[str]) -> list[PlaceScore]:
    """The places' scores of a text that was written in pieces; piece i has the logprob -2^-i."""
    found = TASKS[task]
    asked = found.inputs_model.model_validate(inputs)
    text = "".join(pieces).strip()
    answer = found.parse(text, asked).answer
    if answer is None:
        return []
    logprobs = [TokenLogprob(i, piece, -(2.0**-i)) for i, piece in enumerate(pieces)]
    score, places = Scorer(found, None).of_text(text, logprobs, asked, answer)
    if any(piece.startswith("bytes:") for piece in pieces) and score is None:
        return []  # such a token is a byte, which the text does not have
    assert score is not None
    assert places is not None
    assert [one.path for one in places] == [one.path for one in answer.places()]
    for span in found.place_spans(text, asked):
        for start, end in (span.place, span.label or span.place):
            assert 0 <= start < end <= len(tidy(text))
    return places


def test_every_task_with_places_is_tried() -> None:
    assert {name for name, task in TASKS.items() if isinstance(task, PlaceTask)} == set(INPUTS)


@pytest.mark.parametrize("task", INPUTS)
@pytest.mark.parametrize(("before", "after"), MARKS)
def test_thoughts_give_their_log_probabilities_to_no_place(
    task: str, before: str, after: str
) -> None:
    right, other = PLACES[task]
    label = "" if task in {"keypoints", "grounding_3d"} else "cat "
    pieces = [before.replace("{}", other), label, right, after.replace("{}", other)]
    for inputs in INPUTS[task]:
        [place] = scored(task, inputs, pieces)
        assert place.logprob == -0.25
        assert place.label_logprob == (-0.5 if label else None)


HOSTILE = [
    "<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>",
    "\u25c1think\u25b7", "\u25c1/think\u25b7", "cat ", "Cats", "dog", "no ", "not a ", " and ",
    "; ", ", ", "\n", "  ", "[0.1, 0.2]", "[0.1, 0.2, 0.3, 0.4]", "[10, 20, 300, 400]",
    "(0.1, 0.2) to (0.5, 0.6)", "[1, 2, 3, 1, 1, 1]", "[1, 2, 3, 1, 1, 1, 0.5]", "yaw 400",
    "[1, 2, 3, -1, 1, 1, 90]", "x1=0.1 y1=0.2 x2=0.3 y2=0.4", '{"x": 1, "y": 2}', "[", "]", "[[",
    "0.5", "-1", "1e999", "99999999999999999999", "%", "px", "\u0338", "\ufb01", "\u00fc", "\u0301",
    "\ufdfa", "\u2028", "\x00", "\uff11", "\u00bd", "\u0130", "bytes:\\xzz", "bytes:\\xc3",
    "\U0001f600",
    "There are no items.", "center (0.5, 0.5) size (0.1, 0.1)", "1,000", "neck", "is",
    "\u2212",
]  # fmt: skip


def test_no_text_makes_scores_raise() -> None:
    draw = random.Random(7)
    places = 0
    for _ in range(500):
        pieces = draw.choices(HOSTILE, k=draw.randint(1, 14))
        text = "".join(pieces)
        if draw.random() < 0.5:
            cuts = sorted(draw.choices(range(len(text) + 1), k=10))
            pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        for task, tried in INPUTS.items():
            for inputs in tried:
                places += len(scored(task, inputs, pieces))
    assert places > 500
