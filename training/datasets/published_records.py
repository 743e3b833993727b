"""What every published record holds, and the conversations of the instruction files.

Records are built by `training.datasets.reading` from JSON items; `training.datasets.layout` says
which file has which type. Validation refuses what no task could use; `doubts` names what is odd but
usable. Field names are the files' own (OpenLAMM, "Meta file format").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lamm_model.conversation import Modality, Turn, neutralise
from training.data.records import DEFAULT_TASK_TYPE, strip_placeholders
from training.datasets.complaints import Kind

# The keys of upstream's table of system texts (`model/conversations.py`), its spellings included;
# upstream stops with a KeyError at any other.
TASK_TYPES = frozenset(
    {
        "classification", "detection", "keypoint_detection", "VQA", "counting", "conversation",
        "description", "commomsenseqa", "normal", "classification3d", "detection3d", "VQA3d",
        "VQA3D", "conversation3d", "description3d", "commomsenseqa3d", "visual_grounding3d",
    }
)  # fmt: skip


class Doubt(NamedTuple):
    """Something odd about a record that can still be used."""

    kind: Kind
    message: str


def _text(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError(Kind.SCHEMA, "is empty text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            Kind.SCHEMA,
            "has a character that is not valid Unicode at {at}; is the file UTF-8?",
            {"at": error.start},
        ) from None
    return value


def integer_as_text(value: Any) -> Any:
    """An integer as its digits; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, AfterValidator(_text)]
# Ids and attributes are numbers in some files and text in others.
TextOrInteger = Annotated[Text, BeforeValidator(integer_as_text)]


class DatasetRecord(BaseModel, ABC):
    """What every record has. `media_name` is the path of its medium, as the file spells it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    modality: ClassVar[Modality]
    id: TextOrInteger

    @property
    @abstractmethod
    def media_name(self) -> str:
        """Path relative to the folder of the dataset, perhaps with a leading `./`."""

    @abstractmethod
    def turns(self) -> tuple[Turn, ...]:
        """The texts as the model sees them; the medium precedes the first question."""

    def doubts(self) -> Iterator[Doubt]:
        """What is odd about the record."""
        yield from ()


class PictureRecord(DatasetRecord):
    """A record about one picture."""

    modality = Modality.IMAGE
    image: Text

    @property
    def media_name(self) -> str:
        """See `DatasetRecord`."""
        return self.image


class CloudRecord(DatasetRecord):
    """A record about one point cloud."""

    modality = Modality.POINT_CLOUD
    pcl: Text

    @property
    def media_name(self) -> str:
        """See `DatasetRecord`."""
        return self.pcl


class Message(BaseModel):
    """One side's words in a conversation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str


class InstructionRecord(DatasetRecord):
    """A conversation to learn from: human and gpt in turn."""

    conversations: tuple[Message, ...]
    task_type: Text = DEFAULT_TASK_TYPE

    @model_validator(mode="after")
    def _is_a_conversation(self) -> Self:
        if not self.conversations:
            raise PydanticCustomError(Kind.EMPTY_CONVERSATION, "the conversation has 0 messages")
        for number, message in enumerate(self.conversations):
            expected = ("human", "gpt")[number % 2]
            if message.speaker != expected:
                raise PydanticCustomError(
                    Kind.WRONG_SPEAKER,
                    "message {number} is from '{speaker}', not '{expected}'",
                    {"number": number, "speaker": message.speaker, "expected": expected},
                )
            if not message.value.strip():
                raise PydanticCustomError(
                    Kind.EMPTY_CONVERSATION, "message {number} is empty", {"number": number}
                )
            _text(message.value)
        if len(self.conversations) % 2:
            raise PydanticCustomError(
                Kind.WRONG_SPEAKER,
                "{count} messages: the last question has no answer",
                {"count": len(self.conversations)},
            )
        return self

    def turns(self) -> tuple[Turn, ...]:
        """See `DatasetRecord`."""
        pairs = zip(self.conversations[::2], self.conversations[1::2], strict=True)
        first, *later = ((question.value, neutralise(answer.value)) for question, answer in pairs)
        return (
            Turn(neutralise(strip_placeholders(first[0])), first[1], (self.modality,)),
            *(Turn(neutralise(question), answer) for question, answer in later),
        )

    def doubts(self) -> Iterator[Doubt]:
        """See `DatasetRecord`."""
        if self.task_type not in TASK_TYPES:
            yield Doubt(Kind.UNKNOWN_TASK_TYPE, f"task_type is {self.task_type!r:.60}")


class PictureInstruction(PictureRecord, InstructionRecord):
    """2D_Instruct."""


class CloudInstruction(CloudRecord, InstructionRecord):
    """3D_Instruct."""


class QuestionRecord(DatasetRecord):
    """A benchmark question; its answer's fields are the families' below."""

    query: Text

    def turns(self) -> tuple[Turn, ...]:
        """See `DatasetRecord`."""
        return (Turn(neutralise(self.query), media=(self.modality,)),)
