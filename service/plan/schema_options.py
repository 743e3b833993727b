"""Checks a client's JSON schema, and makes it the grammar of an answer.

Its size, known costs and faults are examined before it is compiled; whatever is refused is refused
with its place.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from service.engine.base import GrammarError, GrammarKind, GrammarQueueTimeoutError, GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.exceptions import OverloadedError, RequestError
from service.plan.schema_closing import closed
from service.plan.schema_cost import cost_fault
from service.plan.schema_faults import schema_fault
from service.plan.schema_place import place_of_fault
from service.plan.schema_walk import Fault

MAX_SCHEMA_BYTES = 64 << 10
# A multiple is matched by an automaton with that many states; several that apply at once, by one
# with their least common multiple.
MAX_MULTIPLE_OF = 10_000
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "$ref"})


@dataclass(frozen=True, slots=True)
class Field:
    """The field that asks for a grammar, for error messages.

    Attributes:
        name: the field, which has the value `unconstrained` without a grammar.
        what: what it asks for, in words.
        param: the part of the request that has the grammar.
        code: the error's.
    """

    name: str
    unconstrained: str
    what: str
    param: str
    code: str = "unsupported_schema"

    def refusal(self, fault: Fault) -> RequestError:
        """The error for the client."""
        place = f" at {self.param}{fault.place}" if fault.place else ""
        return RequestError(
            f"{self.what} is not supported{place}: {fault.reason}", param=self.param, code=self.code
        )


async def schema_grammar(
    schema: dict[str, Any], field: Field, compiler: GrammarCompiler
) -> GrammarSource:
    """The grammar of the answers that match the schema; compiled.

    Raises:
        RequestError: it is too large, faulty or unsupported.
        OverloadedError: too many others are being compiled.
    """
    source = await asyncio.to_thread(checked_schema, schema, field)
    try:
        return await compiled(field, source, compiler.get(source))
    except RequestError as error:
        if not isinstance(error.__cause__, GrammarError) or error.__cause__.timed_out:
            raise
        reason = error.__cause__.reason
        place = await place_of_fault(schema, reason, compiler)
        raise field.refusal(Fault(place, reason)) from error.__cause__


async def compiled(
    field: Field, source: GrammarSource, compiling: Awaitable[object]
) -> GrammarSource:
    """The source, once it has been compiled.

    Raises:
        RequestError: it cannot be compiled, or llguidance is not installed.
        OverloadedError: too many others are being compiled.
    """
    try:
        await compiling
    except GrammarError as error:
        raise field.refusal(Fault("", error.reason)) from error
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


def checked_schema(schema: dict[str, Any], field: Field) -> GrammarSource:
    """The schema as a grammar's source, if it may be compiled; raises RequestError otherwise."""
    try:
        text = json.dumps(schema)
    except RecursionError as error:
        raise field.refusal(Fault("", "it is nested too deeply")) from error
    if len(text) > MAX_SCHEMA_BYTES:
        raise field.refusal(Fault("", f"it has {len(text)} bytes; the limit is {MAX_SCHEMA_BYTES}"))
    fault, reserve = schema_fault(schema)
    if fault := fault or cost_fault(schema) or _multiples_fault(schema):
        raise field.refusal(fault)
    return GrammarSource(GrammarKind.JSON_SCHEMA, json.dumps(closed(schema)), reserve)


def _multiples_fault(schema: dict[str, Any]) -> Fault | None:
    multiples, combined = _multiples(schema)
    # A decimal costs as many states as the integer without its point.
    places = [max(0, -int(one.as_tuple().exponent)) for one in multiples]
    states = sum(int(one.scaleb(n)) for one, n in zip(multiples, places, strict=True))
    if combined:
        finest = max(places, default=0)
        states = max(states, math.lcm(*(int(one.scaleb(finest)) for one in multiples)))
    if states <= MAX_MULTIPLE_OF:
        return None
    shown = str(states) if states < 10**15 else "over 10^15"
    return Fault(
        "",
        f"its multipleOf values need {shown} states (decimal points removed, "
        f"least common multiple of those that combine); the limit is {MAX_MULTIPLE_OF}",
    )


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
