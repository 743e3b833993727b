"""The item of an answer of the Responses API, a text or a call of a tool, and its events.

An item takes the answer's text piece by piece, or all at once, so a stream and a body are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from service.answer.streaming import choice_logprobs
from service.answer.tool_calls import ToolCallText
from service.engine.base import TokenLogprob
from service.schemas.events import typed_event
from service.schemas.openai_answers import TokenLogprobEntry
from service.schemas.responses_answers import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ResponseObject,
)

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class Events:
    """Makes the events of one answer, and numbers them."""

    def __init__(self) -> None:
        self._next = 0

    def of_response(self, name: str, response: ResponseObject) -> bytes:
        """What is known of the whole answer."""
        return self.event(f"response.{name}", response=response.model_dump())

    def of_item(self, name: str, item: OutputItem) -> bytes:
        """An item that begins or ends."""
        fields = {"output_index": 0, "item": item.model_dump()}
        return self.event(f"response.output_item.{name}", **fields)

    def of_error(self, detail: dict[str, Any]) -> bytes:
        """The error in both known forms: its own fields, and nested, which SDKs raise."""
        flat = {name: detail[name] for name in ("code", "message", "param")}
        return self.event("error", **flat, error=detail)

    def event(self, kind: str, **fields: Any) -> bytes:
        """Any event."""
        number, self._next = self._next, self._next + 1
        return typed_event({"type": kind, "sequence_number": number, **fields})


class AnswerItem(Protocol):
    """What an answer consists of."""

    def begin(self, events: Events) -> list[bytes]:
        """The first events."""
        ...

    def go_on(self, events: Events, text: str, logprobs: Sequence[TokenLogprob]) -> list[bytes]:
        """Takes more text; the events of it."""
        ...

    def end(self, events: Events, status: ItemStatus) -> list[bytes]:
        """The last events."""
        ...

    def output(self, status: ItemStatus) -> list[OutputItem]:
        """The item as far as it has come; nothing if no tool has been named."""
        ...


class TextItem:
    """A message with one text."""

    def __init__(self, key: str) -> None:
        self._id = f"msg_{key}"
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    def begin(self, events: Events) -> list[bytes]:
        """See `AnswerItem.begin`."""
        added = events.of_item("added", OutputMessage(id=self._id, status="in_progress"))
        return [added, self._of_part(events, "added", OutputText(text=""))]

    def go_on(self, events: Events, text: str, logprobs: Sequence[TokenLogprob]) -> list[bytes]:
        """See `AnswerItem.go_on`."""
        self._texts.append(text)
        self._logprobs += logprobs
        entries = [one.model_dump() for one in _entries(logprobs)]
        return [self._of_text(events, "output_text.delta", delta=text, logprobs=entries)]

    def end(self, events: Events, status: ItemStatus) -> list[bytes]:
        """See `AnswerItem.end`."""
        message = self._message(status)
        (part,) = message.content
        whole = part.model_dump(include={"text", "logprobs"})
        return [
            self._of_text(events, "output_text.done", **whole),
            self._of_part(events, "done", part),
            events.of_item("done", message),
        ]

    def output(self, status: ItemStatus) -> list[OutputItem]:
        """See `AnswerItem.output`."""
        return [self._message(status)]

    def _message(self, status: ItemStatus) -> OutputMessage:
        text = OutputText(text="".join(self._texts), logprobs=_entries(self._logprobs))
        return OutputMessage(id=self._id, status=status, content=[text])

    def _of_part(self, events: Events, name: str, part: OutputText) -> bytes:
        return self._of_text(events, f"content_part.{name}", part=part.model_dump())

    def _of_text(self, events: Events, kind: str, **fields: Any) -> bytes:
        place = {"item_id": self._id, "output_index": 0, "content_index": 0}
        return events.event(f"response.{kind}", **place, **fields)


class CallItem:
    """A call of one of the tools `names`; this API has no place for its log-probabilities."""

    def __init__(self, key: str, names: Sequence[str]) -> None:
        self._id = f"fc_{key}"
        self._call = ToolCallText(names)
        self._arguments: list[str] = []

    def begin(self, events: Events) -> list[bytes]:
        """See `AnswerItem.begin`."""
        return self._head(events, before=None)

    def go_on(
        self,
        events: Events,
        text: str,
        logprobs: Sequence[TokenLogprob],  # noqa: ARG002 - see the class
    ) -> list[bytes]:
        """See `AnswerItem.go_on`."""
        before = self._call.name
        arguments = self._call.feed(text)
        return [*self._head(events, before), *self._more(events, arguments)]

    def end(self, events: Events, status: ItemStatus) -> list[bytes]:
        """See `AnswerItem.end`."""
        told = self._more(events, self._call.end())
        for item in self.output(status):
            whole = {"name": self._call.name, "arguments": "".join(self._arguments)}
            told += [self._of_arguments(events, "done", **whole), events.of_item("done", item)]
        return told

    def output(self, status: ItemStatus) -> list[OutputItem]:
        """See `AnswerItem.output`."""
        name, arguments = self._call.name, "".join(self._arguments)
        if name is None:
            return []
        call = OutputCall(
            id=self._id, status=status, call_id=self._call.id, name=name, arguments=arguments
        )
        return [call]

    def _head(self, events: Events, before: str | None) -> list[bytes]:
        """The event that names the tool, once its name is known."""
        if before is not None:
            return []
        return [events.of_item("added", item) for item in self.output("in_progress")]

    def _more(self, events: Events, arguments: str) -> list[bytes]:
        if not arguments:
            return []
        self._arguments.append(arguments)
        return [self._of_arguments(events, "delta", delta=arguments)]

    def _of_arguments(self, events: Events, kind: str, **fields: Any) -> bytes:
        place = {"item_id": self._id, "output_index": 0}
        return events.event(f"response.function_call_arguments.{kind}", **place, **fields)


def answer_item(key: str, called: Sequence[str]) -> AnswerItem:
    """The item of an answer that calls one of the tools `called`; a text if there are none."""
    return CallItem(key, called) if called else TextItem(key)


def _entries(tokens: Sequence[TokenLogprob]) -> list[TokenLogprobEntry]:
    found = choice_logprobs(tokens)
    return [] if found is None else found.content or []
