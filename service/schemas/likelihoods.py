"""Bodies of `POST /v1/likelihoods`: a chat prompt, and answers whose probabilities are asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.absent import NullIsAbsent
from service.schemas.messages import ChatMessage, Text
from service.schemas.numbers import NumberFields
from service.schemas.openai import MAX_MESSAGES
from service.schemas.openai_answers import Usage

MAX_CONTINUATIONS = 1000
_MAX_LENGTH = 4096

AnswerText = Annotated[Text, Field(max_length=_MAX_LENGTH)]


class LikelihoodRequest(NumberFields):
    """A prompt as in chat, and the continuations to score after it.

    `prefix` is the beginning of every answer: it is given, not scored, and the continuation follows
    it directly.
    """

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=256)]
    messages: Annotated[
        list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    prefix: Annotated[AnswerText, NullIsAbsent()] = ""
    continuations: Annotated[
        list[Annotated[AnswerText, Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_CONTINUATIONS, fail_fast=True),
    ]
    priority: Annotated[int, Field(ge=-1000, le=1000), NullIsAbsent()] = 0


class ScoredToken(BaseModel):
    """A token of a continuation, as spelled in the vocabulary, and its log-probability."""

    token: str
    logprob: float


class Likelihood(BaseModel):
    """The log-likelihood of a continuation: sum and mean over its own tokens (natural logarithm).

    Neither the prefix nor the end of the answer is scored.
    """

    index: int
    continuation: str
    logprob: float
    mean_logprob: float
    num_tokens: int
    tokens: list[ScoredToken]


class Likelihoods(BaseModel):
    """The continuations in the order of the request."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    system_fingerprint: str
    data: list[Likelihood]
    usage: Usage
