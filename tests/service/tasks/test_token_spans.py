"""Which tokens wrote which characters of an answer."""

from __future__ import annotations

import pytest

from lamm_model.tasks.reading.coordinates import tidy
from service.engine.base import TokenLogprob
from service.tasks.token_spans import TokenSpans


def tokens(*pieces: str) -> list[TokenLogprob]:
    """Token i has the log-probability -10^i, so that a sum tells which ones it has."""
    return [TokenLogprob(i, piece, -float(10**i)) for i, piece in enumerate(pieces)]


def logprob_of(spans: TokenSpans | None, text: str, part: str) -> float:
    assert spans is not None
    start = tidy(text).index(part)
    return spans.logprob(start, start + len(part))


def test_a_part_has_the_tokens_that_touch_it() -> None:
    text = "dog [0.1, 0.2]"
    spans = TokenSpans.of(text, tokens(" do", "g", " [", "0.1", ",", " 0.2", "]", "\n###"))
    assert logprob_of(spans, text, "dog") == -11
    assert logprob_of(spans, text, "[0.1, 0.2]") == -1111100
    # A space at the start of a token is not a part of it.
    assert logprob_of(spans, text, " ") == 0
    assert spans is not None
    assert spans.total == -11111111


def test_a_token_may_be_in_two_parts() -> None:
    text = "dog[0.1, 0.2]"
    spans = TokenSpans.of(text, tokens("do", "g[", "0.1, 0.2]"))
    assert logprob_of(spans, text, "dog") == -11
    assert logprob_of(spans, text, "[0.1, 0.2]") == -110


def test_bytes_of_one_character() -> None:
    text = "\u00fc [0.1, 0.2]"
    spans = TokenSpans.of(text, tokens(" ", "bytes:\\xc3", "bytes:\\xbc", " [0.1", ", 0.2]"))
    assert logprob_of(spans, text, "[0.1, 0.2]") == -11000
    assert logprob_of(spans, text, "\u00fc") == -100


def test_tidying_moves_characters() -> None:
    # A ligature becomes two letters, and two spaces become one.
    text = "\ufb01g  [0.1, 0.2]"
    assert tidy(text) == "fig [0.1, 0.2]"
    spans = TokenSpans.of(text, tokens("\ufb01", "g ", " [0.1", ", 0.2]"))
    assert logprob_of(spans, text, "fig") == -11
    assert logprob_of(spans, text, "[0.1, 0.2]") == -1100


@pytest.mark.parametrize("pieces", [(), (" cat",), ("dog [0.1,",)])
def test_tokens_that_do_not_spell_the_text_give_none(pieces: tuple[str, ...]) -> None:
    assert TokenSpans.of("dog [0.1, 0.2]", tokens(*pieces)) is None
