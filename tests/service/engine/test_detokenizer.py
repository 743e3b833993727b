"""Streamed text is whole characters, never a piece of a stop string, and adds up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamm_model.tokenizer import LammTokenizer
from service.engine.detokenizer import Detokenizer, IncrementalDecoder, StopMatcher, token_text
from tests.service.engine.harness import build_tokenizer

TOKENIZER = LammTokenizer(build_tokenizer())
ids_of_valid_text = st.lists(
    st.one_of(
        st.text(max_size=6).filter(lambda t: "\ufffd" not in t).map(TOKENIZER.encode),
        st.integers(259, TOKENIZER.vocab_size - 1).map(lambda i: [i]),
        st.integers(0, 2).map(lambda i: [i]),
    ),
    max_size=12,
).map(lambda lists: [i for ids in lists for i in ids])


def id_of(piece: str) -> int:
    found = TOKENIZER._tokenizer.token_to_id(piece)
    assert found is not None
    return found


@settings(max_examples=100, deadline=None)
@given(ids_of_valid_text)
def test_pieces_add_up_to_decoding_all_at_once(ids: list[int]) -> None:
    decoder = IncrementalDecoder(TOKENIZER)
    pieces = [decoder.push(i) for i in ids]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + decoder.flush() == TOKENIZER.decode(ids)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=60))
def test_any_ids_at_all_give_text_in_time(ids: list[int]) -> None:
    decoder = IncrementalDecoder(TOKENIZER)
    for i in ids:
        decoder.push(i)
        assert len(decoder._ids) - decoder._given < 16 or decoder._pending_text() == ""
    decoder.flush()
    assert decoder.flush() == ""


def test_a_character_of_several_bytes_comes_whole() -> None:
    ids = [id_of(f"<0x{byte:02X}>") for byte in "é🙂".encode()]
    decoder = IncrementalDecoder(TOKENIZER)
    assert [decoder.push(i) for i in ids] == ["", "é", "", "", "", "🙂"]
    broken = IncrementalDecoder(TOKENIZER)
    assert [broken.push(i) for i in ids[2:5]] == ["", "", ""]
    assert broken.flush() == "\ufffd\ufffd\ufffd"


def test_tokens_without_text_cost_the_same_however_many_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded, decode = [], LammTokenizer.decode

    def record(self: Any, ids: Any) -> Any:
        decoded.append(len(ids))
        return decode(self, ids)

    monkeypatch.setattr(LammTokenizer, "decode", record)
    decoder = IncrementalDecoder(TOKENIZER)
    assert [decoder.push(2) for _ in range(300)] == [""] * 300
    assert max(decoded) <= 2
    border = id_of("\u2581")
    # A space at the beginning is held, a second one shows it.
    assert [decoder.push(i) for i in (border, 2, border, 2)] == ["", "", " ", ""]
    assert max(decoded) <= 4


@pytest.mark.parametrize("more", [[], [2], [200, 201], [10**6] * 3])
def test_after_words_a_text_keeps_its_first_space(more: Any) -> None:
    prompt = [1, *TOKENIZER.encode("a picture"), *more]
    ids = TOKENIZER.encode("of a cat\u00e9")
    after = IncrementalDecoder(TOKENIZER, prompt)
    assert "".join(after.push(i) for i in ids) == " of a cat\u00e9"
    first = IncrementalDecoder(TOKENIZER, [1, *more])
    assert "".join(first.push(i) for i in ids) == "of a cat\u00e9"


def test_given_text_stands_when_bytes_turn_out_broken() -> None:
    byte = [id_of(f"<0x{b:02X}>") for b in (0xC3, 0xA9, 0xE2)]
    decoder = IncrementalDecoder(TOKENIZER)
    pieces = [decoder.push(i) for i in [*byte, *TOKENIZER.encode("the")]]
    assert "".join(pieces) + decoder.flush() == "é\ufffd the"


alphabet = st.text(alphabet="ab#\n", max_size=4)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(alphabet, max_size=10),
    st.lists(alphabet.filter(bool), max_size=3).map(tuple),
)
def test_no_stop_string_leaks_however_the_text_is_cut(
    pieces: list[str], stop: tuple[str, ...]
) -> None:
    text = "".join(pieces)
    matcher = StopMatcher(stop)
    shown = [matcher.push(piece) for piece in pieces]
    for i in range(len(shown)):
        assert text.startswith("".join(shown[: i + 1]))
    whole = "".join(shown) + matcher.flush()
    at_once = StopMatcher(stop)
    assert at_once.push(text) + at_once.flush() == whole
    assert at_once.matched == matcher.matched
    if matcher.matched is None:
        assert whole == text
        assert not any(s in text for s in stop)
    else:
        assert text.startswith(whole + matcher.matched)
        assert not any(s in whole for s in stop)


def test_text_is_held_only_while_it_may_still_be_a_stop_string() -> None:
    matcher = StopMatcher(("\n###", "###"))
    assert matcher.push("a#") == "a"
    assert matcher.push("b\n") == "#b"
    assert matcher.push("##") == ""
    assert matcher.push("x") == "\n##x"
    assert matcher.push("\n") == ""
    assert matcher.push("###") == ""
    assert matcher.matched == "\n###"
    assert matcher.push("more") == ""


def test_before_min_tokens_a_stop_string_is_text() -> None:
    matcher = StopMatcher(("###",))
    assert matcher.push("##", may_stop=False) == "##"
    assert matcher.push("###", may_stop=False) == "###"
    assert matcher.push("y###") == "y"
    assert matcher.matched == "###"


def test_detokenizer_is_both() -> None:
    ids = TOKENIZER.encode("a cat\n### Human")
    detokenizer = Detokenizer(TOKENIZER, ("\n###",))
    assert "".join(detokenizer.push(i) for i in ids) == "a cat"
    assert detokenizer.stop_string == "\n###"
    other = Detokenizer(TOKENIZER, ("cat.",))
    assert "".join(other.push(i) for i in TOKENIZER.encode("a cat")) == "a "
    assert other.flush() == "cat"


@pytest.mark.parametrize(
    ("piece", "text"),
    [("<0x0A>", "\n"), ("<0xE2>", "bytes:\\xe2"), ("\u2581the", " the"), ("a", "a")],
)
def test_text_of_one_token(piece: Any, text: str) -> None:
    assert token_text(TOKENIZER, id_of(piece)) == text
    assert token_text(TOKENIZER, 10**6) == ""
