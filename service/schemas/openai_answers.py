"""What the routes of OpenAI's form answer with: chat completions, usage, errors, models.

Written by `streaming`, `errors` and the endpoints; no field here comes from a client.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class TopLogprob(BaseModel):
    """One alternative at a token's place."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobEntry(TopLogprob):
    """One token of the answer with its alternatives."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """Log probabilities of the tokens of one choice, or of one chunk of it."""

    content: list[TokenLogprobEntry] | None
    refusal: None = None


class PromptTokensDetails(BaseModel):
    """Where the prompt's tokens come from."""

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


class Choice(BaseModel):
    """One finished answer."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The whole answer, when not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


class ErrorDetail(BaseModel):
    """What went wrong: for people, and (`type`, `param`, `code`) for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every error of every route."""

    error: ErrorDetail


class Architecture(BaseModel):
    """What goes in and comes out."""

    input_modalities: list[str]
    output_modalities: list[str]


class PromptPresetCard(BaseModel):
    """How prompts are written; the digest is of the preset's layout and system texts."""

    name: str
    digest: str


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
    provenance: dict[str, Any]


class ModelList(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
