"""The record model: what training and `lamm data check` accept as a conversation about media.

Format (OpenLAMM, "Meta file format"): `{id, image | pcl, conversations: [{from: human | gpt,
value}], task_type}`. `training.data.reading` builds the records; `training.datasets` adds the
stricter types of the published files. Torch-free.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lamm_model.conversation import Modality, Turn, neutralise
from lamm_model.system_texts import NORMAL_TASK
from training.data.placeholders import Placeholder, find_placeholders, without_placeholders

DEFAULT_TASK_TYPE = NORMAL_TASK

# Kinds of fault, as error types of the validators below and as `lamm data check` reports them.
FaultKind = Literal[
    "schema",
    "empty_conversation",
    "wrong_speaker",
    "placeholder",
    "unknown_media",
    "missing_media",
]


class InvalidRecord(ValueError):
    """An item that is not a valid record; the message names the field and its value."""

    def __init__(self, kind: FaultKind, fault: str) -> None:
        super().__init__(fault)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One medium on disk."""

    modality: Modality
    path: Path


def _valid_unicode(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            "schema", f"character {error.start} is not valid Unicode; is the file UTF-8?"
        ) from None
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("schema", "text is empty")
    return value


def _any_number(value: Any) -> Any:
    """One path or a list of them; null and "" are what tables write for a record without one."""
    if isinstance(value, float) and math.isnan(value):
        raise PydanticCustomError("schema", "is NaN; write null for a record without a medium")
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


UnicodeText = Annotated[str, AfterValidator(_valid_unicode)]
Text = Annotated[UnicodeText, AfterValidator(_not_blank)]
# Training takes one path, a list of paths, or none.
_Paths = Annotated[tuple[Text, ...], BeforeValidator(_any_number)]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a record's file calls the conversation and its speakers; faults use the same words."""

    messages: str = "conversations"
    human: str = "human"
    gpt: str = "gpt"


class DatasetRecord(BaseModel, ABC):
    """A record of any file; whatever JSON value its id has is kept as text."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: Annotated[UnicodeText, BeforeValidator(str)]

    @property
    @abstractmethod
    def media_names(self) -> tuple[tuple[Modality, str], ...]:
        """The media in the order of the prompt, with their paths as the file spells them."""

    @abstractmethod
    def turns(self) -> tuple[Turn, ...]:
        """The texts as the model sees them; the media precede the first question."""


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: UnicodeText


def _or_default(value: Any) -> Any:
    return DEFAULT_TASK_TYPE if value is None else value


class ConversationRecord(DatasetRecord):
    """A conversation to learn from: messages of human and gpt in turn, ending with gpt."""

    conversations: tuple[Message, ...]
    task_type: Annotated[UnicodeText, BeforeValidator(_or_default)] = DEFAULT_TASK_TYPE

    @model_validator(mode="after")
    def _is_a_conversation(self, info: ValidationInfo) -> Self:
        words = info.context if isinstance(info.context, Spelling) else Spelling()
        if not self.conversations:
            raise PydanticCustomError("empty_conversation", f"{words.messages} has no messages")
        for number, message in enumerate(self.conversations):
            expected: Literal["human", "gpt"] = "gpt" if number % 2 else "human"
            if message.speaker != expected:
                said, wanted = getattr(words, message.speaker), getattr(words, expected)
                fault = f"is from '{said}'; expected '{wanted}'"
                raise PydanticCustomError("wrong_speaker", f"{words.messages}[{number}] {fault}")
            if not message.value.strip() and (number or not self.media_names):
                what = "question" if expected == "human" else "answer"
                fault = f"{words.messages}[{number}] is an empty {what}"
                raise PydanticCustomError("empty_conversation", fault)
        if len(self.conversations) % 2:
            fault = f"{len(self.conversations)} messages; the last question has no answer"
            raise PydanticCustomError("wrong_speaker", f"{words.messages} has {fault}")
        return self

    @model_validator(mode="after")
    def _places_its_placeholders(self, info: ValidationInfo) -> Self:
        words = info.context if isinstance(info.context, Spelling) else Spelling()
        first, *later = self.conversations
        fault = _fault_of_first(first.value, self.media_names)
        if fault is not None:
            raise PydanticCustomError("placeholder", f"{words.messages}[0] {fault}")
        for number, message in enumerate(later, start=1):
            # An answer may speak of a `<video>` element; of these two it cannot.
            found = find_placeholders(message.value)
            if message.speaker == "gpt":
                found = [one for one in found if one.modality is not None]
            if found:
                fault = f"has {found[0].text}; all media stand before the first question"
                raise PydanticCustomError("placeholder", f"{words.messages}[{number}] {fault}")
        return self

    def turns(self) -> tuple[Turn, ...]:
        """Questions with their answers; placeholders of media removed, role markers defused."""
        questions = [message.value for message in self.conversations[::2]]
        questions[0] = without_placeholders(questions[0])
        media = tuple(modality for modality, _ in self.media_names)
        return tuple(
            Turn(neutralise(question), neutralise(answer.value), () if number else media)
            for number, (question, answer) in enumerate(
                zip(questions, self.conversations[1::2], strict=True)
            )
        )


class InstructionRecord(ConversationRecord):
    """A conversation about any number of pictures and clouds, or about none."""

    image: _Paths = ()
    pcl: _Paths = ()

    @property
    def media_names(self) -> tuple[tuple[Modality, str], ...]:
        """Pictures, then clouds."""
        pictures = ((Modality.IMAGE, name) for name in self.image)
        clouds = ((Modality.POINT_CLOUD, name) for name in self.pcl)
        return (*pictures, *clouds)


_KEYS = {Modality.IMAGE: "image", Modality.POINT_CLOUD: "pcl"}
_NAMES = {Modality.IMAGE: "picture", Modality.POINT_CLOUD: "point cloud"}


def _fault_of_first(question: str, media: Sequence[tuple[Modality, str]]) -> str | None:
    """What is wrong with the placeholders of the first question, if anything."""
    found = find_placeholders(question)
    if strange := next((one.text for one in found if one.modality is None), None):
        return f"has {strange}, but LAMM reads only pictures (image) and point clouds (pcl)"
    given = Counter(modality for modality, _ in media)
    # Sets of clouds alone often use the placeholder of pictures.
    clouds_only = bool(given) and not given[Modality.IMAGE]
    asked: Counter[Modality] = Counter()
    for one in found:
        assert one.modality is not None
        modality = Modality.POINT_CLOUD if clouds_only else one.modality
        asked[modality] += 1
        if asked[modality] > given[modality]:
            return _too_many(one, modality, asked[modality], given[modality])
    if within := find_placeholders(without_placeholders(question)):
        return (
            f"has {within[0].text} within the text; all media stand before the first question, so "
            "move it to the start"
        )
    return None


def _too_many(one: Placeholder, modality: Modality, asked: int, given: int) -> str:
    key, name = _KEYS[modality], _NAMES[modality]
    if not given:
        return f"has {one.text}, but the record has no {name} (key {key})"
    return f"has {one.text} as placeholder {asked} of a {name}, but {key} names {given}"
