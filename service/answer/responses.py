"""Answers of the Responses API: one JSON body, or typed server-sent events.

Both are made from the same deltas, so their texts are equal.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from lamm_model.sampling_params import SamplingParams
from service.answer.generation import Generation
from service.answer.streaming import (
    Envelope,
    WholeChoice,
    choice_logprobs,
    failure_reply,
    whole_choices,
)
from service.engine.base import FinishReason, TokenLogprob
from service.schemas.events import KEEP_ALIVE, typed_event
from service.schemas.openai_answers import TokenLogprobEntry
from service.schemas.responses import ResponsesRequest, TextFormat
from service.schemas.responses_answers import (
    IncompleteDetails,
    OutputMessage,
    OutputText,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
)

_DEFAULTS = SamplingParams()


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
        tool_choice="none" if body.tool_choice == "none" else "auto",
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
    (whole,) = await whole_choices(generation)
    return _ended(begun, generation, whole)


async def response_events(generation: Generation, begun: ResponseObject) -> AsyncIterator[bytes]:
    """The answer's typed events, from `response.created` to `response.completed` or
    `response.incomplete`; keep-alive comments.

    A failure is `response.failed` and an `error` event, since the status has been sent already.
    """
    events = _Events(_message_id(generation))
    try:
        for name in ("created", "in_progress"):
            yield events.of_response(name, begun)
        yield events.of_item("added", OutputMessage(id=events.item_id, status="in_progress"))
        yield events.of_part("added", OutputText(text=""))
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        reason = FinishReason.LENGTH
        async for delta in generation.deltas():
            if delta is None:
                yield KEEP_ALIVE
                continue
            if delta.text or delta.logprobs:
                texts.append(delta.text)
                logprobs += delta.logprobs
                yield events.of_delta(delta.text, delta.logprobs)
            reason = delta.finish_reason or reason
        ended = _ended(begun, generation, WholeChoice("".join(texts), logprobs, reason))
        for event in events.of_end(ended):
            yield event
    except Exception as error:
        reply = failure_reply(generation, error)
        told = ResponseFailure(message=reply.message)
        yield events.of_response("failed", begun.model_copy(update=_failed(told)))
        yield events.of_error(reply.body()["error"])


class _Events:
    """Makes the events of one answer, which is one message with one text, and numbers them."""

    def __init__(self, item_id: str) -> None:
        self.item_id, self._next = item_id, 0

    def of_response(self, name: str, response: ResponseObject) -> bytes:
        """What is known of the whole answer."""
        return self._event(f"response.{name}", response=response.model_dump())

    def of_item(self, name: str, item: OutputMessage) -> bytes:
        return self._event(f"response.output_item.{name}", output_index=0, item=item.model_dump())

    def of_part(self, name: str, part: OutputText) -> bytes:
        return self._of_text(f"response.content_part.{name}", part=part.model_dump())

    def of_delta(self, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        entries = [one.model_dump() for one in _entries(logprobs)]
        return self._of_text("response.output_text.delta", delta=text, logprobs=entries)

    def of_end(self, response: ResponseObject) -> list[bytes]:
        """The last events of an answer."""
        (item,) = response.output
        (part,) = item.content
        whole = part.model_dump(include={"text", "logprobs"})
        return [
            self._of_text("response.output_text.done", **whole),
            self.of_part("done", part),
            self.of_item("done", item),
            self.of_response(response.status, response),
        ]

    def of_error(self, detail: dict[str, Any]) -> bytes:
        """The error in both known forms: its own fields, and nested, which SDKs raise."""
        flat = {name: detail[name] for name in ("code", "message", "param")}
        return self._event("error", **flat, error=detail)

    def _of_text(self, kind: str, **fields: Any) -> bytes:
        place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._next = self._next, self._next + 1
        return typed_event({"type": kind, "sequence_number": number, **fields})


def _ended(begun: ResponseObject, generation: Generation, whole: WholeChoice) -> ResponseObject:
    complete = whole.finish_reason is FinishReason.STOP
    status = "completed" if complete else "incomplete"
    text = OutputText(text=whole.text, logprobs=_entries(whole.logprobs))
    message = OutputMessage(id=_message_id(generation), status=status, content=[text])
    return begun.model_copy(
        update={
            "status": status,
            "completed_at": int(time.time()) if complete else None,
            "incomplete_details": None if complete else IncompleteDetails(),
            "output": [message],
            "usage": ResponseUsage.of(generation.usage()),
        }
    )


def _failed(failure: ResponseFailure) -> dict[str, Any]:
    return {"status": "failed", "error": failure}


def _entries(tokens: Sequence[TokenLogprob]) -> list[TokenLogprobEntry]:
    found = choice_logprobs(tokens)
    return [] if found is None else found.content or []


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


def _message_id(generation: Generation) -> str:
    return f"msg_{_key(generation)}"
