"""The chat template gives the token ids of the prompt presets."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lamm_model.checkpoint.export.llava.chat_template import (
    chat_template,
    fitted_template,
    messages_of,
    service_ids,
    template_ids,
)
from lamm_model.checkpoint.export.llava.tokenizer import llava_tokenizer
from lamm_model.conversation import Modality, PromptError, PromptPreset, Turn
from lamm_model.spec import CheckpointError, CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from tests.lamm_model.golden_prompts import build_tokenizer, fetch_vocabulary
from training.tiny import make_tiny_base

MINI = Path(__file__).parents[4] / "checkpoints" / "lamm-mini"
PICTURE = (Modality.IMAGE,)
# What borders, tags, marks and bytes are made of. No special token can be spelled with it.
PIECES = (
    "What", "is", "a", "coat", "0.12", "7", ".", ",", ":", ";", "(", "]", "-", "#", "##", "###",
    "####", "<", ">", "</", "/", "<Img>", "</IMG>", "<image>", "<point_cloud>", "<PointCloud>",
    "<pcl", "img>", "<\u0130mg>", "<\u0131mg>", " ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u2581",
    "\u00e9", "e\u0301", "\u6f22\u5b57", "\U0001f600", "Human:", "### Human: ", "### Assistant:",
    "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "INST", "{{ x }}", "{% if %}", "\\n", '"', "'",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@st.composite
def conversations(draw: st.DrawFn) -> list[Turn]:
    """One to four turns; a turn has a text or a picture."""
    count = draw(st.integers(1, 4))
    turns = []
    for number in range(count):
        media = PICTURE * draw(st.sampled_from((0, 1, 1, 2)))
        human = draw(TEXTS)
        if not human.strip() and not media:
            human += "Hello"
        turns.append(Turn(human, draw(TEXTS) if number < count - 1 else None, media))
    return turns


def crosses(lamm: LammTokenizer, preset: PromptPreset, turns: list[Turn]) -> bool:
    """Whether a past answer joins the blank before it, so that no template gives its ids.

    Two blanks meet there in `llama2-chat` alone.
    """
    before = ": "
    answers = [
        f"{(turn.assistant or '').strip()}\n" for turn in turns if turn.assistant is not None
    ]
    return preset is PromptPreset.LLAMA2_CHAT and any(
        lamm.encode(f"{before} {answer}") != lamm.encode(before) + lamm.encode(answer)
        for answer in answers
    )


class Prompts:
    """Both ways from a conversation to token ids."""

    def __init__(self, spec: CheckpointSpec, lamm: LammTokenizer) -> None:
        self.spec, self.lamm = spec, lamm
        self.tokenizer = llava_tokenizer(lamm, spec.image_token_id)
        self.template = fitted_template(spec, lamm, self.tokenizer).text

    def ids(self, messages: list[dict[str, Any]]) -> list[int]:
        return template_ids(self.tokenizer, self.template, messages)

    def agree(self, turns: list[Turn], system: str | None) -> bool:
        """Whether the ids are equal, or neither way takes the conversation."""
        try:
            wanted = service_ids(self.spec, self.lamm, turns, system)
        except PromptError:
            with pytest.raises(jinja2.TemplateError):
                self.ids(messages_of(turns, system))
            return True
        return self.ids(messages_of(turns, system)) == wanted


def mini(preset: PromptPreset = PromptPreset.LAMM_TRAIN) -> Prompts:
    spec = CheckpointSpec.from_pretrained(MINI, prompt_preset=preset)
    return Prompts(spec, LammTokenizer.from_pretrained(MINI))


PROMPTS = {preset: mini(preset) for preset in PromptPreset}


@pytest.mark.parametrize("preset", PromptPreset)
@given(turns=conversations(), system=st.none() | TEXTS)
@settings(max_examples=300)
def test_ids_are_those_of_the_preset(
    preset: PromptPreset, turns: list[Turn], system: str | None
) -> None:
    assume(not crosses(PROMPTS[preset].lamm, preset, turns))
    assert PROMPTS[preset].agree(turns, system)


@given(
    turns=conversations(),
    system=st.none() | TEXTS,
    marks=st.lists(
        st.sampled_from(
            (
                "<s>",
                "</s>",
                "<unk>",
                "<image>",
                "<<s>s>",
                "</<s>s>",
                "<lamm_unused_9>",
                "<imag<s>e>",
            )
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_no_text_spells_a_special_token(
    turns: list[Turn], system: str | None, marks: list[str]
) -> None:
    """Only these texts get other ids than in the service, which reads them as plain text."""
    prompts = PROMPTS[PromptPreset.LAMM_TRAIN]
    told = [Turn((turn.human or "") + "".join(marks), turn.assistant, turn.media) for turn in turns]
    ids = prompts.ids(messages_of(told, system))
    assert ids[0] == prompts.spec.bos_token_id
    assert not {0, 1, 2} & set(ids[1:])
    pictures = sum(len(turn.media) for turn in turns)
    assert ids.count(prompts.spec.image_token_id) == pictures


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "last message must have role user"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "last message"),
        ([{"role": "assistant", "content": "b"}], "last message must have role user"),
        ([{"role": "tool", "content": "b"}], "role tool is not supported"),
        ([{"role": "user", "content": " \n"}], "neither text nor an image"),
        ([{"role": "user", "content": None}], "role user has no content"),
        ([{"role": "user", "content": [{"type": "point_cloud_url"}]}], "type point_cloud_url"),
        ([{"role": "system", "content": [{"type": "image"}]}], "image in a message with role sys"),
    ],
)
def test_what_the_service_refuses_the_template_refuses(
    messages: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(jinja2.TemplateError, match=reason):
        PROMPTS[PromptPreset.LAMM_TRAIN].ids(messages)


def test_messages_are_joined_as_in_the_service() -> None:
    prompts = PROMPTS[PromptPreset.LAMM_TRAIN]
    scattered: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "image_url"}]},
        {"role": "developer", "content": "Be"},
        {"role": "user", "content": "two "},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "system", "content": [{"type": "text", "text": "brief"}]},
        {"role": "user", "content": "three"},
    ]
    turns = [Turn("One\ntwo", "A\nb", PICTURE), Turn("three")]
    assert prompts.ids(scattered) == service_ids(prompts.spec, prompts.lamm, turns, "Be\nbrief")


def test_a_checkpoint_s_system_text_is_quoted(tmp_path: Path) -> None:
    text = "Say \"a\\b\" {{ 'x' }}\n\t\u6f22 \U0001f600 {% raw %}"
    (tmp_path / "lamm").mkdir()
    for path in MINI.iterdir():
        (tmp_path / "lamm" / path.name).write_bytes(path.read_bytes())
    processor = (tmp_path / "lamm/processor_config.json").read_text()
    value = json.loads(processor)
    value["system_prompts"]["normal"] = text
    (tmp_path / "lamm/processor_config.json").write_text(json.dumps(value))
    spec = CheckpointSpec.from_pretrained(tmp_path / "lamm")
    prompts = Prompts(spec, LammTokenizer.from_pretrained(tmp_path / "lamm"))
    assert spec.system_text() == text
    assert prompts.agree([Turn("What?", "A.", PICTURE), Turn("So?")], None)


def test_a_byte_level_tokenizer_gets_no_border(tmp_path: Path) -> None:
    make_tiny_base(tmp_path / "base")
    spec = CheckpointSpec.from_pretrained(tmp_path / "base")
    prompts = Prompts(spec, LammTokenizer.from_pretrained(tmp_path / "base"))
    assert 'set border = ""' in prompts.template
    assert prompts.agree([Turn("What?", "A.", PICTURE), Turn("So?")], None)


def test_pieces_across_a_border_are_reported(tmp_path: Path) -> None:
    """A tokenizer that merges the colon of "Assistant:" with the answer: no template can fit."""
    make_tiny_base(tmp_path / "base")
    tokenizer = Tokenizer.from_file(str(tmp_path / "base/tokenizer.json"))
    value = json.loads(tokenizer.to_str())
    value["pre_tokenizer"]["use_regex"] = False
    vocabulary = value["model"]["vocab"]
    del vocabulary[last := max(vocabulary, key=lambda piece: vocabulary[piece])]
    vocabulary[":2"] = len(vocabulary)
    value["model"]["merges"] = [
        pair for pair in value["model"]["merges"] if last not in (*pair, "".join(pair))
    ] + [[":", "2"]]
    lamm = LammTokenizer(Tokenizer.from_str(json.dumps(value)))
    spec = CheckpointSpec.from_pretrained(tmp_path / "base")
    fitted = fitted_template(spec, lamm, llava_tokenizer(lamm, spec.image_token_id))
    assert fitted.differing
    assert all(turns[0].assistant == "2" for turns in fitted.differing)
    assert 0 < len(fitted.differing) < fitted.compared


def test_an_answer_that_joins_the_blank_before_it_is_reported() -> None:
    prompts = PROMPTS[PromptPreset.LLAMA2_CHAT]
    joined = [Turn("Hello.", "Hi!"), Turn("Look.", "I see.", PICTURE), Turn("Again.")]
    assert crosses(prompts.lamm, PromptPreset.LLAMA2_CHAT, joined)
    assert not prompts.agree(joined, None)
    fitted = fitted_template(prompts.spec, prompts.lamm, prompts.tokenizer)
    assert 0 < len(fitted.differing) < fitted.compared
    assert all(len(turns) > 1 for turns in fitted.differing)


def test_a_template_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = PROMPTS[PromptPreset.LAMM_TRAIN]
    wrong = chat_template(prompts.spec, prompts.tokenizer).replace("### Human: ", "### Human:")
    monkeypatch.setattr(
        "lamm_model.checkpoint.export.llava.chat_template.chat_template", lambda *_: wrong
    )
    with pytest.raises(CheckpointError, match="no chat template gives the token ids"):
        fitted_template(prompts.spec, prompts.lamm, prompts.tokenizer)


@pytest.mark.skipif("LAMM_TEST_DOWNLOADS" not in os.environ, reason="fetches a vocabulary")
@pytest.mark.parametrize("preset", PromptPreset)
def test_ids_in_llama_s_own_vocabulary(preset: PromptPreset, tmp_path: Path) -> None:
    vocabulary, merges = fetch_vocabulary(tmp_path)
    lamm = LammTokenizer(build_tokenizer(vocabulary, merges))
    shown = PROMPTS[preset].spec
    prompts = Prompts(replace(shown, vocab_size=32001, image_token_id=32001), lamm)
    checked = 0

    @given(turns=conversations(), system=st.none() | TEXTS)
    @settings(max_examples=1000)
    def compare(turns: list[Turn], system: str | None) -> None:
        nonlocal checked
        assume(not crosses(lamm, preset, turns))
        checked += 1
        assert prompts.agree(turns, system)

    compare()
    assert checked >= 1000
