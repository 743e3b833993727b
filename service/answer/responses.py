"""Answers of the Responses API: one JSON body, or typed server-sent events.

Both are made from the same deltas, so their texts are equal.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from lamm_model.sampling_params import SamplingParams
from service.answer.generation import Generation
from service.answer.response_items import AnswerItem, Events, answer_item
from service.answer.streaming import (
    Envelope,
    failure_reply,
    whole_choices,
)
from service.engine.base import FinishReason
from service.schemas.events import KEEP_ALIVE
from service.schemas.responses import ResponsesRequest, TextFormat
from service.schemas.responses_answers import (
    IncompleteDetails,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
)

_DEFAULTS = SamplingParams()
_Status = Literal["completed", "incomplete"]


def begun_response(
    body: ResponsesRequest, generation: Generation, envelope: Envelope
) -> ResponseObject:
    """The answer before its first token; the rest of it repeats the request."""
    wanted = None if body.text is None else body.text.format
    return ResponseObject(
        id=f"resp_{_key(generation)}",
        created_at=int(time.time()),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        model=envelope.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        system_fingerprint=envelope.fingerprint,
        temperature=_DEFAULTS.temperature if body.temperature is None else body.temperature,
        text={"format": _format(wanted or TextFormat(type="text"))},
        tool_choice=body.tool_choice or "auto",
        tools=body.tools or [],
        top_logprobs=body.top_logprobs or 0,
        top_p=_DEFAULTS.top_p if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
    )


async def collect_response(generation: Generation, begun: ResponseObject) -> ResponseObject:
    """The whole answer.

    Raises:
        EngineError: the engine failed in the middle.
        OverloadedError: it waited too long for its first token.
    """
    item, events = answer_item(_key(generation), generation.called), Events()
    (whole,) = await whole_choices(generation)
    item.go_on(events, whole.text, whole.logprobs)
    status = _status(whole.finish_reason)
    item.end(events, status)
    return _ended(begun, generation, item, status)


async def response_events(generation: Generation, begun: ResponseObject) -> AsyncIterator[bytes]:
    """The answer's typed events, from `response.created` to `response.completed` or
    `response.incomplete`; keep-alive comments.

    A failure is `response.failed` and an `error` event, since the status has been sent already.
    """
    events = Events()
    try:
        for name in ("created", "in_progress"):
            yield events.of_response(name, begun)
        item = answer_item(_key(generation), generation.called)
        for event in item.begin(events):
            yield event
        reason = FinishReason.LENGTH
        async for delta in generation.deltas():
            if delta is None:
                yield KEEP_ALIVE
                continue
            if delta.text or delta.logprobs:
                for event in item.go_on(events, delta.text, delta.logprobs):
                    yield event
            reason = delta.finish_reason or reason
        status = _status(reason)
        for event in item.end(events, status):
            yield event
        yield events.of_response(status, _ended(begun, generation, item, status))
    except Exception as error:
        reply = failure_reply(generation, error)
        told = ResponseFailure(message=reply.message)
        yield events.of_response("failed", begun.model_copy(update=_failed(told)))
        yield events.of_error(reply.body()["error"])


def _status(reason: FinishReason) -> _Status:
    return "completed" if reason is FinishReason.STOP else "incomplete"


def _ended(
    begun: ResponseObject,
    generation: Generation,
    item: AnswerItem,
    status: _Status,
) -> ResponseObject:
    complete = status == "completed"
    return begun.model_copy(
        update={
            "status": status,
            "completed_at": int(time.time()) if complete else None,
            "incomplete_details": None if complete else IncompleteDetails(),
            "output": item.output(status),
            "usage": ResponseUsage.of(generation.usage()),
            "media": generation.media_facts(),
        }
    )


def _failed(failure: ResponseFailure) -> dict[str, Any]:
    return {"status": "failed", "error": failure}


def _format(wanted: TextFormat) -> dict[str, Any]:
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    return {
        "type": wanted.type,
        "name": wanted.name or "",
        "schema": wanted.schema_,
        "strict": wanted.strict,
    }


def _key(generation: Generation) -> str:
    """What all ids of one answer share with its sequences' ids in the log."""
    return generation.completion_id.rpartition("-")[2]
