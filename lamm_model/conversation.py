"""Prompt presets: how a conversation becomes the chunks a LAMM checkpoint was trained on.

The only place that spells a prompt's wire format. The service and the trainer both call `render`;
each chunk is tokenised apart (`lamm_model.tokenizer`), as LAMM's own training did
(OpenLAMM `src/model/openlamm.py` @ d5ca246).
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


def render(turns: Sequence[Turn], system: str = NORMAL_SYSTEM) -> list[Chunk]:
    """Chunks of the `lamm-train` preset; the BOS token before them is the tokenizer's affair.

    Args:
        turns: at least one; every turn but the last has an answer. Texts are taken as they are:
            callers neutralise what comes from outside.
        system: text before the first `### Human:`; "" leaves it out, as training without
            `--use_system` did.

    Raises:
        ValueError: no turns, or an unanswered turn before the last.
    """
    if not turns:
        raise ValueError("a conversation needs at least one turn; it has 0")
    chunks: list[Chunk] = []
    pending = f"{system}\n\n### Human: " if system else "### Human: "
    count = 0
    for number, turn in enumerate(turns):
        for modality in turn.media:
            opening, closing = _TAGS[modality]
            chunks += [TextChunk(pending + opening), MediaChunk(modality, count)]
            # Training wrote one space between the closing tag and the question.
            pending, count = closing + " ", count + 1
        chunks.append(TextChunk(f"{pending}{turn.human}\n### Assistant:"))
        if turn.assistant is None:
            if number != len(turns) - 1:
                raise ValueError(
                    f"turn {number} of {len(turns)} has no answer; only the last may lack one"
                )
            return chunks
        chunks.append(TextChunk(f"{turn.assistant}\n###", trains=True))
        # The "###" of the next turn is the one that ended this answer.
        pending = "Human: "
    return chunks
