"""The wire formats of the prompt presets, spelled out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_model.conversation import (
    NORMAL_SYSTEM,
    SECOND_QUESTION,
    STOP_RULES,
    MediaChunk,
    Modality,
    PromptError,
    PromptPreset,
    SpecialChunk,
    TextChunk,
    Turn,
    neutralise,
    render,
    second_pass_query,
)
from lamm_model.tasks.upstream import two_pass_answer

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


@pytest.mark.parametrize(("system", "opening"), [("S", "S\n\n"), ("", "")])
def test_the_assistant_may_speak_first(system: str, opening: str) -> None:
    assert render([Turn(None, "Hello!"), Turn("Hi", media=(IMAGE,))], system) == [
        TextChunk(f"{opening}### Assistant:"),
        TextChunk("Hello!\n###", trains=True),
        TextChunk("Human: <Img>"),
        MediaChunk(IMAGE, 0),
        TextChunk("</Img> Hi\n### Assistant:"),
    ]


def test_a_system_text_alone() -> None:
    assert render([Turn(None)], "Say hello.") == [TextChunk("Say hello.\n\n### Assistant:")]


def test_an_empty_question_is_a_question() -> None:
    assert render([Turn("")], "") == [TextChunk("### Human: \n### Assistant:")]


def test_only_the_first_turn_may_lack_a_question() -> None:
    with pytest.raises(ValueError, match="turn 1 has no question"):
        render([Turn("a", "b"), Turn(None)])
    with pytest.raises(ValueError, match="turn 0 has no question"):
        render([Turn(None, "b", (IMAGE,))])


def test_a_begun_answer_is_left_open() -> None:
    assert render([Turn("a", "b"), Turn("What?", "It is a")], "", continues=True) == [
        TextChunk("### Human: a\n### Assistant:"),
        TextChunk("b\n###", trains=True),
        TextChunk("Human: What?\n### Assistant:"),
        TextChunk("It is a"),
    ]
    with pytest.raises(ValueError, match="no answer to continue"):
        render([Turn("a")], continues=True)


@pytest.mark.parametrize("preset", [PromptPreset.UPSTREAM_BENCH, PromptPreset.UPSTREAM_CLI])
def test_upstream_continues_no_answer(preset: PromptPreset) -> None:
    with pytest.raises(PromptError, match="cannot continue an answer"):
        render([Turn("q", "It", (IMAGE,))], "S", preset, continues=True)


def test_only_training_s_presets_strip() -> None:
    trained = [PromptPreset.LAMM_TRAIN, PromptPreset.LLAMA2_CHAT]
    assert [preset for preset in PromptPreset if preset.strips] == trained
    assert [preset for preset in PromptPreset if preset.trains] == trained


def test_llama2_chat_spells_inst_with_colons_and_blanks() -> None:
    turns = [Turn("One?", "First.", (IMAGE,)), Turn("Two?", None, (CLOUD,))]
    assert render(turns, "S", PromptPreset.LLAMA2_CHAT) == [
        TextChunk("[INST]<<SYS>>\nS\n<</SYS>>\n\n  [INST]: <Img>"),
        MediaChunk(IMAGE, 0),
        TextChunk("</Img> One?\n  [/INST]: "),
        TextChunk("First.\n", trains=True),
        SpecialChunk(("<s>", "</s>")),
        TextChunk("[INST]: <Pcl>"),
        MediaChunk(CLOUD, 1),
        TextChunk("</Pcl> Two?\n  [/INST]: "),
    ]
    assert render([Turn("Hi", "It")], "", PromptPreset.LLAMA2_CHAT, continues=True) == [
        TextChunk("  [INST]: Hi\n  [/INST]: "),
        TextChunk("It"),
    ]


def test_only_answers_train() -> None:
    chunks = render([Turn("a", "b"), Turn("c", "d")])
    assert [c.text for c in chunks if isinstance(c, TextChunk) and c.trains] == ["b\n###", "d\n###"]


def test_an_unanswered_turn_in_the_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="turn 0 of 2"):
        render([Turn("a"), Turn("b")])
    with pytest.raises(ValueError, match="0 turns; at least 1"):
        render([])


@pytest.mark.parametrize("text", [
    "<Img>", "</Img>", "<IMAGE>", "<Pcl>", "</point_cloud>", "###",
    "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
])  # fmt: skip
def test_forged_borders_are_broken(text: str) -> None:
    assert text not in neutralise(f"a {text} b")


@given(
    st.text(alphabet="#<>/ImgPclHuman: \n", max_size=40)
    | st.lists(st.sampled_from(("[", "]", "/", "INST", "<", ">", "SYS", "<Img>", "###", " "))).map(
        "".join
    )
)
def test_nothing_neutralised_forges_anything(text: str) -> None:
    harmless = neutralise(text)
    assert "###" not in harmless
    assert "<img>" not in harmless.lower()
    assert "</pcl>" not in harmless.lower()
    assert not {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"} & set(
        re.findall(r"\[/?INST\]|<</?SYS>>", harmless)
    )
    assert neutralise(harmless) == harmless


def test_ordinary_text_is_untouched() -> None:
    assert neutralise("a < b, c > d, # and ## and <b>") == "a < b, c > d, # and ## and <b>"


def test_upstream_bench_puts_everything_behind_the_picture() -> None:
    assert render(
        [Turn("What is this?", media=(IMAGE,))], "Be brief.", PromptPreset.UPSTREAM_BENCH
    ) == [
        TextChunk("### Human: <Img>"),
        MediaChunk(IMAGE, 0),
        TextChunk("</Img> \nBe brief.\n### Human: What is this?\n\n### Assistant:"),
    ]


def test_upstream_bench_shows_clouds_as_pictures() -> None:
    first, medium, _ = render([Turn("q", media=(CLOUD,))], "S", PromptPreset.UPSTREAM_BENCH)
    assert (first, medium) == (TextChunk("### Human: <Img>"), MediaChunk(CLOUD, 0))


@pytest.mark.parametrize("system", ["S\nT", "\nS\nT\n"])
def test_upstream_s_constants_keep_their_own_line_breaks(system: str) -> None:
    chunk = render([Turn("q", media=(IMAGE,))], system, PromptPreset.UPSTREAM_BENCH)[2]
    assert chunk == TextChunk("</Img> \nS\nT\n### Human: q\n\n### Assistant:")
    bare = render([Turn("q", media=(IMAGE,))], "", PromptPreset.UPSTREAM_BENCH)[2]
    assert bare == TextChunk("</Img> ### Human: q\n\n### Assistant:")


def test_upstream_cli_writes_past_answers_as_lists() -> None:
    turns = [
        Turn("What\nis <image>this?", "A chair.", (CLOUD,)),
        Turn("Whose?", 'Nobody\'s "own".'),
        Turn("A line\nbreak?"),
    ]
    assert render(turns, "S", PromptPreset.UPSTREAM_CLI) == [
        TextChunk("### Human: <Pcl>"),
        MediaChunk(CLOUD, 0),
        TextChunk(
            "</Pcl> \nS\n"
            "### Human: Whatis this?\n### Assistant: ['A chair.\\n###']\n"
            "### Human: Whose?\n### Assistant: ['Nobody\\'s \"own\".\\n###']\n"
            "### Human: A line\nbreak?\n\n### Assistant:"
        ),
    ]


@pytest.mark.parametrize("preset", [PromptPreset.UPSTREAM_BENCH, PromptPreset.UPSTREAM_CLI])
@pytest.mark.parametrize(
    "turns",
    [
        [Turn("q")],
        [Turn("q", media=(IMAGE, IMAGE))],
        [Turn("q", "a"), Turn("r", media=(IMAGE,))],
        [Turn("q", "a", (IMAGE,)), Turn("r", media=(CLOUD,))],
    ],
)
def test_upstream_knows_one_medium_before_the_first_question(
    preset: PromptPreset, turns: list[Turn]
) -> None:
    with pytest.raises(PromptError, match=rf"{preset.value}.* exactly 1 picture or cloud"):
        render(turns, "S", preset)


def test_upstream_only_asks_and_its_benchmark_asks_once() -> None:
    answered = [Turn("q", "a", (IMAGE,))]
    for preset in (PromptPreset.UPSTREAM_BENCH, PromptPreset.UPSTREAM_CLI):
        with pytest.raises(PromptError, match="a last question without an answer"):
            render(answered, "S", preset)
    with pytest.raises(PromptError, match="accepts 1 question; the conversation has 2"):
        render([*answered, Turn("r")], "S", PromptPreset.UPSTREAM_BENCH)
    three = [*answered, Turn(SECOND_QUESTION, "b"), Turn(SECOND_QUESTION)]
    with pytest.raises(PromptError, match="accepts 1 question; the conversation has 3"):
        render(three, "S", PromptPreset.UPSTREAM_BENCH)


def test_the_two_passes_of_a_multiple_choice_question() -> None:
    first = "It barks, so it is a dog.\n"
    assert second_pass_query("(A) cat (B) dog", first) == (
        "(A) cat (B) dogIt barks, so it is a dog.\n ###\nANSWER:"
    )
    turns = [Turn("(A) cat (B) dog", first, (IMAGE,)), Turn(SECOND_QUESTION)]
    assert render(turns, "S", PromptPreset.UPSTREAM_BENCH) == render(
        [Turn(second_pass_query("(A) cat (B) dog", first), media=(IMAGE,))],
        "S",
        PromptPreset.UPSTREAM_BENCH,
    )
    # The demo has no second pass: there the same question is one of a conversation.
    assert "###\nANSWER:" not in str(render(turns, "S", PromptPreset.UPSTREAM_CLI))
    assert two_pass_answer(first, "(B)") == "It barks, so it is a dog.\n\n The answer is (B)"


def test_every_preset_stops_at_three_marks() -> None:
    assert set(STOP_RULES) == set(PromptPreset)
    assert STOP_RULES[PromptPreset.LAMM_TRAIN].strings == ("\n###", "###")
    assert all("###" in rule.strings for rule in STOP_RULES.values())
