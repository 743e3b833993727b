"""The record model: what training and `lamm data check` accept as a conversation about media.

Format (OpenLAMM, "Meta file format"): `{id, image | pcl, conversations: [{from: human | gpt,
value}], task_type}`. `training.data.reading` builds the records; `training.datasets` adds the
stricter types of the published files. Torch-free.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lamm_model.conversation import NORMAL_SYSTEM, Modality, Turn, neutralise

DEFAULT_TASK_TYPE = "normal"

# Kinds of fault, as error types of the validators below and as `lamm data check` reports them.
FaultKind = Literal["schema", "empty_conversation", "wrong_speaker"]

# Upstream strips a placeholder together with the newline it touches, and only those.
_PLACEHOLDER = re.compile(r"<(?:image|pcl)>\n|\n<(?:image|pcl)>")


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


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


UnicodeText = Annotated[str, AfterValidator(_valid_unicode)]
Text = Annotated[UnicodeText, AfterValidator(_not_blank)]
# Training takes one path or a list of paths.
_Paths = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more)]


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


class ConversationRecord(DatasetRecord):
    """A conversation to learn from: messages of human and gpt in turn, ending with gpt."""

    conversations: tuple[Message, ...]
    task_type: UnicodeText = DEFAULT_TASK_TYPE

    @model_validator(mode="after")
    def _is_a_conversation(self) -> Self:
        if not self.conversations:
            raise PydanticCustomError("empty_conversation", "conversations has no messages")
        for number, message in enumerate(self.conversations):
            expected = ("human", "gpt")[number % 2]
            if message.speaker != expected:
                fault = f"is from '{message.speaker}'; expected '{expected}'"
                raise PydanticCustomError("wrong_speaker", f"conversations[{number}] {fault}")
            if expected == "gpt" and not message.value.strip():
                fault = f"conversations[{number}] is an empty answer"
                raise PydanticCustomError("empty_conversation", fault)
        if len(self.conversations) % 2:
            fault = f"{len(self.conversations)} messages; the last question has no answer"
            raise PydanticCustomError("wrong_speaker", f"conversations has {fault}")
        return self

    def turns(self) -> tuple[Turn, ...]:
        """Questions with their answers; placeholders of media removed, role markers defused."""
        questions = [message.value for message in self.conversations[::2]]
        questions[0] = _PLACEHOLDER.sub("", questions[0])
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


def system_prompt(prompts: Mapping[str, str], task_type: str) -> str:
    """The system prompt for a task type; types without one get that of `normal`."""
    return prompts.get(task_type, prompts.get(DEFAULT_TASK_TYPE, NORMAL_SYSTEM))
