"""Input items of OpenAI's Responses API: messages, function calls and their outputs.

Every length is bounded here, or by the chat messages that the items become.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.absent import NullIsAbsent, Refused, Unread, refused
from service.schemas.messages import MAX_PARTS, PointCloudPart, Text
from service.schemas.openai import MAX_MESSAGES

# The instructions are a message too.
MAX_ITEMS = MAX_MESSAGES - 1

_FileId = Annotated[Text, Field(max_length=128)]


class InputTextPart(BaseModel):
    """Text of a message."""

    type: Literal["input_text"]
    text: Text


class OutputTextPart(BaseModel):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: Text
    annotations: Unread = None
    logprobs: Unread = None


class OutputRefusalPart(BaseModel):
    """A refusal in an earlier answer; read as its text."""

    type: Literal["refusal"]
    refusal: Text


class InputImagePart(BaseModel):
    """A picture: a base64 `data:` URL, an https URL of an allowed host, or a stored file."""

    type: Literal["input_image"]
    image_url: Text | None = None
    file_id: _FileId | None = None
    detail: Unread = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.image_url is None) == (self.file_id is None):
            raise PydanticCustomError("one_image", "must have either image_url or file_id")
        return self


class InputFilePart(BaseModel):
    """A picture or a point cloud as a file: stored, or its bytes as a base64 `data:` URL.

    Its format is found as that of a chat message's file.
    """

    type: Literal["input_file"]
    file_id: _FileId | None = None
    file_data: Text | None = None
    filename: Annotated[Text, Field(max_length=255)] | None = None
    file_url: Annotated[None, Refused("send the bytes in file_data, or a file_id")] = None
    detail: Unread = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file_data is None) == (self.file_id is None):
            raise PydanticCustomError("one_file", "must have either file_id or file_data")
        return self


InputPart = Annotated[
    InputTextPart
    | OutputTextPart
    | OutputRefusalPart
    | InputImagePart
    | InputFilePart
    | PointCloudPart,
    Field(discriminator="type"),
]


def _content_kind(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


InputContent = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[InputPart], Field(max_length=MAX_PARTS, fail_fast=True), Tag("parts")],
    Discriminator(_content_kind),
]


class InputMessage(BaseModel):
    """A message; one without a type is a message too."""

    type: Annotated[Literal["message"], NullIsAbsent()] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: InputContent
    id: Unread = None
    status: Unread = None
    phase: Unread = None


class FunctionCallItem(BaseModel):
    """A function call of an earlier answer; `arguments` is JSON text."""

    type: Literal["function_call"]
    call_id: Text
    name: Text
    arguments: Text
    id: Unread = None
    status: Unread = None


class FunctionCallOutputItem(BaseModel):
    """The result of a function call."""

    type: Literal["function_call_output"]
    call_id: Text
    output: InputContent
    id: Unread = None
    status: Unread = None


def _no_reference(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "item_reference":
        raise refused(
            "an item_reference names a stored answer, and answers are not stored; send the item "
            "itself, as SDKs do with store set to false"
        )
    return value


def _item_kind(value: Any) -> str | None:
    """The item's type; anything that is no object is reported as a wrong message."""
    kind = value.get("type") if isinstance(value, dict) else None
    return "message" if kind is None else kind if isinstance(kind, str) else ""


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")],
    Discriminator(_item_kind),
    BeforeValidator(_no_reference),
]


def _input_kind(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "items" if isinstance(value, list) else None


Input = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[
        list[InputItem], Field(min_length=1, max_length=MAX_ITEMS, fail_fast=True), Tag("items")
    ],
    Discriminator(_input_kind),
]
