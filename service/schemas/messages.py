"""Messages of OpenAI's chat request, with our `point_cloud_url` part.

Every length is bounded here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lamm_model.formats.camera import Camera
from lamm_model.formats.cloud import Sample, UpAxis
from lamm_model.formats.cloud_format import CloudFile
from lamm_model.formats.errors import MediaFormatError
from lamm_model.formats.point_cloud import FORMATS, check_fields
from lamm_model.media import IMAGE_FORMATS, POINT_CLOUD_FORMATS
from service.schemas.absent import NullIsAbsent, Refused, Unread
from service.schemas.numbers import NumberFields

MAX_PARTS = 256
MAX_CALLS = 128
MAX_NAME = 256
# What would change a cloud must not be ignored where it has no effect.
_INSIDE = Refused("it belongs inside of point_cloud_url")
_ELSEWHERE = Refused("a file is read without it; send a part of type point_cloud_url")


def check_unicode(text: str) -> str:
    """The text, if it is valid Unicode; for validators of text fields."""
    # JSON can encode half a surrogate pair, which no encoder or tokenizer accepts.
    if not text.isascii():
        try:
            text.encode("utf8")
        except UnicodeEncodeError:
            raise PydanticCustomError("string_unicode", "must be valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(check_unicode)]


class TextPart(BaseModel):
    """Text of a message."""

    type: Literal["text"]
    text: Text


class _MediaReference(NumberFields):
    """Where a medium's bytes are: exactly one of the two."""

    url: Text | None = None
    file_id: Annotated[Text, Field(max_length=128)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.url is None) == (self.file_id is None):
            raise PydanticCustomError("one_source", "must have either url or file_id")
        return self


class ImageUrl(_MediaReference):
    """A picture, whose first bytes tell its format.

    `url` is a base64 `data:` URL, or an https URL of a host that the operator allows. A `file_id`
    from `POST /v1/files` can be given instead.
    """

    detail: Unread = None


def _as_reference(value: Any) -> Any:
    """A bare URL as the object that it is short for."""
    return {"url": value} if isinstance(value, str) else value


class ImagePart(BaseModel):
    """A picture of a message; a string in place of the object is its `url`."""

    type: Literal["image_url"]
    image_url: Annotated[
        ImageUrl, BeforeValidator(_as_reference), Field(description=", ".join(IMAGE_FORMATS))
    ]


class PointCloudUrl(_MediaReference):
    """A point cloud; `url` or `file_id` as for a picture.

    `up_axis` is by default `y` for glb and gltf files, and `z` for others. `columns` is the number
    of float32 values per point in a `bin` file (x y z r g b). It can be left out if the size is a
    multiple of 3 values per point but not of 6. `sample` tells what of a mesh becomes points: by
    default the `vertices` of ply files, and the `surface` of others. `camera` is what took a
    picture of the format `depth`. Unknown fields are refused: a misspelt `units` would change the
    cloud's size a thousandfold.
    """

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        str,
        Field(max_length=16, description=", ".join(POINT_CLOUD_FORMATS), examples=["npy", "ply"]),
    ]
    units: Annotated[Literal["m", "cm", "mm"], NullIsAbsent()] = "m"
    up_axis: UpAxis | None = None
    columns: Annotated[int, Field(ge=3, le=6)] | None = None
    sample: Sample | None = None
    camera: Camera | None = None

    def file(self) -> CloudFile:
        """What the part says of the file."""
        return CloudFile(
            self.format.lower(), self.units, self.up_axis, self.columns, self.sample, self.camera
        )

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        file = self.file()
        try:
            if file.format in FORMATS:  # an unknown one is refused with the medium
                check_fields(file)
        except MediaFormatError as error:
            raise PydanticCustomError("cloud_field", "{refusal}", {"refusal": str(error)}) from None
        return self


class PointCloudPart(BaseModel):
    """A point cloud of a message."""

    type: Literal["point_cloud_url"]
    point_cloud_url: PointCloudUrl
    format: Annotated[Any, _INSIDE] = None
    units: Annotated[Any, _INSIDE] = None
    up_axis: Annotated[Any, _INSIDE] = None
    columns: Annotated[Any, _INSIDE] = None
    sample: Annotated[Any, _INSIDE] = None
    camera: Annotated[Any, _INSIDE] = None


class FileReference(BaseModel):
    """A file by its id, or its bytes as a base64 `data:` URL with a name.

    The first bytes tell the format. For clouds without a signature, the suffix of the name does: a
    point cloud format (`PointCloudUrl.format`). A cloud is read in metres with z up; a
    `point_cloud_url` part can set other values.
    """

    file_id: Annotated[Text, Field(max_length=128)] | None = None
    file_data: Text | None = None
    filename: Annotated[Text, Field(max_length=255)] | None = None
    units: Annotated[Any, _ELSEWHERE] = None
    up_axis: Annotated[Any, _ELSEWHERE] = None
    columns: Annotated[Any, _ELSEWHERE] = None
    sample: Annotated[Any, _ELSEWHERE] = None
    camera: Annotated[Any, _ELSEWHERE] = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file_data is None) == (self.file_id is None):
            raise PydanticCustomError("one_file", "must have either file_id or file_data")
        return self


class FilePart(BaseModel):
    """A file of a message in OpenAI's format: a picture or a point cloud."""

    type: Literal["file"]
    file: FileReference


class RefusalPart(BaseModel):
    """A refusal in an answer of the history; read as its text."""

    type: Literal["refusal"]
    refusal: Text


MediaPart = ImagePart | PointCloudPart | FilePart
ContentPart = Annotated[TextPart | RefusalPart | MediaPart, Field(discriminator="type")]


def _content_kind(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[ContentPart], Field(max_length=MAX_PARTS, fail_fast=True), Tag("parts")],
    Discriminator(_content_kind),
]


def _as_text(value: Any) -> Any:
    """Arguments as JSON text; some clients send the object itself."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class CalledFunction(BaseModel):
    """A function that an answer of the history called, and its arguments as JSON text."""

    name: Text
    arguments: Annotated[Text, BeforeValidator(_as_text), NullIsAbsent()] = ""


class CalledTool(BaseModel):
    """A tool call in an answer of the history."""

    id: Annotated[Text, NullIsAbsent()] = ""
    type: Annotated[Literal["function"], NullIsAbsent()] = "function"
    function: CalledFunction


def _name(value: Any) -> str | None:
    """A name that can be shown; anything else has no effect."""
    known = isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()
    return value if known else None


class ChatMessage(BaseModel):
    """One message of the conversation.

    `tool` and `function` messages, and the calls that they answer, are read as text. `name` has no
    effect, except that it names the function of a `function` message.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    refusal: Text | None = None
    name: Annotated[Any, AfterValidator(_name)] = None
    tool_calls: Annotated[list[CalledTool], Field(max_length=MAX_CALLS)] | None = None
    function_call: CalledFunction | None = None
    tool_call_id: Text | None = None

    @property
    def calls(self) -> tuple[CalledTool, ...]:
        """All calls of the message; an old `function_call` has no id."""
        old = self.function_call
        calls = () if old is None else (CalledTool(function=old),)
        return (*calls, *(self.tool_calls or ()))
