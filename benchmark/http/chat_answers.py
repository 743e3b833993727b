"""Parses the answers of a chat server, whole or streamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmark.errors import RequestFailedError
from benchmark.http.sse import SseParser
from benchmark.text import spellable, told

# Longest wait for the end of the body after [DONE].
_LONGEST_END_S = 0.2


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts reported by the server."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChatResult:
    """One finished answer. `fingerprint` is the server's `system_fingerprint`, if any."""

    text: str
    finish_reason: str | None
    model: str
    fingerprint: str | None
    usage: Usage


@dataclass(slots=True)
class StreamRecord:
    """Record of one streamed request; times in seconds, from `time.perf_counter`.

    `chunk_times` are the times of chunks with text; `error` is None on success only.
    """

    start: float
    chunk_times: list[float] = field(default_factory=list)
    end: float = 0.0
    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    error: str | None = None

    @property
    def ttft(self) -> float:
        """Seconds to the first text, or to the end if no chunk had text."""
        return (self.chunk_times[0] if self.chunk_times else self.end) - self.start

    @property
    def itls(self) -> list[float]:
        """Seconds between successive chunks of text."""
        return [b - a for a, b in zip(self.chunk_times, self.chunk_times[1:], strict=False)]

    @property
    def latency(self) -> float:
        """Seconds from sending to the end of the stream."""
        return self.end - self.start


def read_completion(content: bytes) -> ChatResult:
    """Parses the body of a chat completion.

    Raises:
        RequestFailedError: the body is not a chat completion.
    """
    try:
        value = json.loads(content)
        choice = value["choices"][0]
        return ChatResult(
            text=spellable(str(choice["message"]["content"] or "")),
            finish_reason=choice.get("finish_reason"),
            model=str(value.get("model", "")),
            fingerprint=value.get("system_fingerprint"),
            usage=_usage(value.get("usage") or {}),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = told(content[:200].decode("utf8", "replace"))
        raise RequestFailedError(f"not a chat completion: {shown}") from None


async def read_stream(response: httpx.Response, record: StreamRecord) -> None:
    """Records the events of a stream with their times, and its error if it has one."""
    parser = SseParser()
    chunks = response.aiter_bytes()
    async for chunk in chunks:
        now = time.perf_counter()
        for event in parser.feed(chunk):
            if event == "[DONE]":
                if record.error is None and record.usage is None:
                    record.error = "the stream has no usage chunk, so its token counts are unknown"
                record.end = now
                await _read_out(chunks)
                return
            _take_event(event, now, record)
    record.error = record.error or "the stream ended before [DONE]"


async def _read_out(chunks: AsyncIterator[bytes]) -> None:
    """Reads to the end of the body, so that the connection is reused: a new connection would add to
    the next request's time to first token.
    """
    with contextlib.suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(_LONGEST_END_S):
            async for _ in chunks:
                pass


def refusal(response: httpx.Response) -> str:
    """The message of an error response in OpenAI's format, or its body."""
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = response.text
    return f"HTTP {response.status_code}: {told(message)}"


def _take_event(event: str, now: float, record: StreamRecord) -> None:
    try:
        value = json.loads(event)
        if "error" in value:
            record.error = told(str(value["error"].get("message", value["error"])))
        if value.get("usage"):
            record.usage = _usage(value["usage"])
        for choice in value.get("choices", ()):
            if text := choice.get("delta", {}).get("content"):
                record.text += text
                record.chunk_times.append(now)
            record.finish_reason = choice.get("finish_reason") or record.finish_reason
    except (ValueError, TypeError, AttributeError):
        record.error = f"not a chat completion chunk: {told(event[:200])}"


def _usage(value: Mapping[str, Any]) -> Usage:
    details = value.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(value.get("prompt_tokens", 0)),
        completion_tokens=int(value.get("completion_tokens", 0)),
        cached_tokens=int(details.get("cached_tokens") or 0),
    )
