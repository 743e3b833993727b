"""White space around an answer that comes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.generation import AnswerText


@given(st.lists(st.text(alphabet=" \n\tab", max_size=4), max_size=8))
def test_stripping_piecewise_is_stripping(pieces: list[str]) -> None:
    answer = AnswerText()
    assert "".join(map(answer.feed, pieces)) == "".join(pieces).strip()
