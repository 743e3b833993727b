"""Thoughts are no answer, in any task, and of several stated answers the last counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.tasks import TASKS, ParseStatus
from lamm_model.tasks.reading.final import final_answer

BOX = "shirt [0.10, 0.10, 0.20, 0.20]"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("plain", "plain"),
        ("<think>Is it A? No.</think>B", "B"),
        ("It may be A.</think>\n\nB", "\n\nB"),
        ("<think>A</think>no<think>C</think>B", "B"),
        ("B<think>or A, as", "B"),
        ("<think>it goes on and on", ""),
        ("\u25c1think\u25b7A\u25c1/think\u25b7B", "B"),
        ("<think>A</think><answer>B</answer>", "B"),
        ("<answer>A</answer> Wait. <answer>B</answer>.", "B"),
        ("<answer>A</answer> Wait. <answer>", "A"),
        ("<answer>B", "B"),
        ("B</answer>", "B"),
        ("<think>x</think><answer><|begin_of_box|>B<|end_of_box|></answer>", "B"),
        ("The answer is <|begin_of_box|>B<|end_of_box|>.", "B"),
    ],
)
def test_what_an_answer_ends_with(text: str, answer: str) -> None:
    assert final_answer(text) == answer


MARKS = ["<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "a", " ", "<"]


@given(st.lists(st.sampled_from(MARKS)))
def test_a_final_answer_has_nothing_more_to_strip(pieces: list[str]) -> None:
    once = final_answer("".join(pieces))
    assert "<think>" not in once
    assert "</think>" not in once
    assert final_answer(once) == once


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_thoughts_do_not_answer_in_any_task(opening: str) -> None:
    inputs: dict[str, tuple[dict[str, Any], str, str]] = {
        "detection": ({"labels": ("shirt", "coat")}, BOX, "coat [0.5, 0.5, 0.6, 0.6]"),
        "locating": ({"labels": ("shirt", "coat")}, "shirt [0.1, 0.2]", "coat [0.5, 0.5]"),
        "keypoints": ({"joint": "neck"}, "[0.1, 0.2]", "[0.5, 0.5]"),
        "detection_3d": ({}, "sofa [1, 2, 3, 1, 1, 1]", "bed [1, 1, 1, 1, 1, 1]"),
        "grounding_3d": ({"description": "a bed"}, "[1, 2, 3, 1, 1, 1]", "[1, 1, 1, 1, 1, 1]"),
        "counting": ({"noun": "cats"}, "4", "7"),
        "classification": ({"labels": ("cat", "dog")}, "a cat", "a dog"),
        "facial_smile": ({}, "yes", "no"),
        "vqa_choice": ({"question": "?", "choices": ("a", "b", "c")}, "(A)", "(C)"),
        "ocr": ({}, '"stop"', '"go"'),
        "ocr_words": ({}, '"stop"', '"go"'),
        "vqa": ({"question": "?"}, "a hat", "a shoe"),
        "caption": ({}, "A hat.", "A shoe."),
    }
    for name, (fields, thought, answer) in inputs.items():
        task = TASKS[name]
        given_inputs = task.inputs_model(**fields)
        told = task.parse(f"{opening}{thought}</think>\n\n{answer}", given_inputs)
        assert told.answer == task.parse(answer, given_inputs).answer, name
        assert told.answer != task.parse(thought, given_inputs).answer, name
        cut = task.parse(f"<think>{thought}", given_inputs)
        assert cut.status is ParseStatus.UNPARSED, name
