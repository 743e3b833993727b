"""Answers `POST /v1/likelihoods`: log-likelihoods of given answers after a chat prompt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamm_model.tokenizer import LammTokenizer
from service.answer.likelihood import OptionScore, continuation_ids, option_logprobs, scoring
from service.dependencies import ServedModel, Timeouts
from service.exceptions import RequestError
from service.keys.auth import Caller
from service.plan.input_processor import PlannedRequest
from service.schemas.likelihoods import Likelihood, LikelihoodRequest, Likelihoods, ScoredToken
from service.schemas.openai import ChatCompletionRequest
from service.schemas.openai_answers import PromptTokensDetails, Usage

# JSON has no infinity; OpenAI's value for an impossible token.
_LEAST_LOGPROB = -9999.0


@dataclass(frozen=True, slots=True)
class LikelihoodQuestion:
    """A request with its model and caller; `arrived` is a `time.perf_counter` value."""

    body: LikelihoodRequest
    model: ServedModel
    arrived: float
    caller: Caller
    owner: str


async def answer_likelihoods(
    question: LikelihoodQuestion, timeouts: Timeouts, release: Callable[[], None]
) -> Likelihoods:
    """The scores of all continuations. Cancelling aborts the request.

    `release` is called once the request's body is no longer needed.

    Raises:
        RequestError, PromptError, EngineError: as for chat; a continuation that does not begin with
            a token of its own after the prefix is refused.
        RateLimitedError: prompt and continuations exceed the tokens left to the caller's key.
        OverloadedError: the wait for the first score exceeded its limit.
    """
    body, model, caller = question.body, question.model, question.caller
    answers = await asyncio.to_thread(_answers, model.processor.tokenizer, body)
    chat = ChatCompletionRequest(
        model=model.name, messages=body.messages, max_tokens=1, priority=body.priority
    )
    planned = await model.processor.plan(chat, question.owner, patient=caller.patient)
    body.messages.clear()
    release()
    [request] = planned.sequences
    every = list(dict.fromkeys(ids for ids, _ in answers))
    if caller.account is not None:
        caller.account.reserve(len(request.prompt_token_ids) + sum(map(len, every)))
    with scoring(model.metrics, question.arrived) as finished:
        scored = await option_logprobs(
            model.engine, request, every, queue_timeout_s=timeouts.queue_s
        )
        finished([one.timings for one in scored])
    scores = dict(zip(every, scored, strict=True))
    data = [
        _likelihood(index, text, ids[-count:], scores[ids], model.processor.tokenizer)
        for index, (text, (ids, count)) in enumerate(zip(body.continuations, answers, strict=True))
    ]
    return Likelihoods(
        id=f"likelihoods-{planned.completion_id.rpartition('-')[2]}",
        created=int(time.time()),
        model=model.name,
        system_fingerprint=model.fingerprint,
        data=data,
        usage=_usage(planned),
    )


def _answers(
    tokenizer: LammTokenizer, body: LikelihoodRequest
) -> list[tuple[tuple[int, ...], int]]:
    """Token ids of each whole answer, and how many at their end are the continuation's.

    Raises:
        RequestError: the continuation has other tokens after the prefix than alone.
    """
    found = []
    for number, text in enumerate(body.continuations):
        own = continuation_ids(tokenizer, text)
        ids = continuation_ids(tokenizer, body.prefix + text)
        if not own or ids[-len(own) :] != own:
            raise RequestError(
                f"continuations[{number}] is {text[:64]!r}, which has other tokens after the "
                f"prefix {body.prefix[-64:]!r} than alone; end the prefix with a space",
                param=f"continuations[{number}]",
            )
        found.append((ids, len(own)))
    return found


def _likelihood(
    index: int, text: str, ids: Sequence[int], score: OptionScore, tokenizer: LammTokenizer
) -> Likelihood:
    logprobs = [max(value, _LEAST_LOGPROB) for value in score.logprobs[-len(ids) :]]
    total = sum(logprobs)
    return Likelihood(
        index=index,
        continuation=text,
        logprob=total,
        mean_logprob=total / len(ids),
        num_tokens=len(ids),
        tokens=[
            ScoredToken(token=tokenizer.id_to_piece(token) or "", logprob=value)
            for token, value in zip(ids, logprobs, strict=True)
        ],
    )


def _usage(planned: PlannedRequest) -> Usage:
    [request] = planned.sequences
    tokens = len(request.prompt_token_ids)
    details = PromptTokensDetails(
        image_tokens=planned.image_tokens, point_cloud_tokens=planned.point_cloud_tokens
    )
    return Usage(
        prompt_tokens=tokens,
        completion_tokens=0,
        total_tokens=tokens,
        prompt_tokens_details=details,
    )
