"""OpenAI's chat request; its messages are in `messages`, its answers in `openai_answers`.

Every number is bounded here. Unknown fields are kept apart (`model_extra`), to be named once in the
log.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from service.schemas.absent import NullIsAbsent, Unread
from service.schemas.foreign import ForeignChatFields, ForeignFields
from service.schemas.messages import ChatMessage, Text
from service.schemas.numbers import NumberFields
from service.schemas.tools import MAX_TOOLS, Tool, ToolChoice

MAX_CHOICES = 8
MAX_USER_STOPS = 12
MAX_STOP_LENGTH = 256
MAX_TOKENS = 1 << 20
MAX_MESSAGES = 1024
MAX_BIASES = 1024


def few_entries(value: Any, limit: int) -> Any:
    """Refuses a large object before its entries, each of which could be an error of its own."""
    if isinstance(value, dict) and len(value) > limit:
        raise PydanticCustomError(
            "too_long", "has {actual_length} entries; the limit is {max_length}",
            {"actual_length": len(value), "max_length": limit},
        )  # fmt: skip
    return value


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
TaskName = Annotated[
    Annotated[Text, Field(max_length=128)] | None,
    Field(
        description="a task of /v1/tasks, or a name from the model's own table: the system text is "
        "that of the task. Cannot be combined with a system message"
    ),
]
StopString = Annotated[Text, Field(min_length=1, max_length=MAX_STOP_LENGTH)]


class SamplingFields(NumberFields):
    """How answers are sampled, on every route. Omitted numbers have the engine's defaults."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=256)]
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
    logit_bias: (
        Annotated[
            dict[str, Annotated[float, Field(ge=-100.0, le=100.0, allow_inf_nan=False)]],
            BeforeValidator(partial(few_entries, limit=MAX_BIASES)),
        ]
        | None
    ) = None
    stream: bool | None = None
    user: Unread = None
    priority: Annotated[int, Field(ge=-1000, le=1000), NullIsAbsent()] = 0


class SamplingRequest(SamplingFields, ForeignFields):
    """Fields of chat and text completions."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream_options: StreamOptions | None = None

    @property
    def num_logprobs(self) -> int | None:
        """Number of alternatives per token; None for no log-probabilities at all."""
        return None


class ChatCompletionRequest(SamplingRequest, ForeignChatFields):
    """`POST /v1/chat/completions`. Omitted numbers have the engine's defaults (greedy)."""

    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    task: TaskName = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    continue_final_message: Annotated[
        bool | None,
        Field(description="whether the last message is an answer that the model goes on with"),
    ] = None
    add_generation_prompt: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Annotated[
        ResponseFormat | None,
        Field(
            description="JSON by a schema, or any JSON object. The answer is brought to its end "
            "within its max_tokens: strings, numbers and lists that would go on are ended there."
        ),
    ] = None
    tools: Annotated[
        list[Tool] | None,
        Field(
            max_length=MAX_TOOLS,
            fail_fast=True,
            description="functions that `tool_choice` can have called; they are not in the prompt",
        ),
    ] = None
    tool_choice: Annotated[
        ToolChoice | None,
        Field(
            description="`none` or `auto`: the answer is text. `required`: it calls one of the "
            "tools. A tool by its name: it calls that one."
        ),
    ] = None
    parallel_tool_calls: Unread = None
    metadata: Unread = None
    reasoning_effort: Unread = None
    verbosity: Unread = None
    service_tier: Unread = None
    safety_identifier: Unread = None
    prompt_cache_key: Unread = None
    prompt_cache_options: Unread = None
    prompt_cache_retention: Unread = None
    functions: Annotated[Any, Field(description="not supported: use `tools`")] = None
    function_call: Annotated[Any, Field(description="not supported: use `tool_choice`")] = None

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None
