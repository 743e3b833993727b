"""Answers that call a tool, as OpenAI's API has them.

With one tool, the answer is the arguments. With several, it is `{"name": ..., "arguments": ...}`,
in the layout of the grammar; the arguments are taken out of it while it streams.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from service.engine.base import FinishReason
from service.engine.grammar.json_position import JsonPosition
from service.schemas.openai_answers import AssistantMessage, CallingMessage
from service.schemas.tools import FunctionCall, ToolCall

_CALLED = "tool_calls"


class AnswerShape(Protocol):
    """How the choices of an answer are told: as messages, or as a stream of deltas."""

    def begin(self, index: int) -> list[dict[str, Any]]:
        """The first deltas of a choice."""
        ...

    def go_on(self, index: int, text: str) -> list[dict[str, Any]]:
        """The deltas of more text, which may be empty."""
        ...

    def end(self, index: int) -> list[dict[str, Any]]:
        """The last deltas of a choice."""
        ...

    def message(self, index: int, text: str) -> AssistantMessage | CallingMessage:
        """The message of a whole choice."""
        ...

    def reason(self, reason: FinishReason) -> str:
        """The finish reason as it is told."""
        ...


class TextShape:
    """Answers in text."""

    def begin(self, index: int) -> list[dict[str, Any]]:  # noqa: ARG002 - the same for all
        """See `AnswerShape.begin`."""
        return [{"role": "assistant", "content": ""}]

    def go_on(self, index: int, text: str) -> list[dict[str, Any]]:  # noqa: ARG002 - as above
        """See `AnswerShape.go_on`."""
        return [{"content": text}]

    def end(self, index: int) -> list[dict[str, Any]]:  # noqa: ARG002 - as above
        """See `AnswerShape.end`."""
        return []

    def message(self, index: int, text: str) -> AssistantMessage:  # noqa: ARG002 - as above
        """See `AnswerShape.message`."""
        return AssistantMessage(content=text)

    def reason(self, reason: FinishReason) -> str:
        """See `AnswerShape.reason`."""
        return reason.value


class CallShape:
    """Answers that call one of the tools `names`; each choice has its own call."""

    def __init__(self, names: Sequence[str], choices: int) -> None:
        self._calls = [ToolCallText(names) for _ in range(choices)]

    def begin(self, index: int) -> list[dict[str, Any]]:
        """See `AnswerShape.begin`."""
        return [{"role": "assistant", "content": None}, *self._head(index, before=None)]

    def go_on(self, index: int, text: str) -> list[dict[str, Any]]:
        """See `AnswerShape.go_on`."""
        call = self._calls[index]
        before = call.name
        arguments = call.feed(text)
        return [*self._head(index, before), *_more(arguments)]

    def end(self, index: int) -> list[dict[str, Any]]:
        """See `AnswerShape.end`."""
        return _more(self._calls[index].end())

    def message(self, index: int, text: str) -> CallingMessage:
        """See `AnswerShape.message`."""
        call = self._calls[index]
        arguments = call.feed(text) + call.end()
        if call.name is None:
            return CallingMessage(tool_calls=[])
        function = FunctionCall(name=call.name, arguments=arguments)
        return CallingMessage(tool_calls=[ToolCall(id=call.id, function=function)])

    def reason(self, reason: FinishReason) -> str:
        """See `AnswerShape.reason`."""
        return _CALLED if reason is FinishReason.STOP else reason.value

    def _head(self, index: int, before: str | None) -> list[dict[str, Any]]:
        """The delta that names the tool, once its name is known."""
        call = self._calls[index]
        if call.name is None or before is not None:
            return []
        function = {"name": call.name, "arguments": ""}
        return [{_CALLED: [{"index": 0, "id": call.id, "type": "function", "function": function}]}]


class ToolCallText:
    """Reads the call of one choice while its text comes."""

    def __init__(self, names: Sequence[str]) -> None:
        self.id = f"call_{uuid.uuid4().hex[:24]}"
        self.name: str | None = names[0] if len(names) == 1 else None
        self._heads = {} if self.name else {_head(name): name for name in names}
        self._read, self._held = "", ""
        self._position = JsonPosition()

    def feed(self, text: str) -> str:
        """More of the arguments, as far as they are certain."""
        if not self._heads:
            return text
        self._position.feed(text.encode())
        if self.name is None:
            text = self._read_name(text)
            if self.name is None:
                return ""
        # The last brace closes the object around the arguments.
        text = self._held + text
        self._held = text[-1:]
        return text[:-1]

    def end(self) -> str:
        """The rest of the arguments, if the answer was cut."""
        return self._held if self._position.depth else ""

    def _read_name(self, text: str) -> str:
        """What follows the name, once it is known."""
        self._read += text
        for head, name in self._heads.items():
            if self._read.startswith(head):
                self.name = name
                return self._read[len(head) :]
        return ""


def _more(arguments: str) -> list[dict[str, Any]]:
    if not arguments:
        return []
    return [{_CALLED: [{"index": 0, "function": {"arguments": arguments}}]}]


def _head(name: str) -> str:
    return f'{{"name": {json.dumps(name)}, "arguments": '


def shape_of(called: Sequence[str], choices: int) -> AnswerShape:
    """The shape of answers that call one of the tools `called`; of text if there are none."""
    return CallShape(called, choices) if called else TextShape()
