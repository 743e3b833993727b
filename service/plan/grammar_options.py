"""Reads the grammar of an answer: from `response_format`, or from a task's form.

Schemas come from clients: their size and known costs are limited before they are compiled. Every
source is compiled here, so that a faulty one is refused before anything else is done; an engine in
the same process reuses the result.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from service.engine.base import GrammarError, GrammarKind, GrammarQueueTimeoutError, GrammarSource
from service.engine.grammar import GrammarCompiler
from service.exceptions import OverloadedError, RequestError
from service.plan.schema_cost import cost_fault
from service.schemas.openai import ChatCompletionRequest, ResponseFormat

MAX_SCHEMA_BYTES = 64 << 10
# A multiple is matched by an automaton with that many states; several that apply at once, by one
# with their least common multiple.
MAX_MULTIPLE_OF = 10_000
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "$ref"})


@dataclass(frozen=True, slots=True)
class _Field:
    """The field that asks for a grammar, for error messages."""

    name: str
    unconstrained: str
    what: str
    param: str
    code: str

    def refusal(self, reason: str) -> RequestError:
        return RequestError(
            f"{self.what} is not supported: {reason}", param=self.param, code=self.code
        )


_SCHEMA = _Field(
    "response_format", "text", "the JSON schema", "response_format.json_schema.schema",
    "unsupported_schema",
)  # fmt: skip
_FORM = _Field("constrain", "false", "the form of the answer", "constrain", "unsupported_value")


async def read_response_format(
    body: ChatCompletionRequest, compiler: GrammarCompiler
) -> GrammarSource | None:
    """The grammar that the request's answers must match; None for any text.

    Raises:
        RequestError: the format is malformed, unsupported, too large, or conflicts with another
            field.
        OverloadedError: too many others are being compiled.
    """
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    for name, excluded in (("ignore_eos", body.ignore_eos), ("min_tokens", body.min_tokens)):
        if excluded:
            raise RequestError(
                f"{name} is {excluded}, but response_format decides where the answer ends",
                param=name,
            )
    text = await asyncio.to_thread(_checked, _schema(wanted))
    return await _compiled(_SCHEMA, GrammarSource(GrammarKind.JSON_SCHEMA, text), compiler)


async def read_form(form: str, compiler: GrammarCompiler) -> GrammarSource:
    """The grammar of a task's answer, in llguidance's Lark.

    Raises:
        RequestError: it is too large, or llguidance is not installed.
        OverloadedError: too many others are being compiled.
    """
    return await _compiled(_FORM, GrammarSource(GrammarKind.LARK, form), compiler)


async def _compiled(
    field: _Field, source: GrammarSource, compiler: GrammarCompiler
) -> GrammarSource:
    """The source, after it has been compiled."""
    try:
        await compiler.get(source)
    except GrammarError as error:
        raise field.refusal(error.reason) from error
    except GrammarQueueTimeoutError as error:
        raise OverloadedError(
            f"{field.name} waited longer than {error.waited_s:g} s to be compiled; "
            f"{error.compiling} others are being compiled",
            reason="grammar_queue_timeout",
            code="queue_timeout",
        ) from error
    except ModuleNotFoundError as error:
        raise RequestError(
            f"{field.name} must be {field.unconstrained}: this server was installed "
            "without the extra `grammar`",
            param=field.name,
            code="unsupported_value",
        ) from error
    return source


def _checked(schema: dict[str, Any]) -> str:
    """The schema's text, if it may be compiled; raises RequestError otherwise."""
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise _SCHEMA.refusal(f"it has {len(text)} bytes; the limit is {MAX_SCHEMA_BYTES}")
    if fault := cost_fault(schema):
        raise _SCHEMA.refusal(fault)
    multiples, combined = _multiples(schema)
    # A decimal costs as many states as the integer without its point.
    places = [max(0, -int(one.as_tuple().exponent)) for one in multiples]
    states = sum(int(one.scaleb(n)) for one, n in zip(multiples, places, strict=True))
    if combined:
        finest = max(places, default=0)
        states = max(states, math.lcm(*(int(one.scaleb(finest)) for one in multiples)))
    if states > MAX_MULTIPLE_OF:
        raise _SCHEMA.refusal(
            f"its multipleOf values need {_shown(states)} states (decimal points removed, "
            f"least common multiple of those that combine); the limit is {MAX_MULTIPLE_OF}"
        )
    return text


def _multiples(schema: dict[str, Any]) -> tuple[list[Decimal], bool]:
    """All values of `multipleOf`, and whether any two of them may apply at once."""
    found: list[Decimal] = []
    combined = False
    rest: list[Any] = [schema]
    while rest:
        one = rest.pop()
        if isinstance(one, list):
            rest += one
        elif isinstance(one, dict):
            rest += one.values()
            combined = combined or not _COMBINING.isdisjoint(one)
            value = one.get("multipleOf")
            if isinstance(value, int | float) and not isinstance(value, bool):
                number = abs(Decimal(str(value)).normalize())
                found += [number] if number.is_finite() else []
    return found, combined


def _shown(number: int) -> str:
    return str(number) if number < 10**15 else "over 10^15"


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
