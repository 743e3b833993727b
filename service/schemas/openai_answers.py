"""Answers: chat completions, usage, errors and models in OpenAI's format; cancelled requests.

No field here comes from a client.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service.schemas.media_facts import MediaFacts
from service.schemas.tools import ToolCall


class TopLogprob(BaseModel):
    """An alternative to one token."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobEntry(TopLogprob):
    """A token of the answer with its alternatives."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """Log-probabilities of the tokens of a choice, or of one chunk of it."""

    content: list[TokenLogprobEntry] | None
    refusal: None = None


class PromptTokensDetails(BaseModel):
    """Prompt tokens by origin and modality."""

    cached_tokens: int = 0
    image_tokens: int = 0
    point_cloud_tokens: int = 0


class Usage(BaseModel):
    """Tokens of one request, over all its choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AssistantMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class CallingMessage(BaseModel):
    """An answer that calls a tool; one that was cut before the tool's name calls none."""

    role: Literal["assistant"] = "assistant"
    content: None = None
    refusal: None = None
    tool_calls: list[ToolCall]


class Choice(BaseModel):
    """One finished answer."""

    index: int
    message: AssistantMessage | CallingMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    """The whole answer, if it is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    media: MediaFacts = None
    system_fingerprint: str


class ErrorDetail(BaseModel):
    """An error: a message for people; `type`, `param` and `code` for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class Architecture(BaseModel):
    """Input and output modalities."""

    input_modalities: list[str]
    output_modalities: list[str]


class PromptPresetCard(BaseModel):
    """The prompt preset; the digest covers its layout and system prompts.

    `system_texts` has the first 16 digits of the SHA-256 of each system text, by the `task` that
    chooses it.
    """

    name: str
    digest: str
    system_texts: dict[str, str]


class ModelCard(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "lamm"
    max_model_len: int
    architecture: Architecture
    digest: str
    prompt_preset: PromptPresetCard
    image_preset: str | None
    provenance: dict[str, Any]


class ModelList(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class CancelledRequest(BaseModel):
    """Number of running requests that were cancelled; several may share an id."""

    id: str
    object: Literal["request.cancelled"] = "request.cancelled"
    cancelled: int
