"""Requests of the Responses API become chat requests, which are planned and run as such.

Errors of the chat request are reported in the names of the request that the client sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from service.errors import ErrorReply
from service.exceptions import ContextLengthError, RequestError
from service.plan.responses_tools import chat_tool_choice, chat_tools
from service.schemas.messages import (
    CalledFunction,
    CalledTool,
    ChatMessage,
    FilePart,
    FileReference,
    ImagePart,
    ImageUrl,
    PointCloudPart,
    RefusalPart,
    TextPart,
)
from service.schemas.openai import (
    ChatCompletionRequest,
    JsonSchemaFormat,
    ResponseFormat,
    SamplingFields,
)
from service.schemas.responses import ResponsesRequest, TextFormat
from service.schemas.responses_input import (
    FunctionCallItem,
    InputContent,
    InputFilePart,
    InputImagePart,
    InputItem,
    InputMessage,
    InputPart,
    OutputRefusalPart,
)

LOGPROBS = "message.output_text.logprobs"
# Fields of the chat request, and what they are called here.
_ELSEWHERE = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "logprobs": f"include ({LOGPROBS!r})",
    "functions": "tools",
    "function_call": "tool_choice",
}
_NAMES = {
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
_NAME = re.compile(r"\b(max_tokens|response_format(\.json_schema\.schema)?)\b")
# A tool's fields are beside its type here, and below it in a chat request.
_TOOL = re.compile(r"\b(tools\[\d+\]|tool_choice)\.(?:function|allowed_tools)\b")
_PLACE = re.compile(r"\bmessages\[(\d+)\](\.content(?:\[\d+\])?)?(\.file\b)?")


@dataclass(frozen=True, slots=True)
class Translated:
    """A chat request, and how its messages were given.

    `offset` is the number of messages before the first item of the input, `is_text` tells whether
    the input is a single text, and `drops` whether the client allows to drop items.
    """

    chat: ChatCompletionRequest
    offset: int
    is_text: bool
    drops: bool

    def renamed(self, reply: ErrorReply) -> ErrorReply:
        """The reply to the chat request in the names of the client's request."""
        param = reply.param and self._renamed(reply.param)
        message = self._renamed(reply.message)
        if self.drops and reply.code == ContextLengthError.code:
            message += "; truncation is 'auto', but no item is ever dropped"
        return replace(reply, param="input" if param == "messages" else param, message=message)

    def _renamed(self, text: str) -> str:
        text = _TOOL.sub(r"\1", _PLACE.sub(self._place, text))
        return _NAME.sub(lambda found: _NAMES[found[0]], text)

    def _place(self, found: re.Match[str]) -> str:
        number = int(found[1]) - self.offset
        if number < 0:
            return "instructions"
        return "input" if self.is_text else f"input[{number}]{found[2] or ''}"


def translate_request(body: ResponsesRequest) -> Translated:
    """The chat request with the same prompt and options.

    Texts and media are shared, not copied; the body's `input` can be cleared.

    Raises:
        RequestError: a field belongs to another route, or fields contradict each other.
    """
    for name, here in _ELSEWHERE.items():
        if (body.model_extra or {}).get(name) is not None:
            raise RequestError(
                f"{name} is a field of /v1/chat/completions; on this route it is {here}", param=name
            )
    if (body.model_extra or {}).get("n") not in (None, 1):
        raise RequestError("n is not supported: a response is one answer", param="n")
    wants_logprobs = LOGPROBS in (body.include or ())
    if body.top_logprobs and not wants_logprobs:
        raise RequestError(
            f"top_logprobs is {body.top_logprobs}, but include does not have {LOGPROBS!r}",
            param="top_logprobs",
        )
    given = body.model_fields_set & SamplingFields.model_fields.keys()
    system = [] if body.instructions is None else [_message("system", body.instructions)]
    is_text = isinstance(body.input, str)
    items = (
        [_message("user", body.input)] if isinstance(body.input, str) else map(_item, body.input)
    )
    chat = ChatCompletionRequest(
        **{name: getattr(body, name) for name in given},
        messages=[*system, *items],
        task=body.task,
        max_tokens=body.max_output_tokens,
        response_format=None if body.text is None else _format(body.text.format),
        tools=chat_tools(body.tools),
        tool_choice=chat_tool_choice(body.tool_choice),
        continue_final_message=body.continue_final_message,
        logprobs=wants_logprobs,
        top_logprobs=body.top_logprobs if wants_logprobs else None,
    )
    return Translated(chat, len(system), is_text, body.truncation == "auto")


def _format(wanted: TextFormat | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    schema = None if wanted.schema_ is None else JsonSchemaFormat(schema=wanted.schema_)
    return ResponseFormat(type=wanted.type, json_schema=schema)


def _item(item: InputItem) -> ChatMessage:
    if isinstance(item, InputMessage):
        return _message(item.role, item.content)
    if isinstance(item, FunctionCallItem):
        function = CalledFunction(name=item.name, arguments=item.arguments)
        return ChatMessage(
            role="assistant", tool_calls=[CalledTool(id=item.call_id, function=function)]
        )
    return _message("tool", item.output, tool_call_id=item.call_id)


def _message(role: str, content: InputContent, tool_call_id: str | None = None) -> ChatMessage:
    parts = content if isinstance(content, str) else [_part(part) for part in content]
    return ChatMessage(role=role, content=parts, tool_call_id=tool_call_id)


def _part(part: InputPart) -> TextPart | RefusalPart | ImagePart | FilePart | PointCloudPart:
    if isinstance(part, PointCloudPart):
        return part
    if isinstance(part, InputImagePart):
        image = ImageUrl(url=part.image_url, file_id=part.file_id)
        return ImagePart(type="image_url", image_url=image)
    if isinstance(part, InputFilePart):
        file = FileReference(file_id=part.file_id, file_data=part.file_data, filename=part.filename)
        return FilePart(type="file", file=file)
    if isinstance(part, OutputRefusalPart):
        return RefusalPart(type="refusal", refusal=part.refusal)
    return TextPart(type="text", text=part.text)
