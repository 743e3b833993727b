"""Runs the sequences of one request together and reports what they add.

There is one sequence per choice; their chunks are merged in order of arrival. Closing aborts all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from service.engine.base import (
    EncodedMedium,
    Engine,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    RequestTimings,
    TokenLogprob,
)
from service.exceptions import FirstTokenTimeoutError
from service.keys.rate_limit import KeyAccount
from service.media.facts import media_facts
from service.metrics import Metrics
from service.plan.input_processor import PlannedRequest
from service.schemas.media_facts import MediaFacts
from service.schemas.openai_answers import PromptTokensDetails, Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of one choice, without surrounding white space, its tokens, and its finish
    reason.
    """

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason | None


class Generation:
    """The running answer of one request: `choices` texts under one `completion_id`.

    `called` are the tools of which each text is a call, see `PlannedRequest`.
    """

    def __init__(
        self,
        engine: Engine,
        planned: PlannedRequest,
        metrics: Metrics,
        arrived: float,
        *,
        account: KeyAccount | None = None,
        queue_timeout_s: float | None = None,
        strip: bool = True,
    ) -> None:
        """
        Args:
            arrived: `time.perf_counter()` at the request's arrival.
            account: the key's account; None is without limit.
            queue_timeout_s: maximum time to the first token; None is without limit.
            strip: whether white space around answers is removed; what continues a text keeps
                its leading space.
        """
        self._engine, self._planned, self.metrics = engine, planned, metrics
        self.completion_id, self.choices = planned.completion_id, len(planned.sequences)
        self.called = planned.called
        texts = [AnswerText(strip, continues=planned.continues) for _ in planned.sequences]
        self._choices = [_Choice(arrived, text) for text in texts]
        self._arrived, self._account, self._reserved = arrived, account, 0
        self._queue_timeout_s = queue_timeout_s
        self._deadline: float | None = None  # of the first token
        self._items: asyncio.Queue[tuple[int, GenerationChunk] | Exception] = asyncio.Queue()
        self._first: Delta | None = None
        self._deltas: AsyncGenerator[Delta | None] | None = None

    async def start(self, silence_s: float) -> None:
        """Returns with the first delta, or after `silence_s` without one; closed if it raises.

        Raises:
            EngineError: the engine refused the request; the status can still be set.
            RateLimitedError: it may use more tokens than the key has left.
            OverloadedError: it waited too long for its first token.
        """
        if self._account is not None:
            answers = sum(one.sampling_params.max_tokens for one in self._planned.sequences)
            tokens = self.usage().prompt_tokens + answers
            self._account.reserve(tokens)
            self._reserved = tokens
        self._deltas = self._run(silence_s)
        try:
            self._first = await anext(self._deltas, None)
        except BaseException:
            await self.close()
            raise

    async def deltas(self) -> AsyncIterator[Delta | None]:
        """Every delta in order; None after `silence_s` seconds without one. Raises as `start`."""
        assert self._deltas is not None, "the generation was not started"
        if self._first is not None:
            yield self._first
        async for delta in self._deltas:
            yield delta

    async def close(self) -> None:
        """Aborts what still runs; idempotent."""
        if self._deltas is not None:
            await self._deltas.aclose()

    def usage(self) -> Usage:
        """Tokens so far."""
        # Choices of one prompt share its tokens; each prompt of a request counts.
        prompts = {id(one.prompt_token_ids): one for one in self._planned.sequences}
        prompt = sum(len(one.prompt_token_ids) for one in prompts.values())
        completion = sum(choice.completion_tokens for choice in self._choices)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=max(choice.cached_tokens for choice in self._choices),
                image_tokens=self._planned.image_tokens,
                point_cloud_tokens=self._planned.point_cloud_tokens,
            ),
        )

    def media_facts(self) -> MediaFacts:
        """What was done to the request's media; None if there is nothing to tell."""
        return media_facts([span.media for span in self._planned.sequences[0].media])

    def server_timing(self) -> str:
        """Value of the `Server-Timing` header (W3C), milliseconds; the slowest choice counts."""
        timings = [choice.timings for choice in self._choices]
        parts = {"fetch": self._planned.fetch_s, "decode": self._planned.decode_s}
        for stage in ("encode", "queue", "prefill", "generate"):
            parts[stage] = max(getattr(one, stage) for one in timings)
        return ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in parts.items())

    async def _run(self, silence_s: float) -> AsyncGenerator[Delta | None]:
        tasks = [
            asyncio.create_task(self._pump(index, request))
            for index, request in enumerate(self._planned.sequences)
        ]
        reason = "abort"
        if self._queue_timeout_s is not None:
            self._deadline = time.monotonic() + self._queue_timeout_s
        try:
            while any(choice.finish_reason is None for choice in self._choices):
                item = await self._next_item(silence_s)
                if isinstance(item, Exception):
                    reason = "error"
                    raise item
                delta = None if item is None else self._record(*item)
                if item is None or delta is not None:
                    yield delta
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                # A second cancellation interrupts the wait, and reserved tokens must be refunded.
                self._settle(reason)

    async def _next_item(self, silence_s: float) -> tuple[int, GenerationChunk] | Exception | None:
        """None after `silence_s` seconds without one."""
        # A timer per token would cost more than the token; most items are there already.
        if not self._items.empty():
            return self._items.get_nowait()
        deadline = self._deadline
        if deadline is not None:
            silence_s = min(silence_s, max(deadline - time.monotonic(), 0.0))
        try:
            async with asyncio.timeout(silence_s):
                return await self._items.get()
        except TimeoutError:
            if deadline is not None and time.monotonic() >= deadline:
                raise FirstTokenTimeoutError(self._queue_timeout_s or 0.0) from None
            return None

    async def _pump(self, index: int, request: GenerationRequest) -> None:
        stream = self._engine.generate(request)
        try:
            async for chunk in stream:
                self._items.put_nowait((index, chunk))
        except Exception as error:
            self._items.put_nowait(error)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _record(self, index: int, chunk: GenerationChunk) -> Delta | None:
        self._deadline = None
        choice = self._choices[index]
        now = time.perf_counter()
        new_tokens = chunk.completion_tokens - choice.completion_tokens
        if new_tokens > 0:
            if choice.completion_tokens == 0:
                self.metrics.first_token(now - self._arrived)
            else:
                self.metrics.tokens(new_tokens, now - choice.last_token)
            choice.last_token = now
        for medium in choice.update(chunk):
            self.metrics.media_encoded(medium.modality, medium.seconds)
        if chunk.finish_reason is not None:
            self.metrics.finished(chunk.finish_reason, now - self._arrived, chunk.timings)
        text = choice.text.feed(chunk.text)
        if not text and not chunk.logprobs and chunk.finish_reason is None:
            return None
        return Delta(index, text, chunk.logprobs, chunk.finish_reason)

    def _settle(self, reason: str) -> None:
        """Gives back unused tokens; choices without an end are counted under `reason`."""
        for choice in self._choices:
            if choice.finish_reason is None:
                self.metrics.finished(reason, time.perf_counter() - self._arrived)
        if self._account is not None:
            self._account.settle(self._reserved, self.usage().total_tokens)


