"""Tools of the Responses API become those of a chat request."""

from __future__ import annotations

from collections.abc import Sequence

from service.schemas.responses_tools import (
    AllowedFunctions,
    FunctionChoice,
    FunctionTool,
    NamedFunction,
)
from service.schemas.tools import (
    AllowedTools,
    Function,
    FunctionName,
    NamedTool,
    Tool,
    ToolChoice,
    ToolSelection,
)


def chat_tools(tools: Sequence[FunctionTool] | None) -> list[Tool] | None:
    """The tools as a chat request has them; their schemas are shared, not copied."""
    if tools is None:
        return None
    return [
        Tool(type=one.type, function=Function(name=one.name, parameters=one.parameters))
        for one in tools
    ]


def chat_tool_choice(choice: FunctionChoice | None) -> ToolChoice | None:
    """The choice as a chat request has it."""
    if isinstance(choice, NamedFunction):
        return _named(choice)
    if isinstance(choice, AllowedFunctions):
        some = ToolSelection(mode=choice.mode, tools=[_named(one) for one in choice.tools])
        return AllowedTools(type=choice.type, allowed_tools=some)
    return choice


def _named(choice: NamedFunction) -> NamedTool:
    return NamedTool(type=choice.type, function=FunctionName(name=choice.name))
