"""The call of a tool is read out of an answer, whole or while it streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.answer.tool_calls import CallShape, TextShape, shape_of
from service.engine.base import FinishReason

ARGUMENTS = st.dictionaries(
    st.text(max_size=4), st.text() | st.integers() | st.lists(st.text(max_size=3)), max_size=3
)
NAMES = ("draw", "draw_box", "count")


def streamed(names: tuple[str, ...], pieces: list[str]) -> list[dict[str, Any]]:
    """The deltas of a choice."""
    shape = CallShape(names, 1)
    deltas = shape.begin(0)
    for piece in pieces:
        deltas += shape.go_on(0, piece)
    return deltas + shape.end(0)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def arguments_of(deltas: list[dict[str, Any]]) -> str:
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    return "".join(call["function"]["arguments"] for call in calls)


@given(ARGUMENTS, st.sampled_from(NAMES), st.lists(st.integers(0, 200)), st.integers(0, 40))
def test_streamed_arguments_are_those_of_the_whole_answer(
    arguments: dict[str, Any], name: str, places: list[int], missing: int
) -> None:
    text = json.dumps(arguments, ensure_ascii=False)
    answers = {(name,): text, NAMES: f'{{"name": "{name}", "arguments": {text}}}'}
    for names, answer in answers.items():
        short = answer[: len(answer) - missing] if missing < len(answer) else ""
        deltas = streamed(names, cut(short, places))
        message = CallShape(names, 1).message(0, short)
        assert arguments_of(deltas) == "".join(c.function.arguments for c in message.tool_calls)
        if missing == 0:
            assert arguments_of(deltas) == text
            [call] = message.tool_calls
            assert (call.function.name, call.function.arguments) == (name, text)
        assert text.startswith(arguments_of(deltas))


def test_the_first_delta_of_a_call_has_its_id_and_name() -> None:
    deltas = streamed(NAMES, ['{"name": "dr', 'aw_box", "arguments"', ': {"a": 1', "}}"])
    assert deltas[0] == {"role": "assistant", "content": None}
    [head] = deltas[1]["tool_calls"]
    assert head["id"].startswith("call_")
    assert {**head, "id": ""} == {
        "index": 0, "id": "", "type": "function",
        "function": {"name": "draw_box", "arguments": ""},
    }  # fmt: skip
    assert [delta["tool_calls"] for delta in deltas[2:]] == [
        [{"index": 0, "function": {"arguments": '{"a": '}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
    ]


def test_choices_have_calls_of_their_own() -> None:
    shape = CallShape(("draw",), 2)
    ids = [shape.message(index, "{}").tool_calls[0].id for index in range(2)]
    assert len(set(ids)) == 2


def test_arguments_are_whole_if_only_what_is_around_them_was_cut() -> None:
    answer = '{"name": "draw", "arguments": {"a": {}}'
    assert CallShape(NAMES, 1).message(0, answer).tool_calls[0].function.arguments == '{"a": {}}'
    assert arguments_of(streamed(NAMES, list(answer))) == '{"a": {}}'


@pytest.mark.parametrize("text", ["", '{"name": "dra'])
def test_an_answer_that_was_cut_before_the_name_calls_nothing(text: str) -> None:
    assert CallShape(NAMES, 1).message(0, text).tool_calls == []
    assert streamed(NAMES, [text]) == [{"role": "assistant", "content": None}]


def test_reasons() -> None:
    call = CallShape(("draw",), 1)
    assert call.reason(FinishReason.STOP) == "tool_calls"
    assert call.reason(FinishReason.LENGTH) == "length"
    assert isinstance(shape_of((), 1), TextShape)
    assert TextShape().reason(FinishReason.STOP) == "stop"
