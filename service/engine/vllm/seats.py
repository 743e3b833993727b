"""Which requests the vLLM server has, and which wait for it here. Torch-free.

vLLM's own queue has no limit on tokens and no ageing of priorities, so no more requests are sent
than it runs at once. Used from the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator

from service.engine.base import PromptTooLongError, QueueFullError
from service.engine.config import EngineConfig
from service.engine.sequence import Sequence


class Seats:
    """`max_num_seqs` seats, and a bounded queue in the order of `Sequence.order`."""

    def __init__(self, config: EngineConfig, max_model_len: int) -> None:
        self._config, self._max_model_len = config, max_model_len
        self.running: set[Sequence] = set()
        self.waiting: set[Sequence] = set()
        self._queue: list[tuple[tuple[float, int], Sequence, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def taken(self, sequence: Sequence) -> AsyncIterator[None]:
        """Holds a seat while it is open.

        Raises:
            PromptTooLongError: prompt and continuation leave no room for a token.
            QueueFullError: too many requests or tokens are waiting.
        """
        self._check(sequence)
        await self._sit(sequence)
        try:
            yield
        finally:
            self.leave(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Gives a seat up, if the sequence has one; the next one in the queue gets it."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._call_next()

    def _check(self, sequence: Sequence) -> None:
        tokens, config = len(sequence.token_ids), self._config
        if tokens >= self._max_model_len:
            raise PromptTooLongError(tokens, self._max_model_len - 1)
        if len(self.running) < config.max_num_seqs and not self.waiting:
            return
        if len(self.waiting) >= config.max_waiting_requests:
            raise QueueFullError(len(self.waiting), config.max_waiting_requests, "requests")
        queued = sum(len(one.token_ids) for one in self.waiting)
        if self.waiting and queued + tokens > config.max_waiting_tokens:
            raise QueueFullError(queued, config.max_waiting_tokens, "tokens")

    async def _sit(self, sequence: Sequence) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(sequence)
        heapq.heappush(self._queue, (sequence.order, sequence, called))
        self._call_next()
        try:
            await called
        except asyncio.CancelledError:
            self.waiting.discard(sequence)
            self.leave(sequence)
            raise

    def _call_next(self) -> None:
        while self._queue and len(self.running) < self._config.max_num_seqs:
            _, sequence, called = heapq.heappop(self._queue)
            if called.done():
                continue  # its reader has gone
            self.waiting.remove(sequence)
            self.running.add(sequence)
            called.set_result(None)
