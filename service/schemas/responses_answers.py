"""Answers of the Responses API, in OpenAI's format."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service.schemas.batches import OutputTokensDetails
from service.schemas.media_facts import MediaFacts
from service.schemas.openai_answers import PromptTokensDetails, TokenLogprobEntry, Usage
from service.schemas.responses_tools import FunctionChoice, FunctionTool

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(BaseModel):
    """Text of an answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[TokenLogprobEntry] = []


class OutputMessage(BaseModel):
    """The answer's message."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText] = []


class OutputCall(BaseModel):
    """A call of a tool, for the client to run."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: Literal["in_progress", "completed", "incomplete"]
    call_id: str
    name: str
    arguments: str = ""


OutputItem = OutputMessage | OutputCall


class IncompleteDetails(BaseModel):
    """Why an answer is incomplete."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseFailure(BaseModel):
    """Why an answer failed after its stream had begun."""

    code: Literal["server_error"] = "server_error"
    message: str


class ResponseTokensDetails(PromptTokensDetails):
    """Input tokens by origin and modality; what is written to the cache is not counted."""

    cache_write_tokens: Literal[0] = 0


class ResponseUsage(BaseModel):
    """Tokens of one request."""

    input_tokens: int
    input_tokens_details: ResponseTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> ResponseUsage:
        """The same numbers under this API's names."""
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=ResponseTokensDetails(**usage.prompt_tokens_details.model_dump()),
            output_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        )


class ResponseReasoning(BaseModel):
    """The models here have no separate reasoning."""

    effort: None = None
    summary: None = None


class ResponseObject(BaseModel):
    """An answer, or what is known of it; times in seconds since 1970.

    `temperature`, `top_p` and `text.format` are those in effect. `store` is always false.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status = "in_progress"
    background: Literal[False] = False
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None = None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: None = None
    reasoning: ResponseReasoning = ResponseReasoning()
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    system_fingerprint: str
    temperature: float
    text: dict[str, Any]
    tool_choice: FunctionChoice
    tools: list[FunctionTool]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    media: MediaFacts = None
    user: None = None
