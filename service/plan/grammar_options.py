"""Reads the grammar of an answer: from `response_format` and `tools`, or from a task's form.

Every source is compiled here, so that a faulty one is refused before anything else is done; an
engine in the same process reuses the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.engine.base import GrammarKind, GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.exceptions import RequestError
from service.plan.schema_options import Field, compiled, schema_grammar
from service.plan.tool_options import called_tools, tools_grammar
from service.schemas.openai import ChatCompletionRequest, ResponseFormat

_SCHEMA = Field("response_format", "text", "the JSON schema", "response_format.json_schema.schema")
_FORM = Field("constrain", "false", "the form of the answer", "constrain", "unsupported_value")


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer must be: text of the `grammar`, or a call of one of the tools `called`.

    With one tool, the answer is the call's arguments. With several, it is an object of the tool's
    `name` and the `arguments`. Without a grammar, it is any text.
    """

    grammar: GrammarSource | None = None
    called: tuple[str, ...] = ()


async def read_answer_form(body: ChatCompletionRequest, compiler: GrammarCompiler) -> AnswerForm:
    """What the request's answers must match.

    A tool that must be called decides, whatever the `response_format`.

    Raises:
        RequestError: a format or tool is malformed, unsupported, too large, or conflicts with
            another field.
        OverloadedError: too many others are being compiled.
    """
    tools = called_tools(body)
    if tools:
        _check_end(body, "tool_choice")
        names = tuple(tool.function.name for _, tool in tools)
        return AnswerForm(await tools_grammar(tools, compiler), names)
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return AnswerForm()
    _check_end(body, "response_format")
    return AnswerForm(await schema_grammar(_schema(wanted), _SCHEMA, compiler))


async def read_form(form: str, compiler: GrammarCompiler) -> GrammarSource:
    """The grammar of a task's answer, in llguidance's Lark.

    Raises:
        RequestError: it is too large, or llguidance is not installed.
        OverloadedError: too many others are being compiled.
    """
    source = GrammarSource(GrammarKind.LARK, form)
    return await compiled(_FORM, source, compiler.get(source))


def _check_end(body: ChatCompletionRequest, field: str) -> None:
    for name, excluded in (("ignore_eos", body.ignore_eos), ("min_tokens", body.min_tokens)):
        if excluded:
            raise RequestError(
                f"{name} is {excluded}, but {field} decides where the answer ends", param=name
            )


def _schema(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None:
        raise RequestError(
            "response_format has type json_schema but no json_schema",
            param="response_format.json_schema",
        )
    # As in OpenAI's API, a missing schema allows any object.
    return wanted.json_schema.schema_ or {"type": "object"}