class _Choice:
    """Running totals of one sequence; `last_token` is when its last one came."""

    def __init__(self, arrived: float, text: AnswerText) -> None:
        self.text = text
        self.completion_tokens, self.cached_tokens = 0, 0
        self.finish_reason: FinishReason | None = None
        self.timings = RequestTimings()
        self.last_token = arrived

    def update(self, chunk: GenerationChunk) -> tuple[EncodedMedium, ...]:
        """Takes the totals of a chunk; returns the media that were encoded since the last one."""
        # A preempted sequence may have some encoded again.
        known = len(self.timings.encoded_media)
        self.completion_tokens = max(chunk.completion_tokens, self.completion_tokens)
        self.cached_tokens = max(chunk.cached_tokens, self.cached_tokens)
        self.finish_reason, self.timings = chunk.finish_reason, chunk.timings
        return chunk.timings.encoded_media[known:]


class AnswerText:
    """Strips an answer while it streams: leading space is dropped, trailing space is held back."""

    def __init__(self, strip: bool = True, *, continues: bool = False) -> None:
        """With `continues`, leading space is kept: it separates what the client has."""
        self._strip, self._started, self._held = strip, continues, ""

    def feed(self, text: str) -> str:
        """The part of the answer that is certain now; what is held at the end is dropped."""
        if not self._strip:
            return text
        text = self._held + text
        if not self._started:
            text = text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        self._started = self._started or bool(kept)
        return kept
