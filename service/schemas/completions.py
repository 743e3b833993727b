"""`POST /v1/completions`: OpenAI's text completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag

from service.schemas.messages import check_unicode
from service.schemas.openai import MAX_TOKENS, SamplingRequest
from service.schemas.openai_answers import Usage

MAX_PROMPTS = 8
MAX_PROMPT_CHARACTERS = 1 << 20

# The length is checked first, so that an overlong list is reported as such.
PromptText = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS), AfterValidator(check_unicode)]
TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_TOKENS)]],
    Field(min_length=1, max_length=MAX_TOKENS, fail_fast=True),
]


def _prompt_kind(value: Any) -> str | None:
    """The prompt's form, so that errors are reported for that form only."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "texts" if isinstance(first, str) else "lists" if isinstance(first, list) else "tokens"


Prompt = Annotated[
    Annotated[PromptText, Tag("text")]
    | Annotated[
        list[PromptText], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True), Tag("texts")
    ]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[
        list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True), Tag("lists")
    ],
    Discriminator(
        _prompt_kind,
        custom_error_type="prompt_type",
        custom_error_message="must be text, a list of texts, or token ids",
    ),
]


class CompletionRequest(SamplingRequest):
    """Texts to continue; no media and no turns: the model sees the text unchanged."""

    prompt: Prompt
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs


class CompletionLogprobs(BaseModel):
    """Tokens of a choice or of one chunk of it; offsets count the characters of the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One answer, or a part of it in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(BaseModel):
    """The whole answer, if it is not streamed."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
