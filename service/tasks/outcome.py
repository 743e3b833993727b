"""The model's answer to a task: generated text, or the most probable of its options."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lamm_model.tasks import AnyTask, ParseResult
from lamm_model.tasks.base import Option, ParseStatus
from lamm_model.tokenizer import LammTokenizer
from service.answer.generation import Generation
from service.answer.likelihood import OptionScore, continuation_ids, option_logprobs, scoring
from service.dependencies import ServedModel, Timeouts
from service.engine.base import TokenLogprob
from service.keys.auth import Caller
from service.plan.input_processor import PlannedRequest
from service.schemas.openai_answers import PromptTokensDetails, Usage
from service.schemas.tasks import OptionLogprob, TaskRequest
from service.tasks.options import TokenIds, option_logprobs_of, probabilities
from service.tasks.scores import LEAST_LOGPROB


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    """A task request with its model and caller; `arrived` is a `time.perf_counter` value."""

    task: AnyTask
    body: TaskRequest
    model: ServedModel
    arrived: float
    caller: Caller
    owner: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The model's answer; `read` and `options` are set in mode `likelihood`.

    `tokens` are those of the text, without any if the plan asks for no log-probabilities.
    """

    text: str
    finish_reason: Literal["stop", "length"] | None
    usage: Usage
    timing: str
    read: ParseResult[Any] | None = None
    options: list[OptionLogprob] | None = None
    tokens: tuple[TokenLogprob, ...] = ()


async def generate(question: TaskQuestion, planned: PlannedRequest, timeouts: Timeouts) -> Outcome:
    """The text that the model generates.

    Raises:
        EngineError, RateLimitedError, OverloadedError: as `Generation` does.
    """
    model = question.model
    generation = Generation(
        model.engine,
        planned,
        model.metrics,
        question.arrived,
        account=question.caller.account,
        queue_timeout_s=timeouts.queue_s,
    )
    texts: list[str] = []
    tokens: list[TokenLogprob] = []
    reason: Literal["stop", "length"] | None = None
    try:
        await generation.start(timeouts.keepalive_s)
        async for delta in generation.deltas():
            if delta is not None:
                texts.append(delta.text)
                tokens += delta.logprobs
                reason = delta.finish_reason.value if delta.finish_reason else reason
    finally:
        await generation.close()
    return Outcome(
        "".join(texts),
        reason,
        generation.usage(),
        generation.server_timing(),
        tokens=tuple(tokens),
    )


async def score(
    question: TaskQuestion,
    planned: PlannedRequest,
    options: Sequence[Option],
    timeouts: Timeouts,
) -> Outcome:
    """The most probable option, ranked by `options.option_logprobs_of`.

    Raises:
        EngineError: as `option_logprobs` does.
        RateLimitedError: prompt and options exceed the tokens left to the caller's key.
        OverloadedError: the wait for the first score exceeded its limit.
    """
    started, model = time.perf_counter(), question.model
    [request] = planned.sequences
    tokenizer = model.processor.tokenizer
    begun, every = await asyncio.to_thread(_beginnings, tokenizer, options)
    if question.caller.account is not None:
        # All tokens are work for the engine, even if the request fails later.
        question.caller.account.reserve(len(request.prompt_token_ids) + sum(map(len, every)))
    with scoring(model.metrics, question.arrived) as finished:
        scored = await option_logprobs(
            model.engine, request, every, queue_timeout_s=timeouts.queue_s
        )
        finished([one.timings for one in scored])
    scores = dict(zip(every, scored, strict=True))
    listed = await asyncio.to_thread(_listed, options, begun, scores)
    seconds = {
        "fetch": planned.fetch_s,
        "decode": planned.decode_s,
        "score": time.perf_counter() - started,
    }
    best = max(range(len(options)), key=lambda index: listed[index].logprob)
    text = options[best].texts[_likeliest(begun[best], scores)]
    tokens = len(request.prompt_token_ids)
    usage = Usage(
        prompt_tokens=tokens,
        completion_tokens=0,
        total_tokens=tokens,
        prompt_tokens_details=PromptTokensDetails(
            image_tokens=planned.image_tokens, point_cloud_tokens=planned.point_cloud_tokens
        ),
    )
    timing = ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in seconds.items())
    read = ParseResult(options[best].answer, ParseStatus.OK)
    return Outcome(text, None, usage, timing, read, listed)


def _beginnings(
    tokenizer: LammTokenizer, options: Sequence[Option]
) -> tuple[list[list[TokenIds]], list[TokenIds]]:
    """Token ids of each option's texts, and all distinct ones."""
    begun = [[continuation_ids(tokenizer, text) for text in one.texts] for one in options]
    return begun, list(dict.fromkeys(ids for beginnings in begun for ids in beginnings))


def _listed(
    options: Sequence[Option],
    begun: Sequence[Sequence[TokenIds]],
    scores: Mapping[TokenIds, OptionScore],
) -> list[OptionLogprob]:
    logprobs = option_logprobs_of(begun, {ids: score.logprob for ids, score in scores.items()})
    likeliest = [scores[ids[_likeliest(ids, scores)]] for ids in begun]
    return [
        OptionLogprob(
            option=option.name,
            logprob=max(logprob, LEAST_LOGPROB),
            mean_logprob=max(score.logprob / score.num_tokens, LEAST_LOGPROB),
            probability=probability,
            num_tokens=score.num_tokens,
        )
        for option, logprob, score, probability in zip(
            options, logprobs, likeliest, probabilities(logprobs), strict=True
        )
    ]


def _likeliest(beginnings: Sequence[TokenIds], scores: Mapping[TokenIds, OptionScore]) -> int:
    return max(range(len(beginnings)), key=lambda index: scores[beginnings[index]].logprob)
