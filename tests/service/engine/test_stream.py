"""A stream's mailbox: what was put comes out whole, and the first error stays."""

from __future__ import annotations

import pytest

from service.engine.base import EngineStoppedError, GenerationChunk, RequestFailedError
from service.engine.stream import ChunkStream


async def test_chunks_that_nobody_took_come_as_one_before_the_error() -> None:
    stream = ChunkStream()
    for text in ("a", "b"):
        stream.put(GenerationChunk(text))
    stream.put(RequestFailedError("too large"))
    assert (await stream.next()).text == "ab"
    with pytest.raises(RequestFailedError, match="too large"):
        await stream.next()


async def test_the_engines_end_does_not_hide_what_befell_the_request() -> None:
    stream = ChunkStream()
    stream.put(RequestFailedError("too large"))
    stream.put(EngineStoppedError("the engine stopped"))
    with pytest.raises(RequestFailedError, match="too large"):
        await stream.next()
