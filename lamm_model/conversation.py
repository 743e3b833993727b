"""Prompt presets: how a conversation becomes the chunks a LAMM checkpoint was trained on.

The only place that spells a prompt's wire format. The service and the trainer both call `render`;
each chunk is tokenised apart (`lamm_model.tokenizer`), as LAMM's own training did
(OpenLAMM `src/model/openlamm.py` @ d5ca246). `lamm-train` is the layout of that training. The two
others reproduce what upstream's programs asked instead: its benchmark (`src/inference_2d.py`) and
its terminal demo (`src/cli_demo.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

NORMAL_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
STOP_STRINGS = ("\n###", "###")


class Modality(StrEnum):
    """What a medium is; the values appear in the API's `architecture.input_modalities`."""

    IMAGE = "image"
    POINT_CLOUD = "point_cloud"


class PromptPreset(StrEnum):
    """Named wire formats. `lamm-train` is the layout that LAMM checkpoints were trained on."""

    LAMM_TRAIN = "lamm-train"
    UPSTREAM_BENCH = "upstream-bench"
    UPSTREAM_CLI = "upstream-cli"


class PromptError(ValueError):
    """A conversation that the preset has no way to write; the message is fit for a client."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """What ends an answer.

    `strings` end the text before themselves. `token_ids` are upstream's own rule, in LLaMA's
    vocabulary: it stops behind either sequence ("##" "#", or "###" at a word's border) and cuts the
    text afterwards. Every such sequence spells "###", so the strings stop no later, and give the
    same text.
    """

    strings: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...] = ((2277, 29937), (835,))


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with the media that precede it, and its answer (None: to be generated)."""

    human: str
    assistant: str | None = None
    media: tuple[Modality, ...] = ()


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Text tokenised on its own. `trains` marks the answers, the only text that bears loss."""

    text: str
    trains: bool = False


@dataclass(frozen=True, slots=True)
class MediaChunk:
    """The place of the `index`-th medium of the conversation, counted from 0 over all turns."""

    modality: Modality
    index: int


Chunk = TextChunk | MediaChunk

STOP_RULES: Mapping[PromptPreset, StopRule] = {
    # Training ended an answer with the line break and the marks; neither belongs to it.
    PromptPreset.LAMM_TRAIN: StopRule(STOP_STRINGS),
    # Upstream's benchmark cut at the marks alone, and so kept the line break.
    PromptPreset.UPSTREAM_BENCH: StopRule(("###",)),
    # Upstream's demo shows what precedes a line break and two marks.
    PromptPreset.UPSTREAM_CLI: StopRule(("\n##", "###")),
}

_TAGS: Mapping[Modality, tuple[str, str]] = {
    Modality.IMAGE: ("<Img>", "</Img>"),
    Modality.POINT_CLOUD: ("<Pcl>", "</Pcl>"),
}
_SPELLED_PLACEHOLDER = re.compile(r"</?(?:img|pcl|image|point_?cloud)>", re.IGNORECASE)
_SPELLED_TURN = re.compile(r"#{3,}")


def neutralise(text: str) -> str:
    """User text without the spellings that would forge a medium's borders or a new turn."""
    text = _SPELLED_PLACEHOLDER.sub(lambda m: m[0].replace("<", "< ").replace(">", " >"), text)
    return _SPELLED_TURN.sub(lambda m: " ".join(m[0]), text)


def render(
    turns: Sequence[Turn],
    system: str = NORMAL_SYSTEM,
    preset: PromptPreset = PromptPreset.LAMM_TRAIN,
) -> list[Chunk]:
    """Chunks of a conversation; the BOS token before them is the tokenizer's affair.

    Args:
        turns: at least one; every turn but the last has an answer. Texts are taken as they are:
            callers neutralise what comes from outside.
        system: `lamm-train`: text before the first `### Human:`; "" leaves it out, as training
            without `--use_system` did. The others have it in the human's turn, behind the medium.
        preset: the wire format. `upstream-bench` takes one unanswered turn and `upstream-cli` any
            number, both with exactly one medium, before the first question: no more could be asked.

    Raises:
        PromptError: a conversation that the preset cannot write.
        ValueError: no turns, or an unanswered turn before the last.
    """
    if not turns:
        raise ValueError("a conversation needs at least one turn; it has 0")
    for number, turn in enumerate(turns[:-1]):
        if turn.assistant is None:
            raise ValueError(
                f"turn {number} of {len(turns)} has no answer; only the last may lack one"
            )
    if preset is PromptPreset.LAMM_TRAIN:
        return _render_train(turns, system)
    return _render_upstream(turns, system, preset)


def second_pass_query(query: str, first_answer: str) -> str:
    """The question of the second pass, which asks for the letter alone.

    Upstream's benchmark asks multiple-choice questions (ScienceQA, AI2D, ScanQA) twice: first the
    query as it is, then this one in the same template, with the text that the first pass gave.
    """
    return f"{query}{first_answer} ###\nANSWER:"


def two_pass_answer(first_answer: str, second_answer: str) -> str:
    """The text that upstream's benchmark scores after both passes."""
    return f"{first_answer}\n The answer is {second_answer}"


def _render_train(turns: Sequence[Turn], system: str) -> list[Chunk]:
    chunks: list[Chunk] = []
    pending = f"{system}\n\n### Human: " if system else "### Human: "
    count = 0
    for turn in turns:
        for modality in turn.media:
            opening, closing = _TAGS[modality]
            chunks += [TextChunk(pending + opening), MediaChunk(modality, count)]
            # Training wrote one space between the closing tag and the question.
            pending, count = closing + " ", count + 1
        chunks.append(TextChunk(f"{pending}{turn.human}\n### Assistant:"))
        if turn.assistant is not None:
            chunks.append(TextChunk(f"{turn.assistant}\n###", trains=True))
        # The "###" of the next turn is the one that ended this answer.
        pending = "Human: "
    return chunks


def _render_upstream(turns: Sequence[Turn], system: str, preset: PromptPreset) -> list[Chunk]:
    """Everything but the medium stands behind it, in what the model takes for a human's turn."""
    _check_upstream(turns, preset)
    modality = turns[0].media[0]
    if preset is PromptPreset.UPSTREAM_BENCH:
        # Its 3D half never says that it shows a cloud: clouds go by the pictures' tags as well.
        opening, closing = _TAGS[Modality.IMAGE]
    else:
        opening, closing = _TAGS[modality]
    history = "".join(_past_turn(turn.human, turn.assistant or "") for turn in turns[:-1])
    body = f"{_framed(system)}{history}### Human: {turns[-1].human}\n"
    return [
        TextChunk(f"### Human: {opening}"),
        MediaChunk(modality, 0),
        TextChunk(f"{closing} {body}\n### Assistant:"),
    ]


def _check_upstream(turns: Sequence[Turn], preset: PromptPreset) -> None:
    media = sum(len(turn.media) for turn in turns)
    if media != 1 or not turns[0].media:
        raise PromptError(
            f"prompt preset {preset.value!r} takes exactly one picture or cloud, before the first "
            f"question; the conversation has {media}, {len(turns[0].media)} of them there"
        )
    if preset is PromptPreset.UPSTREAM_BENCH and len(turns) != 1:
        raise PromptError(
            f"prompt preset {preset.value!r} takes one question; the conversation has {len(turns)}"
        )
    if turns[-1].assistant is not None:
        raise PromptError(
            f"prompt preset {preset.value!r} only asks, but the last question is answered already"
        )


def _framed(system: str) -> str:
    """The system text between line breaks, as upstream's constants have it; "" stays empty."""
    return "\n" + system.removeprefix("\n").removesuffix("\n") + "\n" if system else ""


def _past_turn(question: str, answer: str) -> str:
    """One past exchange of upstream's demo.

    It keeps what decoding returned, a list of one text with the marks that ended it, and writes
    that list into the prompt as Python prints it; questions lose placeholder and line breaks.
    """
    question = question.replace("<image>", "").replace("\n", "")
    printed = str([f"{answer}\n###"])
    return f"### Human: {question}\n### Assistant: {printed}\n"
