"""Chat answers as one JSON body or as server-sent events.

Both are made from the same deltas, so their texts are equal. Event format: WHATWG HTML, server-sent
events; payloads are OpenAI's chunks.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.answer.generation import Delta, Generation
from service.answer.tool_calls import shape_of
from service.engine.base import FinishReason, TokenLogprob
from service.errors import ErrorReply, translate
from service.exceptions import ClientDisconnectedError, OverloadedError
from service.http.disconnect import until_disconnect
from service.schemas.events import DONE, EVENT_STREAM, KEEP_ALIVE, event
from service.schemas.openai_answers import (
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    TokenLogprobEntry,
    TopLogprob,
)

logger = logging.getLogger(__name__)

# How `detokenizer.token_text` writes a byte that is not a character.
_BYTE = re.compile(r"bytes:\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Fields that every body and every chunk of one answer repeats."""

    model: str
    fingerprint: str
    include_usage: bool = False


async def collect(generation: Generation, envelope: Envelope) -> ChatCompletion:
    """The whole answer.

    Raises:
        EngineError: the engine failed in the middle.
    """
    shape = shape_of(generation.called, generation.choices)
    choices = [
        Choice(
            index=index,
            message=shape.message(index, whole.text),
            logprobs=choice_logprobs(whole.logprobs),
            finish_reason=shape.reason(whole.finish_reason),
        )
        for index, whole in enumerate(await whole_choices(generation))
    ]
    return ChatCompletion(
        id=generation.completion_id,
        created=int(time.time()),
        model=envelope.model,
        choices=choices,
        usage=generation.usage(),
        media=generation.media_facts(),
        system_fingerprint=envelope.fingerprint,
    )


@dataclass(frozen=True, slots=True)
class WholeChoice:
    """One complete choice of an answer."""

    text: str
    logprobs: list[TokenLogprob]
    finish_reason: FinishReason


async def whole_choices(generation: Generation) -> list[WholeChoice]:
    """The complete choices of a generation; raises as `Generation.deltas`."""
    texts: list[list[str]] = [[] for _ in range(generation.choices)]
    logprobs: list[list[TokenLogprob]] = [[] for _ in range(generation.choices)]
    reasons = [FinishReason.LENGTH] * generation.choices
    async for delta in generation.deltas():
        if delta is None:
            continue
        texts[delta.index].append(delta.text)
        logprobs[delta.index] += delta.logprobs
        if delta.finish_reason is not None:
            reasons[delta.index] = delta.finish_reason
    return [
        WholeChoice("".join(parts), tokens, reason)
        for parts, tokens, reason in zip(texts, logprobs, reasons, strict=True)
    ]


async def events(generation: Generation, envelope: Envelope) -> AsyncIterator[bytes]:
    """First chunks, deltas, finish chunks, the usage chunk if requested, `[DONE]`; keep-alive
    comments.

    The last chunk tells what was done to the media.
    A failure is an `{"error": ...}` event before `[DONE]`, since the status has been sent already.
    """
    chunk = _chunk_maker(generation.completion_id, envelope)
    shape = shape_of(generation.called, generation.choices)
    unfinished, media = generation.choices, _media_fields(generation)
    try:
        for index in range(generation.choices):
            for first in shape.begin(index):
                yield chunk(index, first, None, None)
        async for delta in generation.deltas():
            if delta is None:
                yield KEEP_ALIVE
                continue
            if delta.text or delta.logprobs:
                source: Delta | None = delta
                told = shape.go_on(delta.index, delta.text)
                if delta.logprobs and not told:
                    told = [{}]  # tokens of a text that is held back
                for more in told:
                    yield chunk(delta.index, more, source, None)
                    source = None
            if delta.finish_reason is not None:
                for last in shape.end(delta.index):
                    yield chunk(delta.index, last, None, None)
                unfinished -= 1
                is_last = not unfinished and not envelope.include_usage
                reason = shape.reason(delta.finish_reason)
                yield chunk(delta.index, {}, None, reason, more=media if is_last else {})
        if envelope.include_usage:
            yield chunk(None, {}, None, None, generation.usage().model_dump(), more=media)
    except Exception as error:
        yield failure_event(generation, error)
    yield DONE


