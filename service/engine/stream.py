"""A request's chunks on their way from an engine to one reader on the event loop. Torch-free.

Made by an engine's `generate`. All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import dataclasses

from service.engine.base import GenerationChunk


class ChunkStream:
    """A mailbox that merges what its reader was too slow to take: it holds one chunk at most."""

    def __init__(self) -> None:
        self._pending: GenerationChunk | None = None
        self._error: Exception | None = None
        self._ready = asyncio.Event()

    def put(self, item: GenerationChunk | Exception) -> None:
        """Adds a chunk, or the error that ends the stream once earlier chunks are read."""
        if isinstance(item, Exception):
            # The first says what befell this request; the engine's end, right after, does not.
            self._error = self._error or item
        else:
            self._pending = item if self._pending is None else merge(self._pending, item)
        self._ready.set()

    async def next(self) -> GenerationChunk:
        """The next chunk; raises the error that was put when nothing else is left."""
        await self._ready.wait()
        chunk, self._pending = self._pending, None
        if chunk is None:
            assert self._error is not None
            raise self._error
        if self._error is None:
            self._ready.clear()
        return chunk


def merge(first: GenerationChunk, second: GenerationChunk) -> GenerationChunk:
    """Two chunks in a row as one; counts are running totals, so the later ones hold."""
    return dataclasses.replace(
        second,
        text=first.text + second.text,
        token_ids=first.token_ids + second.token_ids,
        logprobs=first.logprobs + second.logprobs,
    )
