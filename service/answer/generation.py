"""Runs the sequences of one request together and reports what they add. Called by `endpoints`.

One sequence a choice; their chunks are merged in order of arrival. Closing aborts all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.answer.choice import Choice
from service.answer.queue_wait import FirstTokenWait
from service.engine.base import (
    Engine,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    TokenLogprob,
)
from service.keys.rate_limit import KeyAccount
from service.metrics import Metrics
from service.plan.input_processor import PlannedRequest
from service.schemas.openai_answers import PromptTokensDetails, Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """What one choice gained: text without surrounding white space, tokens, and perhaps its end."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason | None


class Generation:
    """The running answer of one request."""

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
        """Args:
        arrived: `time.perf_counter()` when the request came.
        account: what the caller's key uses; None is without limit.
        queue_timeout_s: how long it may wait for its first token.
        strip: whether answers lose the white space around them.
        """
        self._engine, self._planned, self._metrics = engine, planned, metrics
        self._choices = [Choice(arrived, strip=strip) for _ in planned.sequences]
        self._arrived, self._account, self._reserved = arrived, account, 0
        self._wait = FirstTokenWait(queue_timeout_s)
        self._items: asyncio.Queue[tuple[int, GenerationChunk] | Exception] = asyncio.Queue()
        self._first: Delta | None = None
        self._deltas: AsyncIterator[Delta | None] | None = None

    @property
    def completion_id(self) -> str:
        """`chatcmpl-...`."""
        return self._planned.completion_id

    @property
    def metrics(self) -> Metrics:
        """Its model's."""
        return self._metrics

    @property
    def choices(self) -> int:
        """How many answers are made."""
        return len(self._choices)

    async def start(self, silence_s: float) -> None:
        """Returns with the first delta, or after `silence_s` without one; closed if it raises.

        Raises:
            EngineError: the engine refused the request: there is still time for a status code.
            RateLimitedError: it may take more tokens than the caller's key has left.
            OverloadedError: it waited longer for its first token than it may.
        """
        self._reserve()
        self._deltas = self._run(silence_s)
        try:
            self._first = await anext(self._deltas, None)
        except BaseException:
            await self.close()
            raise

    async def deltas(self) -> AsyncIterator[Delta | None]:
        """Every delta, first ones first; None after each `silence_s` seconds without any.

        Raises:
            EngineError: the engine failed in the middle.
            OverloadedError: it waited longer for its first token than it may.
        """
        if self._deltas is None:
            raise RuntimeError("the generation was not started")
        if self._first is not None:
            yield self._first
        async for delta in self._deltas:
            yield delta

    async def close(self) -> None:
        """Aborts what still runs; idempotent."""
        close = getattr(self._deltas, "aclose", None)
        if close is not None:
            await close()

    def usage(self) -> Usage:
        """Tokens so far."""
        # Choices of one prompt share its tokens; the prompts of one request count each by itself.
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

    def server_timing(self) -> str:
        """Value of the `Server-Timing` header (W3C), milliseconds; the slowest choice counts."""
        timings = [choice.timings for choice in self._choices]
        parts = {
            "fetch": self._planned.fetch_s,
            "decode": self._planned.decode_s,
            "encode": max(t.encode for t in timings),
            "queue": max(t.queue for t in timings),
            "prefill": max(t.prefill for t in timings),
            "generate": max(t.generate for t in timings),
        }
        return ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in parts.items())

    async def _run(self, silence_s: float) -> AsyncIterator[Delta | None]:
        tasks = [
            asyncio.create_task(self._pump(index, request))
            for index, request in enumerate(self._planned.sequences)
        ]
        reason = "abort"
        self._wait.begin()
        try:
            while any(choice.finish_reason is None for choice in self._choices):
                # A timer a token would cost more than the token; most items are there already.
                if self._items.empty():
                    try:
                        async with asyncio.timeout(self._wait.limit(silence_s)):
                            item = await self._items.get()
                    except TimeoutError:
                        self._wait.check()
                        yield None
                        continue
                else:
                    item = self._items.get_nowait()
                if isinstance(item, Exception):
                    reason = "error"
                    raise item
                delta = self._record(*item)
                if delta is not None:
                    yield delta
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                # A second cancellation meets the wait, and what was reserved must go back.
                self._report_unfinished(reason)
                self._settle()

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
        self._wait.end()
        choice = self._choices[index]
        now = time.perf_counter()
        new_tokens = chunk.completion_tokens - choice.completion_tokens
        if new_tokens > 0:
            if choice.completion_tokens == 0:
                self._metrics.first_token(now - self._arrived)
            else:
                self._metrics.tokens(new_tokens, now - choice.last_token)
            choice.last_token = now
        for medium in choice.update(chunk):
            self._metrics.media_encoded(medium.modality, medium.seconds)
        if chunk.finish_reason is not None:
            self._metrics.finished(chunk.finish_reason, now - self._arrived, chunk.timings)
        text = choice.text.feed(chunk.text)
        if not text and not chunk.logprobs and chunk.finish_reason is None:
            return None
        return Delta(index, text, chunk.logprobs, chunk.finish_reason)

    def _reserve(self) -> None:
        if self._account is None:
            return
        answers = sum(one.sampling_params.max_tokens for one in self._planned.sequences)
        tokens = self.usage().prompt_tokens + answers
        self._account.reserve(tokens)
        self._reserved = tokens

    def _settle(self) -> None:
        if self._account is not None:
            self._account.settle(self._reserved, self.usage().total_tokens)

    def _report_unfinished(self, reason: str) -> None:
        for choice in self._choices:
            if choice.finish_reason is None:
                self._metrics.finished(reason, time.perf_counter() - self._arrived)
