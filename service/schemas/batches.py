"""OpenAI's batch objects.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from service.schemas.messages import Text
from service.schemas.numbers import NumberFields
from service.schemas.openai import few_entries

MAX_METADATA = 16
MetadataKey = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Field(max_length=MAX_METADATA),
    BeforeValidator(partial(few_entries, limit=MAX_METADATA)),
]


class OutputExpiresAfter(NumberFields):
    """How long the output and error files are kept after they are written."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class CreateBatchRequest(BaseModel):
    """`POST /v1/batches`; `completion_window` is a number of hours or minutes, such as 24h or
    90m.
    """

    input_file_id: Annotated[Text, Field(max_length=128)]
    endpoint: Annotated[
        Text,
        Field(
            max_length=128,
            description="/v1/chat/completions, /v1/completions, /v1/responses or /v1/tasks/{task}",
            examples=["/v1/chat/completions"],
        ),
    ]
    completion_window: Annotated[
        Text, Field(max_length=16, pattern=r"^[1-9][0-9]{0,5}[hm]$", examples=["24h"])
    ]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None


class BatchErrorEntry(BaseModel):
    """An error in the input; `line` counts from 1."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(BaseModel):
    """Why a batch failed."""

    object: Literal["list"] = "list"
    data: list[BatchErrorEntry]


class RequestCounts(BaseModel):
    """Number of lines: all, answered, and failed, expired or cancelled."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Prompt tokens that were read from the cache."""

    cached_tokens: int


class OutputTokensDetails(BaseModel):
    """Always 0: the models here have no separate reasoning."""

    reasoning_tokens: Literal[0] = 0


class BatchUsage(BaseModel):
    """Tokens of all answered lines."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(BaseModel):
    """One batch; times in seconds since 1970."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired",
        "cancelling", "cancelled",
    ]  # fmt: skip
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    """`GET /v1/batches`: one page, newest first."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
