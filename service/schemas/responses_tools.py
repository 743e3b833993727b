"""Tools of the Responses API, which has their fields beside the type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag

from service.schemas.absent import NullIsAbsent, Unread, refused
from service.schemas.tools import MAX_TOOLS, ToolName

_SHOWN = 64
_CHOICES = ("function", "allowed_tools")


class FunctionTool(BaseModel):
    """A function that a call may name, and the JSON schema of its arguments.

    `description` and `strict` have no effect, as in chat.
    """

    type: Literal["function"]
    name: ToolName
    description: Unread = None
    parameters: dict[str, Any] | None = None
    strict: Unread = None


class NamedFunction(BaseModel):
    """A tool by its name."""

    type: Literal["function"]
    name: ToolName


class AllowedFunctions(BaseModel):
    """Some of the tools: the answer is text with `auto`, a call of one of them with `required`."""

    type: Literal["allowed_tools"]
    mode: Annotated[Literal["auto", "required"], NullIsAbsent()] = "auto"
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


def _functions_only(value: Any) -> Any:
    """Refuses tools that a service would run by itself."""
    for index, one in enumerate(value if isinstance(value, list) else ()):
        kind = one.get("type") if isinstance(one, dict) else None
        if kind != "function":
            raise refused(
                f"tools are functions, and tools[{index}] has type {str(kind)[:_SHOWN]!r}"
            )
    return value


def _functions_chosen(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind is not None and kind not in _CHOICES:
        raise refused(f"tools are functions, and its type is {str(kind)[:_SHOWN]!r}")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "[word]"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "[allowed]" if kind == "allowed_tools" else "[named]"


FunctionTools = Annotated[
    list[FunctionTool],
    Field(max_length=MAX_TOOLS, fail_fast=True),
    BeforeValidator(_functions_only),
]
# Tags in brackets are no part of a place in the request.
FunctionChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[NamedFunction, Tag("[named]")]
    | Annotated[AllowedFunctions, Tag("[allowed]")],
    Discriminator(_kind),
    BeforeValidator(_functions_chosen),
]
