"""Messages in their order become turns: a question with its media, and the answer to it.

A LAMM conversation knows two speakers. A tool's result is told by the person, a tool call by the
assistant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from lamm_model.conversation import Turn, neutralise
from service.exceptions import RequestError
from service.media.item import MediaItem
from service.schemas.messages import CalledTool, ChatMessage


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns with neutralised texts; `system` is None if the client sent none.

    With `continues`, the last answer is only begun.
    """

    turns: tuple[Turn, ...]
    media: tuple[MediaItem, ...]
    system: str | None
    continues: bool = False


@dataclass(slots=True)
class _OpenTurn:
    """A turn while its messages are being read; `param` is its first message."""

    param: str
    texts: list[str] = field(default_factory=list)
    media: list[MediaItem] = field(default_factory=list)
    asked: bool = False
    answer: list[str] | None = None
    calls: bool = False  # the last message of the answer calls tools


class TurnReader:
    """Takes the messages of one conversation, one after the other."""

    def __init__(self, *, strips: bool, continues: bool) -> None:
        """
        Args:
            strips: whether white space around questions and answers is dropped.
            continues: whether the last message is an answer that the model goes on with.
        """
        self._strips, self._continues = strips, continues
        self._system: list[str] = []
        self._turns: list[_OpenTurn] = []
        self._called: dict[str, str] = {}

    def add(self, message: ChatMessage, param: str, text: str, media: list[MediaItem]) -> None:
        """Adds a message, whose content has been read."""
        if message.role in ("system", "developer"):
            self._system.append(text)
        elif message.role == "assistant":
            self._add_answer(message, param, text)
        else:
            told = text if message.role == "user" else self._result(message, text)
            if not self._turns or self._turns[-1].answer is not None:
                self._turns.append(_OpenTurn(param))
            turn = self._turns[-1]
            turn.texts.append(told)
            turn.media += media
            turn.asked = True

    def close(self) -> Conversation:
        """The conversation.

        Raises:
            RequestError: it has no text at all, a question is empty, the last message has the
                wrong role, or it is to be continued but calls tools.
        """
        if not self._turns and not any(text.strip() for text in self._system):
            raise RequestError("the messages have neither text nor media", param="messages")
        turns = self._turns or [_OpenTurn("messages")]
        answered = turns[-1].answer is not None
        if answered and not self._continues:
            raise RequestError(
                "the last message has role 'assistant', so there is nothing to answer; set "
                "continue_final_message to true to continue its text",
                param="messages",
            )
        if self._continues and not answered:
            raise RequestError(
                "continue_final_message is true, but the last message is not an assistant's",
                param="continue_final_message",
            )
        if self._continues and turns[-1].calls:
            raise RequestError(
                "continue_final_message is true, but the last message ends with a tool call; only "
                "text can be continued",
                param="continue_final_message",
            )
        return Conversation(
            turns=tuple(self._close_turn(one, one is turns[-1]) for one in turns),
            media=tuple(item for turn in turns for item in turn.media),
            system="\n".join(self._system) if self._system else None,
            continues=self._continues,
        )

    def _add_answer(self, message: ChatMessage, param: str, text: str) -> None:
        self._called |= {call.id: call.function.name for call in message.calls if call.id}
        told = (text, message.refusal or "", *map(_call_text, message.calls))
        if not self._turns:
            self._turns.append(_OpenTurn(param))
        turn = self._turns[-1]
        turn.answer = [*(turn.answer or []), *filter(None, told)]
        turn.calls = bool(message.calls)

    def _result(self, message: ChatMessage, text: str) -> str:
        name = self._called.get(message.tool_call_id or "") or message.name
        return f"Result of {name}: {text}" if name else f"Result: {text}"

    def _close_turn(self, turn: _OpenTurn, is_last: bool) -> Turn:
        question = "\n".join(text for text in turn.texts if text)
        if turn.asked and not question.strip() and not turn.media:
            raise RequestError(f"{turn.param} has neither text nor media", param=turn.param)
        answer = None if turn.answer is None else "\n".join(turn.answer)
        if self._strips:
            question = question.strip()
            # What the model goes on with ends where its author ended it.
            unfinished = is_last and self._continues
            answer = answer and (answer.lstrip() if unfinished else answer.strip())
        return Turn(
            neutralise(question) if turn.asked else None,
            None if answer is None else neutralise(answer),
            tuple(item.modality for item in turn.media),
        )


def _call_text(call: CalledTool) -> str:
    """A call as JSON; its arguments are JSON text already, or whatever the client has."""
    name = json.dumps(call.function.name, ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {call.function.arguments or "{}"}}}'
