"""The wire format of the `lamm-train` preset, spelled out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.conversation import (
    NORMAL_SYSTEM,
    MediaChunk,
    Modality,
    TextChunk,
    Turn,
    neutralise,
    render,
)

IMAGE, CLOUD = Modality.IMAGE, Modality.POINT_CLOUD


def test_a_question_about_a_picture() -> None:
    assert render([Turn("What is this?", media=(IMAGE,))], "System.") == [
        TextChunk("System.\n\n### Human: <Img>"),
        MediaChunk(IMAGE, 0),
        TextChunk("</Img> What is this?\n### Assistant:"),
    ]


def test_a_question_without_media_and_without_system() -> None:
    assert render([Turn("Hello")], "") == [TextChunk("### Human: Hello\n### Assistant:")]


def test_a_second_turn_with_another_medium() -> None:
    turns = [Turn("One?", "First.", (IMAGE,)), Turn("Two?", None, (CLOUD, IMAGE))]
    assert render(turns, "S") == [
        TextChunk("S\n\n### Human: <Img>"),
        MediaChunk(IMAGE, 0),
        TextChunk("</Img> One?\n### Assistant:"),
        TextChunk("First.\n###", trains=True),
        TextChunk("Human: <Pcl>"),
        MediaChunk(CLOUD, 1),
        TextChunk("</Pcl> <Img>"),
        MediaChunk(IMAGE, 2),
        TextChunk("</Img> Two?\n### Assistant:"),
    ]


def test_the_default_system_text() -> None:
    first = render([Turn("Hi")])[0]
    assert isinstance(first, TextChunk)
    assert first.text.startswith(NORMAL_SYSTEM + "\n\n### Human: ")


def test_only_answers_train() -> None:
    chunks = render([Turn("a", "b"), Turn("c", "d")])
    assert [c.text for c in chunks if isinstance(c, TextChunk) and c.trains] == ["b\n###", "d\n###"]


def test_an_unanswered_turn_in_the_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="turn 0 of 2"):
        render([Turn("a"), Turn("b")])
    with pytest.raises(ValueError, match="at least one turn"):
        render([])


@pytest.mark.parametrize("text", ["<Img>", "</Img>", "<IMAGE>", "<Pcl>", "</point_cloud>", "###"])
def test_forged_borders_are_broken(text: str) -> None:
    assert text not in neutralise(f"a {text} b")


@given(st.text(alphabet="#<>/ImgPclHuman: \n", max_size=40))
def test_nothing_neutralised_forges_anything(text: str) -> None:
    harmless = neutralise(text)
    assert "###" not in harmless
    assert "<img>" not in harmless.lower()
    assert "</pcl>" not in harmless.lower()
    assert neutralise(harmless) == harmless


def test_ordinary_text_is_untouched() -> None:
    assert neutralise("a < b, c > d, # and ## and <b>") == "a < b, c > d, # and ## and <b>"
