"""Log-probabilities of given answers after a prompt, for choice tasks. Torch-free.

Each option is one scoring request, batched with live traffic; options share the prompt's KV blocks
and encoded media.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    Engine,
    EngineError,
    FinishReason,
    GenerationRequest,
    RequestFailedError,
    RequestTimings,
)
from service.exceptions import FirstTokenTimeoutError
from service.metrics import Metrics

# Options that run at once, so that a question with many options leaves seats free.
_MAX_CONCURRENT = 8


@dataclass(frozen=True, slots=True)
class OptionScore:
    """Natural-log probabilities of an option's tokens: their sum, their number, and each one."""

    logprob: float
    num_tokens: int
    timings: RequestTimings = field(default=RequestTimings(), compare=False)
    logprobs: tuple[float, ...] = field(default=(), compare=False)


async def option_logprobs(
    engine: Engine,
    request: GenerationRequest,
    options: Sequence[tuple[int, ...]],
    *,
    queue_timeout_s: float | None = None,
) -> list[OptionScore]:
    """Scores of options, in order, each directly after the request's prompt.

    Args:
        request: prompt, media, model and priority; sampling parameters have no effect, and its own
            continuation is replaced.
        options: token ids of each option (`continuation_ids`), at least one each. They are scored
            with the model's own probabilities: before temperature, penalties and biases.
        queue_timeout_s: maximum time to the first score; None is without limit.

    Cancelling aborts the running requests within one step.

    Raises:
        ValueError: an option has no tokens.
        EngineError: as `Engine.generate`; if one option fails, the others are aborted.
            `PromptTooLongError` counts prompt and option.
        OverloadedError: the first option waited too long.
    """
    for number, option in enumerate(options):
        if not option:
            raise ValueError(f"option {number} of {len(options)} has 0 tokens; it needs at least 1")
    if not options:
        return []
    # The first one alone, so that the others find the prompt's blocks in the cache.
    scores = [await _first_score(engine, request, options[0], queue_timeout_s)]
    seats = asyncio.Semaphore(_MAX_CONCURRENT)

    async def seated(number: int, option: tuple[int, ...]) -> OptionScore:
        async with seats:
            return await _score(engine, request, option, number)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(seated(number, option))
                for number, option in enumerate(options[1:], 1)
            ]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return scores + [task.result() for task in tasks]


def continuation_ids(tokenizer: LammTokenizer, text: str) -> tuple[int, ...]:
    """Token ids of an answer as training tokenizes it: separately from the prompt.

    The tokenizer's leading word border is included; what follows an answer in training (a line
    break and the marks) is not.
    """
    return tuple(tokenizer.encode(text))


@contextlib.contextmanager
def scoring(
    metrics: Metrics, arrived: float
) -> Iterator[Callable[[Sequence[RequestTimings]], None]]:
    """Reports the end of the scoring in its body to the metrics; the body passes the timings.

    The options share a prompt and count as one sequence. `arrived` is a `time.perf_counter` value.
    """
    reason, timings = "abort", list[RequestTimings]()

    def finished(found: Sequence[RequestTimings]) -> None:
        nonlocal reason
        reason = FinishReason.STOP.value
        timings.extend(found)

    try:
        yield finished
    except EngineError:
        reason = "error"
        raise
    finally:
        metrics.finished(reason, time.perf_counter() - arrived, timings[0] if timings else None)
        # Each option is a request to the engine; usually the first one fills the cache.
        for medium in (medium for one in timings for medium in one.encoded_media):
            metrics.media_encoded(medium.modality, medium.seconds)


async def _first_score(
    engine: Engine, request: GenerationRequest, option: tuple[int, ...], timeout_s: float | None
) -> OptionScore:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await _score(engine, request, option, 0)
    except TimeoutError:
        if timeout_s is None or not limit.expired():
            raise
        raise FirstTokenTimeoutError(timeout_s) from None


async def _score(
    engine: Engine, request: GenerationRequest, option: tuple[int, ...], number: int
) -> OptionScore:
    request = dataclasses.replace(
        request, request_id=f"{request.request_id}-option-{number}", continuation_token_ids=option
    )
    logprobs, timings = list[float](), RequestTimings()
    async for chunk in engine.generate(request):
        logprobs += [entry.logprob for entry in chunk.logprobs]
        timings = chunk.timings
    if len(logprobs) != len(option):
        raise RequestFailedError(f"{len(logprobs)} log-probabilities came for {len(option)} tokens")
    return OptionScore(sum(logprobs), len(logprobs), timings, tuple(logprobs))
