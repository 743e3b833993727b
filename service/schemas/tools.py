"""Tools of OpenAI's chat request, and their calls in its answers.

Their schemas are checked where the grammar of a call is made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from service.schemas.absent import NullIsAbsent, Unread

MAX_TOOLS = 128

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Function(BaseModel):
    """A function that a call may name, and the JSON schema of its arguments.

    `description` and `strict` have no effect: nothing of a tool is in the prompt, and arguments
    always match their schema.
    """

    name: ToolName
    description: Unread = None
    parameters: dict[str, Any] | None = None
    strict: Unread = None


class Tool(BaseModel):
    """A tool; functions are the only type."""

    type: Literal["function"]
    function: Function


class FunctionName(BaseModel):
    """A function by its name."""

    name: ToolName


class NamedTool(BaseModel):
    """A tool by its name."""

    type: Literal["function"]
    function: FunctionName


class ToolSelection(BaseModel):
    """Some of the tools: the answer is text with `auto`, a call of one of them with `required`."""

    mode: Annotated[Literal["auto", "required"], NullIsAbsent()] = "auto"
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class AllowedTools(BaseModel):
    """Some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: ToolSelection


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "[word]"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "[allowed]" if kind == "allowed_tools" else "[named]"


# Tags in brackets are no part of a place in the request.
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[NamedTool, Tag("[named]")]
    | Annotated[AllowedTools, Tag("[allowed]")],
    Discriminator(_kind),
]


class FunctionCall(BaseModel):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call of a tool, for the client to run."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
