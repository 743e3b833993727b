"""OpenAI's `POST /v1/responses`; its items are in `responses_input`, answers in
`responses_answers`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.absent import Refused, Unread
from service.schemas.batches import Metadata
from service.schemas.foreign import ForeignFields
from service.schemas.messages import Text
from service.schemas.openai import MAX_TOKENS, SamplingFields, TaskName
from service.schemas.responses_input import Input
from service.schemas.responses_tools import FunctionChoice, FunctionTools

MAX_INCLUDES = 32
_NOT_STORED = "answers are not stored"
_SEND_ALL = f"{_NOT_STORED}; send the whole conversation in input"


class TextFormat(BaseModel):
    """The answer's format: any text, any JSON object, or JSON that matches `schema`."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[Text, Field(max_length=64)] | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    description: Unread = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.schema_ is None:
            raise PydanticCustomError("no_schema", "has type json_schema but no schema")
        return self


class TextOptions(BaseModel):
    """Options of the answer's text; `verbosity` has no effect."""

    format: TextFormat | None = None
    verbosity: Unread = None


class ResponsesRequest(SamplingFields, ForeignFields):
    """A request whose answer is not stored. Omitted numbers have the engine's defaults (greedy)."""

    input: Input
    instructions: Annotated[Text, Field(description="a system message before the input")] | None = (
        None
    )
    task: TaskName = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    text: TextOptions | None = None
    include: Annotated[
        list[Annotated[Text, Field(max_length=128)]] | None,
        Field(
            max_length=MAX_INCLUDES,
            description="`message.output_text.logprobs` adds log-probabilities; other values name "
            "what answers here never have",
        ),
    ] = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: Metadata | None = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Field(description="nothing is ever truncated: what does not fit is refused"),
    ] = None
    tools: Annotated[
        FunctionTools | None,
        Field(
            description="functions that `tool_choice` can have called; they are not in the prompt"
        ),
    ] = None
    tool_choice: Annotated[
        FunctionChoice | None,
        Field(
            description="`none` or `auto`: the answer is text. `required`: it calls one of the "
            "tools. A tool by its name: it calls that one."
        ),
    ] = None
    parallel_tool_calls: bool | None = None
    continue_final_message: Annotated[
        bool | None,
        Field(description="whether the last message is an answer that the model goes on with"),
    ] = None

    store: Annotated[bool | None, Refused(_NOT_STORED, False)] = None
    background: Annotated[bool | None, Refused(_NOT_STORED, False)] = None
    previous_response_id: Annotated[None, Refused(_SEND_ALL)] = None
    conversation: Annotated[None, Refused(_SEND_ALL)] = None
    prompt: Annotated[None, Refused("prompt templates are not stored; send the text itself")] = None
    context_management: Annotated[list[Any] | None, Refused("nothing is compacted", [])] = None
    moderation: Annotated[None, Refused("there is no moderation model")] = None

    reasoning: Unread = None
    stream_options: Unread = None
    max_tool_calls: Unread = None
    service_tier: Unread = None
    safety_identifier: Unread = None
    prompt_cache_key: Unread = None
    prompt_cache_options: Unread = None
    prompt_cache_retention: Unread = None
