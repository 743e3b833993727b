"""Prompt presets: how a conversation is written as the chunks that a LAMM checkpoint expects.

Serving and training both call `render`. Each chunk is tokenised separately
(`lamm_model.tokenizer`), as in LAMM's own training. `lamm-train` and `llama2-chat` are the layouts
of that training (`prompt_layouts`). The two other presets reproduce the prompts of upstream's
benchmark (OpenLAMM `src/inference_2d.py` @ d5ca246) and terminal demo (`src/cli_demo.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lamm_model.prompt_layouts import LLAMA2_CHAT, VICUNA, PromptLayout

NORMAL_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
# The code that trained on Llama 2 begins the same text with two more words.
LLAMA2_NORMAL_SYSTEM = f"This is a{NORMAL_SYSTEM[1:]}"
STOP_STRINGS = ("\n###", "###")
# What upstream's benchmark writes after its own answer to have it named by a letter.
SECOND_QUESTION = "ANSWER:"


class Modality(StrEnum):
    """Kind of a medium; the API returns the values in `architecture.input_modalities`."""

    IMAGE = "image"
    POINT_CLOUD = "point_cloud"


class PromptPreset(StrEnum):
    """Named prompt formats. LAMM checkpoints were trained with `lamm-train`.

    The one on Llama 2 chat was trained with `llama2-chat`.
    """

    LAMM_TRAIN = "lamm-train"
    LLAMA2_CHAT = "llama2-chat"
    UPSTREAM_BENCH = "upstream-bench"
    UPSTREAM_CLI = "upstream-cli"

    @property
    def trains(self) -> bool:
        """Whether the format has a place for answers, and checkpoints are trained with it."""
        return self in _LAYOUTS

    @property
    def strips(self) -> bool:
        """Whether white space around what a person or the assistant said is dropped.

        Upstream's programs keep it; their questions end in blanks.
        """
        return self.trains


class PromptError(ValueError):
    """The preset cannot express a conversation; the message is safe to show to a client."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """What ends an answer.

    The answer ends before any of `strings`. `token_ids` are upstream's own rule, in LLaMA's
    vocabulary: generation stops after either sequence ("##" "#", or "###" at a word border) and the
    text is cut afterwards. Each sequence spells "###", so `strings` stop at the same point or
    earlier and give the same text. The sequence of BOS and EOS stops wherever EOS does.
    """

    strings: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...] = ((2277, 29937), (835,))


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with the media before it, and its answer (None: to be generated).

    `human` is None where the assistant speaks first, which only the first turn can say.
    """

    human: str | None
    assistant: str | None = None
    media: tuple[Modality, ...] = ()


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Text that is tokenised separately. `trains` marks answers, the only text in the loss."""

    text: str
    trains: bool = False


@dataclass(frozen=True, slots=True)
class MediaChunk:
    """Position of medium `index`, counted from 0 over all turns of the conversation."""

    modality: Modality
    index: int


@dataclass(frozen=True, slots=True)
class SpecialChunk:
    """Special tokens, by their pieces in the vocabulary. They end an answer and train with it."""

    pieces: tuple[str, ...]


Chunk = TextChunk | MediaChunk | SpecialChunk

_LAYOUTS: Mapping[PromptPreset, PromptLayout] = {
    PromptPreset.LAMM_TRAIN: VICUNA,
    PromptPreset.LLAMA2_CHAT: LLAMA2_CHAT,
}

STOP_RULES: Mapping[PromptPreset, StopRule] = {
    # Training ended each answer with a line break and the marks; neither is part of the answer.
    PromptPreset.LAMM_TRAIN: StopRule(STOP_STRINGS),
    # EOS ends these answers. Upstream also stops at the marks, whatever the template, and its
    # programs keep the line break that training wrote before EOS.
    PromptPreset.LLAMA2_CHAT: StopRule(STOP_STRINGS, ((2277, 29937), (835,), (1, 2))),
    # Upstream's benchmark cuts at the marks alone, which keeps the line break.
    PromptPreset.UPSTREAM_BENCH: StopRule(("###",)),
    # Upstream's demo shows the text before a line break and two marks.
    PromptPreset.UPSTREAM_CLI: StopRule(("\n##", "###")),
}

_TAGS: Mapping[Modality, tuple[str, str]] = {
    Modality.IMAGE: ("<Img>", "</Img>"),
    Modality.POINT_CLOUD: ("<Pcl>", "</Pcl>"),
}
_SPELLED_PLACEHOLDER = re.compile(r"</?(?:img|pcl|image|point_?cloud)>", re.IGNORECASE)
_SPELLED_TURN = re.compile(r"#{3,}")
_SPELLED_ROLE = re.compile(r"\[/?INST\]|<</?SYS>>")


def neutralise(text: str) -> str:
    """User text in which no media tag and no turn marker can be spelled."""
    text = _SPELLED_PLACEHOLDER.sub(lambda m: m[0].replace("<", "< ").replace(">", " >"), text)
    text = _SPELLED_TURN.sub(lambda m: " ".join(m[0]), text)
    return _SPELLED_ROLE.sub(lambda m: f"{m[0][0]} {m[0][1:-1]} {m[0][-1]}", text)


def render(
    turns: Sequence[Turn],
    system: str = NORMAL_SYSTEM,
    preset: PromptPreset = PromptPreset.LAMM_TRAIN,
    *,
    continues: bool = False,
) -> list[Chunk]:
    """Chunks of a conversation; `LammTokenizer.encode_prompt` adds the BOS token.

    Args:
        turns: at least one; every turn except the last has an answer. Texts are not escaped:
            the caller applies `neutralise` to untrusted text.
        system: the layouts of training write it before the first question; "" omits it, as
            training without `--use_system` did. The other presets write it in the human turn,
            after the medium.
        preset: the prompt format. `upstream-bench` accepts one unanswered turn, or an answered one
            and the question `SECOND_QUESTION` (see `second_pass_query`); `upstream-cli` any number
            of turns. Both require exactly one medium, before the first question.
        continues: whether the last answer is only begun: the model is to go on with it.

    Raises:
        PromptError: the preset cannot express the conversation.
        ValueError: no turns, an unanswered turn before the last, a turn without a question that
            is not the first, or no last answer to continue.
    """
    if not turns:
        raise ValueError("the conversation has 0 turns; at least 1 is required")
    for number, turn in enumerate(turns[:-1]):
        if turn.assistant is None:
            raise ValueError(
                f"turn {number} of {len(turns)} has no answer; only the last turn may have none"
            )
    for number, turn in enumerate(turns):
        if turn.human is None and (number or turn.media):
            raise ValueError(f"turn {number} has no question; only the first turn may have none")
    if continues and turns[-1].assistant is None:
        raise ValueError("the last turn has no answer to continue")
    if preset in _LAYOUTS:
        return _render_train(turns, system, _LAYOUTS[preset], continues)
    return _render_upstream(turns, system, preset, continues)


def second_pass_query(query: str, first_answer: str) -> str:
    """The question of the second pass, which asks for the option letter only.

    Upstream's benchmark asks multiple-choice questions (ScienceQA, AI2D, ScanQA) twice: first the
    query itself, then this text in the same template, with the answer of the first pass.
    """
    return f"{query}{first_answer} ###\n{SECOND_QUESTION}"


def _render_train(
    turns: Sequence[Turn], system: str, layout: PromptLayout, continues: bool
) -> list[Chunk]:
    chunks: list[Chunk] = []
    # Training always began with a question; without one, the assistant's role follows the system
    # text in the same layout.
    opening_role = "" if turns[0].human is None else layout.first_human
    header = f"{layout.before_system}{system}{layout.after_system}" if system else ""
    pending = header + opening_role
    count = 0
    for number, turn in enumerate(turns):
        for modality in turn.media:
            opening, closing = _TAGS[modality]
            chunks += [TextChunk(pending + opening), MediaChunk(modality, count)]
            # Training wrote one space between the closing tag and the question.
            pending, count = closing + " ", count + 1
        question = "" if turn.human is None else f"{turn.human}\n"
        chunks.append(TextChunk(f"{pending}{question}{layout.assistant}"))
        if continues and number == len(turns) - 1:
            chunks.append(TextChunk(turn.assistant or ""))
        elif turn.assistant is not None:
            chunks.append(TextChunk(turn.assistant + layout.answer_end, trains=True))
            if layout.end_tokens:
                chunks.append(SpecialChunk(layout.end_tokens))
        pending = layout.human
    return chunks


def _render_upstream(
    turns: Sequence[Turn], system: str, preset: PromptPreset, continues: bool
) -> list[Chunk]:
    """System text and history follow the medium, inside one human turn."""
    _check_upstream(turns, preset, continues)
    modality = turns[0].media[0]
    # Upstream's 3D benchmark uses the image tags for clouds too.
    tagged = Modality.IMAGE if preset is PromptPreset.UPSTREAM_BENCH else modality
    opening, closing = _TAGS[tagged]
    history, question = "", turns[-1].human
    if preset is PromptPreset.UPSTREAM_CLI:
        history = "".join(_past_turn(turn.human or "", turn.assistant or "") for turn in turns[:-1])
    elif len(turns) > 1:
        question = second_pass_query(turns[0].human or "", turns[0].assistant or "")
    body = f"{_framed(system)}{history}### Human: {question}\n"
    return [
        TextChunk(f"### Human: {opening}"),
        MediaChunk(modality, 0),
        TextChunk(f"{closing} {body}\n### Assistant:"),
    ]


def _check_upstream(turns: Sequence[Turn], preset: PromptPreset, continues: bool) -> None:
    if continues:
        raise PromptError(f"prompt preset {preset.value!r} cannot continue an answer")
    media = sum(len(turn.media) for turn in turns)
    if media != 1 or not turns[0].media:
        raise PromptError(
            f"prompt preset {preset.value!r} requires exactly 1 picture or cloud, before the first "
            f"question; the conversation has {media}, {len(turns[0].media)} in the first turn"
        )
    is_second_pass = len(turns) == 2 and turns[1].human == SECOND_QUESTION
    if preset is PromptPreset.UPSTREAM_BENCH and len(turns) != 1 and not is_second_pass:
        raise PromptError(
            f"prompt preset {preset.value!r} accepts 1 question; the conversation has {len(turns)} "
            f"(a second one can only be {SECOND_QUESTION!r})"
        )
    if turns[-1].assistant is not None:
        raise PromptError(
            f"prompt preset {preset.value!r} requires a last question without an answer"
        )


def _framed(system: str) -> str:
    """The system text between line breaks, as in upstream's constants; "" stays empty."""
    return "\n" + system.removeprefix("\n").removesuffix("\n") + "\n" if system else ""


def _past_turn(question: str, answer: str) -> str:
    """A past turn as upstream's demo writes it.

    The demo keeps the decoder's output, a list of one text that still ends with the marks, and
    formats that list with `str`. It removes `<image>` and line breaks from questions.
    """
    question = question.replace("<image>", "").replace("\n", "")
    printed = str([f"{answer}\n###"])
    return f"### Human: {question}\n### Assistant: {printed}\n"
