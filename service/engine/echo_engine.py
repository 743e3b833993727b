"""An engine without a model: it streams a fixed text word by word, for tests and UI development.

It fulfils the whole contract of `base.Engine` (queue limits, stop strings, aborts, counts), so that
code which works with it works with the real engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import time
from collections.abc import AsyncIterator

from service.engine.base import (
    Engine,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    PromptTooLongError,
    QueueFullError,
    RequestTimings,
    TokenLogprob,
)
from service.engine.config import EngineConfig
from service.engine.detokenizer import StopMatcher

DEFAULT_REPLY = "This engine has no model: it repeats a text that was given to it, word by word."
_DEFAULT_MAX_LEN = 2048
_WORD = re.compile(r"\s*\S+|\s+")


class EchoEngine(Engine):
    """Answers every request with `reply`, one word per token, `delay` seconds apart.

    Grammars are accepted and have no effect.
    """

    def __init__(
        self, config: EngineConfig, reply: str = DEFAULT_REPLY, delay: float = 0.0
    ) -> None:
        self._config, self.delay = config, delay
        self._words = tuple(_WORD.findall(reply))
        self._max_len = config.max_model_len or _DEFAULT_MAX_LEN
        self._seats = asyncio.Semaphore(config.max_num_seqs)
        self._running: set[asyncio.Event] = set()
        self._waiting: dict[asyncio.Event, int] = {}
        self._alive = False
        self._steps = self._prompt_tokens = self._generation_tokens = 0

    async def start(self) -> EngineInfo:
        """Ready at once."""
        self._alive = True
        return EngineInfo(
            engine="echo",
            device="none",
            dtype="none",
            weights_bytes=0,
            kv_cache_bytes=0,
            kv_cache_tokens=self._max_len * self._config.max_num_seqs,
            max_model_len=self._max_len,
            max_num_seqs=self._config.max_num_seqs,
        )

    async def stop(self) -> None:
        """Ends all streams with EngineStoppedError."""
        self._alive = False
        for stopped in (*self._running, *self._waiting):
            stopped.set()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        self._check(request)
        arrived, stopped = time.monotonic(), asyncio.Event()
        self._waiting[stopped] = len(request.prompt_token_ids)
        try:
            async with self._seats:
                del self._waiting[stopped]
                self._running.add(stopped)
                async for chunk in self._stream(request, arrived, stopped):
                    if chunk.finish_reason is not None:
                        self._running.discard(stopped)
                    yield chunk
        finally:
            self._waiting.pop(stopped, None)
            self._running.discard(stopped)

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_cache_usage=len(self._running) / self._config.max_num_seqs,
            alive=self._alive,
            steps_total=self._steps,
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=self._generation_tokens,
        )

    def _check(self, request: GenerationRequest) -> None:
        if not self._alive:
            raise EngineStoppedError("the engine is not running")
        tokens = len(request.prompt_token_ids) + len(request.continuation_token_ids[:-1])
        if tokens >= self._max_len:
            raise PromptTooLongError(tokens, self._max_len - 1)
        config = self._config
        seats = config.max_num_seqs - len(self._running)
        if len(self._waiting) - seats >= config.max_waiting_requests:
            raise QueueFullError(len(self._waiting), config.max_waiting_requests, "requests")
        queued = sum(self._waiting.values())
        if self._waiting and queued + tokens > config.max_waiting_tokens:
            raise QueueFullError(queued, config.max_waiting_tokens, "tokens")

    async def _stream(
        self, request: GenerationRequest, arrived: float, stopped: asyncio.Event
    ) -> AsyncIterator[GenerationChunk]:
        if request.continuation_token_ids:
            yield await self._score(request, arrived, stopped)
            return
        params, prompt_tokens = request.sampling_params, len(request.prompt_token_ids)
        limit = min(params.max_tokens, self._max_len - prompt_tokens)
        # ignore_eos and min_tokens may continue past the end of the text: it starts again.
        endless = itertools.cycle(enumerate(self._words or ("",)))
        length = max(len(self._words), params.min_tokens, 1)
        if params.ignore_eos:
            length = limit + 1
        matcher, started = StopMatcher(params.stop), time.monotonic()
        self._prompt_tokens += prompt_tokens
        for count, (token, word) in enumerate(itertools.islice(endless, min(length, limit)), 1):
            await self._pause(stopped)
            self._steps += 1
            self._generation_tokens += 1
            may_stop = count >= params.min_tokens
            text = matcher.push(word, may_stop)
            reason: FinishReason | None = None
            if matcher.matched is not None:
                reason = FinishReason.STOP
            elif count == min(length, limit):
                reason = FinishReason.STOP if count == length else FinishReason.LENGTH
                text += matcher.flush()
            logprobs = (TokenLogprob(token, word, 0.0),) if params.logprobs is not None else ()
            yield GenerationChunk(
                text=text,
                token_ids=(token,),
                logprobs=logprobs,
                finish_reason=reason,
                stop_reason=matcher.matched,
                prompt_tokens=prompt_tokens,
                completion_tokens=count,
                timings=RequestTimings(
                    queue=started - arrived, generate=time.monotonic() - started
                ),
            )
            if reason is not None:
                return

    async def _score(
        self, request: GenerationRequest, arrived: float, stopped: asyncio.Event
    ) -> GenerationChunk:
        """The chunk of a scoring request: fictitious values that depend only on the tokens so
        far.
        """
        started = time.monotonic()
        await self._pause(stopped)
        self._steps += 1
        self._prompt_tokens += len(request.prompt_token_ids)
        so_far = hashlib.sha256(repr(request.prompt_token_ids).encode())
        logprobs: list[TokenLogprob] = []
        for token in request.continuation_token_ids:
            so_far.update(f",{token}".encode())
            value = -8 * int.from_bytes(so_far.digest()[:4], "little") / 2**32
            logprobs.append(TokenLogprob(token, f" {token}", value))
        return GenerationChunk(
            text="",
            logprobs=tuple(logprobs),
            finish_reason=FinishReason.LENGTH,
            prompt_tokens=len(request.prompt_token_ids),
            timings=RequestTimings(queue=started - arrived, prefill=time.monotonic() - started),
        )

    async def _pause(self, stopped: asyncio.Event) -> None:
        """Waits until the next word is due; raises if the engine is stopped meanwhile."""
        await asyncio.sleep(self.delay)
        if stopped.is_set():
            raise EngineStoppedError("the engine stopped")
