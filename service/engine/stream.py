"""Carries a request's chunks from an engine to its reader on the event loop. Torch-free.

All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import dataclasses

from service.engine.base import GenerationChunk


class ChunkStream:
    """Holds at most one chunk: chunks that its reader has not taken are merged."""

    def __init__(self) -> None:
        self._pending: GenerationChunk | None = None
        self._error: Exception | None = None
        self._ready = asyncio.Event()

    def put(self, item: GenerationChunk | Exception) -> None:
        """Adds a chunk, or the error that ends the stream after earlier chunks are read."""
        if isinstance(item, Exception):
            # The first error is the request's own; a later one is only the engine's end.
            self._error = self._error or item
        else:
            self._pending = item if self._pending is None else merge(self._pending, item)
        self._ready.set()

    async def next(self) -> GenerationChunk:
        """The next chunk; raises the error once no chunk is left."""
        await self._ready.wait()
        chunk, self._pending = self._pending, None
        if chunk is None:
            assert self._error is not None
            raise self._error
        if self._error is None:
            self._ready.clear()
        return chunk


def merge(first: GenerationChunk, second: GenerationChunk) -> GenerationChunk:
    """Two consecutive chunks as one; counts are running totals, so the later ones apply."""
    return dataclasses.replace(
        second,
        text=first.text + second.text,
        token_ids=first.token_ids + second.token_ids,
        logprobs=first.logprobs + second.logprobs,
    )