def failure_reply(generation: Generation, error: Exception) -> ErrorReply:
    """The reply to an error after the headers, which is logged; refusals are counted."""
    if isinstance(error, OverloadedError):
        generation.metrics.rejected(error.reason)
        logger.warning("a stream was refused after its headers: %s", error)
    else:
        logger.error("a stream failed after its headers", exc_info=error)
    return translate(error)


def failure_event(generation: Generation, error: Exception) -> bytes:
    """The event of an error after the headers."""
    return event(failure_reply(generation, error).body())


async def respond(
    request: Request,
    generation: Generation,
    whole: Coroutine[Any, Any, BaseModel] | None,
    stream: AsyncIterator[bytes],
    running: contextlib.ExitStack,
) -> Response:
    """One JSON body, or a stream if there is no `whole`, which then closes `running`."""
    if whole is None:
        return EventStream(generation, stream, running.pop_all().close)
    try:
        answer = await until_disconnect(request.receive, whole)
    finally:
        await generation.close()
    headers = {"Server-Timing": generation.server_timing()}
    return JSONResponse(answer.model_dump(), headers=headers)


class EventStream(StreamingResponse):
    """Sends events until they end or the client disconnects; then closes the generation."""

    def __init__(
        self, generation: Generation, content: AsyncIterator[bytes], on_close: Callable[[], None]
    ) -> None:
        """`content` are the events of `generation`, as `events` makes them."""
        headers = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",  # nginx would hold the events back
            "Server-Timing": generation.server_timing(),
        }
        super().__init__(content, headers=headers, media_type=EVENT_STREAM)
        self._generation, self._on_close = generation, on_close

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            await until_disconnect(receive, self.stream_response(send))
        except (ClientDisconnectedError, OSError):
            logger.debug("a client disconnected in the middle of its stream")
        finally:
            await self._generation.close()
            self._on_close()


def _chunk_maker(completion_id: str, envelope: Envelope) -> Callable[..., bytes]:
    created = int(time.time())

    def make(
        index: int | None,
        delta: dict[str, Any],
        source: Delta | None,
        reason: str | None,
        usage: dict[str, Any] | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> bytes:
        choices: list[dict[str, Any]] = []
        if index is not None:
            logprobs = None if source is None else choice_logprobs(source.logprobs)
            choices.append(
                {
                    "index": index,
                    "delta": delta,
                    "logprobs": None if logprobs is None else logprobs.model_dump(),
                    "finish_reason": reason,
                }
            )
        body: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": envelope.model,
            "system_fingerprint": envelope.fingerprint,
            "choices": choices,
        }
        if envelope.include_usage:
            body["usage"] = usage
        return event({**body, **more})

    return make


def _media_fields(generation: Generation) -> dict[str, Any]:
    facts = generation.media_facts()
    return {} if facts is None else {"media": [one.model_dump(mode="json") for one in facts]}


def choice_logprobs(tokens: Sequence[TokenLogprob]) -> ChoiceLogprobs | None:
    """Log-probabilities in OpenAI's format; None if there are none."""
    if not tokens:
        return None
    entries = [
        TokenLogprobEntry(
            **_entry(token.text, token.logprob),
            top_logprobs=[TopLogprob(**_entry(text, logprob)) for _, text, logprob in token.top],
        )
        for token in tokens
    ]
    return ChoiceLogprobs(content=entries)


def _entry(text: str, logprob: float) -> dict[str, Any]:
    # A token may be one byte of a character; the bytes of a partial character are unknown.
    byte = _BYTE.fullmatch(text)
    known = "\ufffd" not in text
    # JSON cannot express -inf; OpenAI uses -9999 for it.
    return {
        "token": text,
        "logprob": max(logprob, -9999.0),
        "bytes": [int(byte[1], 16)] if byte else list(text.encode()) if known else None,
    }
