"""Base types of the published records, and the conversations of the instruction files.

`training.datasets.layout` says which file has which type. Validation refuses what no task could
use; `doubts` names what is odd but usable. Field names are the files' own (OpenLAMM, "Meta file
format").
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from lamm_model.conversation import Modality, Turn, neutralise
from training.data.records import ConversationRecord, DatasetRecord, Text
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


def integer_as_text(value: Any) -> Any:
    """An integer as its digits; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Ids and attributes are numbers in some files and text in others.
TextOrInteger = Annotated[Text, BeforeValidator(integer_as_text)]


class PublishedRecord(DatasetRecord):
    """A record about one medium."""

    modality: ClassVar[Modality]
    id: TextOrInteger

    @property
    @abstractmethod
    def media_name(self) -> str:
        """Path relative to the folder of the dataset, as spelled in the file, perhaps `./a`."""

    @property
    def media_names(self) -> tuple[tuple[Modality, str], ...]:
        return ((self.modality, self.media_name),)

    def doubts(self) -> Iterator[Doubt]:
        """What is odd about the record."""
        yield from ()


class PictureRecord(PublishedRecord):
    """A record about one picture."""

    modality = Modality.IMAGE
    image: Text

    @property
    def media_name(self) -> str:
        return self.image


class CloudRecord(PublishedRecord):
    """A record about one point cloud."""

    modality = Modality.POINT_CLOUD
    pcl: Text

    @property
    def media_name(self) -> str:
        return self.pcl


class PublishedConversation(PublishedRecord, ConversationRecord):
    """A conversation whose questions all have text."""

    @model_validator(mode="after")
    def _has_no_empty_question(self) -> Self:
        for number, message in enumerate(self.conversations):
            if not message.value.strip():
                fault = f"conversations[{number}] is an empty question"
                raise PydanticCustomError(Kind.EMPTY_CONVERSATION, fault)
        return self

    def doubts(self) -> Iterator[Doubt]:
        if self.task_type not in TASK_TYPES:
            yield Doubt(Kind.UNKNOWN_TASK_TYPE, f"task_type is {self.task_type!r:.60}")


class PictureInstruction(PictureRecord, PublishedConversation):
    """2D_Instruct."""


class CloudInstruction(CloudRecord, PublishedConversation):
    """3D_Instruct."""


class QuestionRecord(PublishedRecord):
    """A benchmark question; its answer's fields are the families' below."""

    query: Text

    def turns(self) -> tuple[Turn, ...]:
        """The question without an answer."""
        return (Turn(neutralise(self.query), media=(self.modality,)),)
