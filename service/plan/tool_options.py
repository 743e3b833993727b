"""Reads `tools` and `tool_choice`: which tools an answer must call, and the grammar of the calls.

Names and descriptions of tools are not in the prompt: the prompt presets of the checkpoints have no
place for them. So a tool is called where the client says so, and nowhere else.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from service.engine.base import GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.exceptions import RequestError
from service.plan.schema_options import (
    MAX_SCHEMA_BYTES,
    Field,
    checked_schema,
    schema_grammar,
)
from service.plan.schema_walk import Fault, all_schemas
from service.schemas.openai import ChatCompletionRequest
from service.schemas.tools import AllowedTools, NamedTool, Tool, ToolChoice

_SHOWN_NAMES = 16
_BASES = ("$id", "$anchor", "$dynamicAnchor")

_TOGETHER = Field("tools", "left out", "the set of tools", "tools")

# A tool with its position in `tools`.
NumberedTool = tuple[int, Tool]


def called_tools(body: ChatCompletionRequest) -> list[NumberedTool]:
    """The tools of which the answer must call one; empty for an answer in text.

    Raises:
        RequestError: the choice names no tool, or there are tools of one name.
    """
    tools = list(enumerate(body.tools or ()))
    choice: ToolChoice = body.tool_choice or "auto"
    if choice in ("none", "auto"):
        return []
    if not tools:
        raise RequestError(
            f"tool_choice is {_shown(choice)}, but there are no tools", param="tool_choice"
        )
    _check_names(tools)
    if isinstance(choice, NamedTool):
        return [_find(tools, choice.function.name, "tool_choice.function.name")]
    if isinstance(choice, AllowedTools):
        allowed = [
            _find(tools, one.function.name, f"tool_choice.allowed_tools.tools[{index}].function")
            for index, one in enumerate(choice.allowed_tools.tools)
        ]
        return allowed if choice.allowed_tools.mode == "required" else []
    return tools


async def tools_grammar(tools: Sequence[NumberedTool], compiler: GrammarCompiler) -> GrammarSource:
    """The grammar of a call of one of the tools; compiled.

    Raises:
        RequestError: a tool's parameters are too large, faulty or unsupported.
        OverloadedError: too many others are being compiled.
    """
    if len(tools) == 1:
        return await schema_grammar(_parameters(tools[0]), _field(tools[0][0]), compiler)
    schema = await asyncio.to_thread(_any_call, tools)
    try:
        return await schema_grammar(schema, _TOGETHER, compiler)
    except RequestError:
        # The place of a fault in all of them is not a part of the request; that in one is.
        for tool in tools:
            await schema_grammar(_parameters(tool), _field(tool[0]), compiler)
        raise


def _check_each(tools: Sequence[NumberedTool]) -> None:
    size = 0
    for tool in tools:
        field, schema = _field(tool[0]), _parameters(tool)
        size += len(checked_schema(schema, field).text)
        if size > MAX_SCHEMA_BYTES:
            raise _TOGETHER.refusal(
                Fault("", f"it has over {size} bytes; the limit is {MAX_SCHEMA_BYTES}")
            )
        for place, one in all_schemas(schema):
            name = next((name for name in _BASES if isinstance(one, dict) and name in one), None)
            if name is not None:
                raise field.refusal(
                    Fault(str(place / name), f"unsupported keywords among several tools: {name}")
                )


def _any_call(tools: Sequence[NumberedTool]) -> dict[str, Any]:
    """The schema of `{"name": ..., "arguments": ...}` for each of the tools."""
    _check_each(tools)
    definitions: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for index, tool in tools:
        place = f"#/$defs/{index}"
        definitions[str(index)] = _moved(_parameters((index, tool)), place)
        properties = {"name": {"const": tool.function.name}, "arguments": {"$ref": place}}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, "$defs": definitions}


def _moved(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """A copy of the schema whose references hold at another place."""
    moved = copy.deepcopy(schema)
    moved.pop("$schema", None)
    for _, one in list(all_schemas(moved)):
        if isinstance(one, dict) and "$ref" in one:
            one["$ref"] = place + one["$ref"].removeprefix("#")
    return moved


def _parameters(tool: NumberedTool) -> dict[str, Any]:
    """The schema of the tool's arguments, an object; without one, there are none.

    Raises:
        RequestError: it is the schema of something else.
    """
    index, given = tool[0], tool[1].function.parameters
    if not given:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if given.get("type", "object") != "object":
        reason = f"arguments are an object; its type is {given['type']!r:.64}"
        raise _field(index).refusal(Fault("/type", reason))
    return given if "$ref" in given else {"type": "object", **given}


def _field(index: int) -> Field:
    return Field("tools", "left out", "the tool", f"tools[{index}].function.parameters")


def _check_names(tools: Sequence[NumberedTool]) -> None:
    known: set[str] = set()
    for index, tool in tools:
        if tool.function.name in known:
            raise RequestError(
                f"tools[{index}].function.name is {tool.function.name!r}, as that of another tool",
                param=f"tools[{index}].function.name",
            )
        known.add(tool.function.name)


def _find(tools: Sequence[NumberedTool], name: str, param: str) -> NumberedTool:
    for index, tool in tools:
        if tool.function.name == name:
            return index, tool
    names = [tool.function.name for _, tool in tools]
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    raise RequestError(
        f"tool_choice names the tool {name!r}; the tools are "
        f"{', '.join(map(repr, names[:_SHOWN_NAMES]))}{more}",
        param=param,
    )


def _shown(choice: ToolChoice) -> str:
    if isinstance(choice, NamedTool):
        return f"the tool {choice.function.name!r}"
    return repr("allowed_tools" if isinstance(choice, AllowedTools) else choice)
