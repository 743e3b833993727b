"""Counting tokens: `/tokenize`, `/detokenize` and `/v1/chat/completions/estimate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.absent import NullIsAbsent
from service.schemas.completions import PromptText
from service.schemas.numbers import NumberFields
from service.schemas.openai import MAX_TOKENS

_MAX_IDS = 1 << 17


class TokenizeRequest(BaseModel):
    """A text, encoded as it is: no prompt is written around it."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=256)]
    prompt: PromptText
    add_special_tokens: Annotated[bool, NullIsAbsent()] = True
    return_token_strs: Annotated[bool, NullIsAbsent()] = False


class TokenizeResponse(BaseModel):
    """Its tokens; `token_strs` are their spellings in the vocabulary, if requested."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(NumberFields):
    """Token ids."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=256)]
    tokens: Annotated[
        list[Annotated[int, Field(ge=0, le=MAX_TOKENS)]], Field(max_length=_MAX_IDS, fail_fast=True)
    ]


class DetokenizeResponse(BaseModel):
    """Their text, without special tokens."""

    prompt: str


class EstimateDetails(BaseModel):
    """The prompt's tokens by modality."""

    text_tokens: int
    image_tokens: int
    point_cloud_tokens: int


class Estimate(BaseModel):
    """The size of a chat request.

    `max_tokens` is the maximum length of its answer, requested or by default; `fits` tells whether
    prompt and answer fit `max_model_len`.
    """

    object: Literal["chat.completion.estimate"] = "chat.completion.estimate"
    model: str
    prompt_tokens: int
    prompt_tokens_details: EstimateDetails
    max_tokens: int
    max_model_len: int
    fits: bool
