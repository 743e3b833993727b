"""Where in a JSON text an answer is, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.grammar.json_position import JsonPosition

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans(), st.integers(0, 9))
def test_a_whole_text_leaves_nothing_open(value: Any, ascii_only: bool, cut: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    position = JsonPosition()
    for start in range(0, len(text), cut + 1):
        position.feed(text[start : start + cut + 1])
    assert (position.depth, position.in_string, position.in_name) == (0, False, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a', {"in_string": True, "in_name": True, "depth": 1}),
        (b'{"a": "b', {"in_string": True, "in_name": False}),
        (b'{"a": ["b", "c', {"in_string": True, "in_name": False, "depth": 2}),
        (b'{"a": [1], "c', {"in_string": True, "in_name": True}),
        (b'"a\\"', {"in_string": True}),
        (b'"a\\\\"', {"in_string": False}),
        (b"[12.5e", {"in_number": True, "digits": 3}),
        (b"[1, 23", {"in_number": True, "digits": 2}),
        (b"[true", {"in_number": False, "digits": 0}),
        (b'["12', {"in_number": False}),
    ],
)
def test_places(text: bytes, expected: dict[str, Any]) -> None:
    position = JsonPosition()
    position.feed(text)
    assert {name: getattr(position, name) for name in expected} == expected
    assert position.copy() == position
