"""OpenAI's chat request with our `point_cloud_url` part; its answers are in `openai_answers`.

Every number is bounded here. Unknown fields are kept apart (`model_extra`), to be named once in the
log.
"""

from __future__ import annotations

from functools import partial
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

from lamm_model.media import POINT_CLOUD_FORMATS
from service.schemas.absent import NullIsAbsent, Unread

MAX_CHOICES = 8
MAX_USER_STOPS = 12
MAX_STOP_LENGTH = 256
MAX_TOKENS = 1 << 20
MAX_MESSAGES = 1024
MAX_PARTS = 256
MAX_BIASES = 1024


def check_unicode(text: str) -> str:
    """The text, if it is valid Unicode; for validators of text fields."""
    # JSON can encode half a surrogate pair, which no encoder or tokenizer accepts.
    if not text.isascii():
        try:
            text.encode("utf8")
        except UnicodeEncodeError:
            raise PydanticCustomError("string_unicode", "must be valid Unicode") from None
    return text


def few_entries(value: Any, limit: int) -> Any:
    """Refuses a large object before its entries, each of which could be an error of its own."""
    if isinstance(value, dict) and len(value) > limit:
        raise PydanticCustomError(
            "too_long", "has {actual_length} entries; the limit is {max_length}",
            {"actual_length": len(value), "max_length": limit},
        )  # fmt: skip
    return value


Text = Annotated[str, AfterValidator(check_unicode)]


class TextPart(BaseModel):
    """Text of a message."""

    type: Literal["text"]
    text: Text


class _MediaReference(BaseModel):
    """Where a medium's bytes are: exactly one of the two."""

    url: Text | None = None
    file_id: Annotated[Text, Field(max_length=128)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.url is None) == (self.file_id is None):
            raise PydanticCustomError("one_source", "must have either url or file_id")
        return self


class ImageUrl(_MediaReference):
    """A picture (JPEG, PNG, WebP, BMP or GIF).

    `url` is a base64 `data:` URL, or an https URL of a host that the operator allows. A `file_id`
    from `POST /v1/files` can be given instead.
    """

    detail: Unread = None


class ImagePart(BaseModel):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class PointCloudUrl(_MediaReference):
    """A point cloud; `url` or `file_id` as for a picture.

    `columns` is the number of float32 values per point in a `bin` file (x y z r g b). It can be
    left out if the size is a multiple of 3 values per point but not of 6.
    """

    format: Annotated[
        str,
        Field(max_length=16, description=", ".join(POINT_CLOUD_FORMATS), examples=["npy", "ply"]),
    ]
    units: Annotated[Literal["m", "cm", "mm"], NullIsAbsent()] = "m"
    up_axis: Annotated[Literal["z", "y"], NullIsAbsent()] = "z"
    columns: Annotated[int, Field(ge=3, le=6)] | None = None


class PointCloudPart(BaseModel):
    """A point cloud of a message."""

    type: Literal["point_cloud_url"]
    point_cloud_url: PointCloudUrl


class FileReference(BaseModel):
    """A file by its id, or its bytes as a base64 `data:` URL with a name.

    The first bytes tell the format. For clouds without a signature, the suffix of the name does: a
    point cloud format (`PointCloudUrl.format`). A cloud is read in metres with z up; a
    `point_cloud_url` part can set other values.
    """

    file_id: Annotated[Text, Field(max_length=128)] | None = None
    file_data: Text | None = None
    filename: Annotated[Text, Field(max_length=255)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.file_data is None) == (self.file_id is None):
            raise PydanticCustomError("one_file", "must have either file_id or file_data")
        return self


class FilePart(BaseModel):
    """A file of a message in OpenAI's format: a picture or a point cloud."""

    type: Literal["file"]
    file: FileReference


MediaPart = ImagePart | PointCloudPart | FilePart
ContentPart = Annotated[TextPart | MediaPart, Field(discriminator="type")]


def _content_kind(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[ContentPart], Field(max_length=MAX_PARTS, fail_fast=True), Tag("parts")],
    Discriminator(_content_kind),
]


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: Unread = None


class StreamOptions(BaseModel):
    """Additional contents of a stream."""

    include_usage: Annotated[bool, NullIsAbsent()] = False


class JsonSchemaFormat(BaseModel):
    """A JSON schema that the answer must match; the other fields have no effect."""

    name: Unread = None
    description: Unread = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: Unread = None


class ResponseFormat(BaseModel):
    """The answer's format: any text, any JSON object, or JSON that matches a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


Penalty = Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
StopString = Annotated[Text, Field(min_length=1, max_length=MAX_STOP_LENGTH)]


class SamplingRequest(BaseModel):
    """Fields of chat and text completions. Omitted numbers have the engine's defaults."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=256)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS), NullIsAbsent()] = 0
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[Fraction | None, Field(description="0 is greedy")] = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_TOKENS)] | None = None
    min_p: Fraction | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10.0, allow_inf_nan=False)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_USER_STOPS)] | None = None
    stop_token_ids: Annotated[list[int], Field(max_length=64)] | None = None
    ignore_eos: Annotated[bool, NullIsAbsent()] = False
    seed: Annotated[int, Field(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logit_bias: (
        Annotated[
            dict[str, Annotated[float, Field(ge=-100.0, le=100.0, allow_inf_nan=False)]],
            BeforeValidator(partial(few_entries, limit=MAX_BIASES)),
        ]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Unread = None
    priority: Annotated[int, Field(ge=-1000, le=1000), NullIsAbsent()] = 0

    @property
    def num_logprobs(self) -> int | None:
        """Number of alternatives per token; None for no log-probabilities at all."""
        return None


class ChatCompletionRequest(SamplingRequest):
    """`POST /v1/chat/completions`. Omitted numbers have the engine's defaults (greedy)."""

    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None
