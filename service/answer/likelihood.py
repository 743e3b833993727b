"""How probable given answers are after a prompt: what choice tasks are answered by. Torch-free.

Called by the task endpoints. Every option is one scoring request of the engine, beside live
traffic in the same batch; the prompt's blocks and encoded media are shared among them.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import Engine, GenerationRequest, RequestFailedError, RequestTimings
from service.exceptions import FirstTokenTimeoutError

# Options of one call that run side by side, so that one question with many options leaves seats.
_MAX_CONCURRENT = 8


@dataclass(frozen=True, slots=True)
class OptionScore:
    """Sum of the natural-log probabilities of an option's tokens, and how many they are."""

    logprob: float
    num_tokens: int
    timings: RequestTimings = field(default=RequestTimings(), compare=False)


async def option_logprobs(
    engine: Engine,
    request: GenerationRequest,
    options: Sequence[tuple[int, ...]],
    *,
    queue_timeout_s: float | None = None,
) -> list[OptionScore]:
    """Scores of options, in their order, each right after the request's prompt.

    Args:
        request: the prompt with its media, its model and its priority; sampling parameters have no
            effect, and a continuation of its own is replaced.
        options: token ids of each option (`continuation_ids`), at least one each. They are scored
            with the model's own probabilities: before temperature, penalties and biases.
        queue_timeout_s: how long the first of them may wait for its score; None is without limit.

    Cancelling aborts what runs, within one step.

    Raises:
        ValueError: an option has no tokens.
        EngineError: as `Engine.generate`; one option that fails fails the call, and the others are
            aborted. `PromptTooLongError` counts prompt and option.
        OverloadedError: the first option waited longer than it may.
    """
    for number, option in enumerate(options):
        if not option:
            raise ValueError(f"option {number} of {len(options)} has 0 tokens; it needs at least 1")
    if not options:
        return []
    # The first one alone: it leaves the prompt's blocks where the others find them.
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
    """Ids of an answer as training tokenises it: a chunk apart from the prompt's.

    The tokenizer's own leading word border is among them; what follows an answer in training (a
    line break and the marks) is not, unless the caller writes it.
    """
    return tuple(tokenizer.encode(text))


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
    scoring = dataclasses.replace(
        request,
        request_id=f"{request.request_id}-option-{number}",
        continuation_token_ids=option,
    )
    total, count, timings = 0.0, 0, RequestTimings()
    async for chunk in engine.generate(scoring):
        total += sum(entry.logprob for entry in chunk.logprobs)
        count += len(chunk.logprobs)
        timings = chunk.timings
    if count != len(option):
        raise RequestFailedError(f"{count} log-probabilities came for {len(option)} tokens")
    return OptionScore(total, count, timings)
