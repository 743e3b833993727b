"""A request's `response_format`, or a form for its answer, becomes a grammar.

Called by `input_processor`.

Schemas come from clients: their size and what they are known to cost are bounded before they are
compiled, compiling happens in threads, a few at a time, and what was compiled is kept for the next
request. A compilation cannot be stopped: one that is given up keeps its turn until it ends.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lamm_model.tokenizer import LammTokenizer
from service.engine.grammar import Grammar, GrammarCompiler, GrammarError
from service.exceptions import OverloadedError, RequestError
from service.plan.schema_cost import cost_fault
from service.schemas.openai import ChatCompletionRequest, ResponseFormat

MAX_SCHEMA_BYTES = 64 << 10
# A multiple is matched by a machine of as many states; several that hold at once, by one of as many
# as their least common multiple.
MAX_MULTIPLE_OF = 10_000
_COMPILE_TIMEOUT_S = 5.0
_TURN_TIMEOUT_S = 5.0
_COMPILED_AT_ONCE = 2
# The compiler calls itself for each level of a schema, and for each $ref on the way. What fits into
# 64 KiB needs 8 to 64 MB, and a thread's usual 8 would end the process; nothing of it is touched
# until it is needed.
_COMPILER_STACK_BYTES = 256 << 20
_KEPT = 64
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "$ref"})


@dataclass(frozen=True, slots=True)
class _Source:
    """What a grammar is made from, for the errors: the field that asks for it."""

    field: str
    otherwise: str
    what: str
    param: str
    code: str

    def refusal(self, reason: str) -> RequestError:
        return RequestError(
            f"{self.what} is not supported: {reason}", param=self.param, code=self.code
        )


_SCHEMA = _Source(
    "response_format", "text", "the JSON schema", "response_format.json_schema.schema",
    "unsupported_schema",
)  # fmt: skip
_FORM = _Source(
    "constrain", "false", "the form of the answer", "constrain", "unsupported_value"
)  # fmt: skip


class GrammarOptions:
    """Compiles the formats of one model's requests."""

    def __init__(
        self, tokenizer: LammTokenizer, vocab_size: int, eos_token_ids: Sequence[int]
    ) -> None:
        self._compiler = GrammarCompiler(tokenizer, vocab_size, eos_token_ids)
        self._kept: OrderedDict[tuple[_Source, str], Grammar] = OrderedDict()
        self._turns = asyncio.Semaphore(_COMPILED_AT_ONCE)

    async def read(self, body: ChatCompletionRequest) -> Grammar | None:
        """The grammar that the request's answers must keep to; None where any text will do.

        Raises:
            RequestError: the format is malformed, unsupported or too large, or cannot be had
                together with another field.
            OverloadedError: too many others are compiled at the moment.
        """
        wanted = body.response_format
        if wanted is None or wanted.type == "text":
            return None
        for name, excluded in (("ignore_eos", body.ignore_eos), ("min_tokens", body.min_tokens)):
            if excluded:
                raise RequestError(
                    f"{name} is {excluded}, but the response_format says where the answer ends",
                    param=name,
                )
        schema = _schema(wanted)
        key = await asyncio.to_thread(_checked, schema)
        return await self._get(_SCHEMA, key, lambda: self._compiler.json_schema(schema))

    async def of_form(self, form: str) -> Grammar:
        """The grammar of a form that a task's answer must keep to, in llguidance's Lark.

        Raises:
            RequestError: it is too large, or grammars cannot be had here.
            OverloadedError: too many others are compiled at the moment.
        """
        return await self._get(_FORM, form, lambda: self._compiler.lark(form))

    async def _get(self, source: _Source, key: str, compile_: Callable[[], Grammar]) -> Grammar:
        grammar = self._kept.get((source, key))
        if grammar is None:
            grammar = await self._compile(source, compile_)
            self._kept[source, key] = grammar
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end((source, key))
        return grammar

    async def _compile(self, source: _Source, compile_: Callable[[], Grammar]) -> Grammar:
        try:
            async with asyncio.timeout(_TURN_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError(
                f"{source.field} waited longer than {_TURN_TIMEOUT_S:g} s to be compiled: "
                f"{_COMPILED_AT_ONCE} others are",
                reason="grammar_queue_timeout",
                code="queue_timeout",
            ) from None
        try:
            running = _in_thread(compile_)
        except RuntimeError:  # no thread can be started
            self._turns.release()
            raise
        compiled = asyncio.wrap_future(running)
        compiled.add_done_callback(lambda _: self._turns.release())
        try:
            async with asyncio.timeout(_COMPILE_TIMEOUT_S):
                return await asyncio.shield(compiled)
        except TimeoutError:
            reason = f"it takes longer than {_COMPILE_TIMEOUT_S:g} s to compile"
            raise source.refusal(reason) from None
        except GrammarError as error:
            raise source.refusal(str(error)) from error
        except ModuleNotFoundError as error:
            raise RequestError(
                f"this server was installed without the extra `grammar`; {source.field} may only "
                f"be {source.otherwise}",
                param=source.field,
                code="unsupported_value",
            ) from error


def _in_thread(work: Callable[[], Grammar]) -> Future[Grammar]:
    """Runs in a thread that the end of the process does not wait for, as it would for a pool's."""
    future: Future[Grammar] = Future()

    def run() -> None:
        # From here on it cannot be cancelled, which a result for nobody would trip over.
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # The size is the whole process's, for threads that start meanwhile.
    usual = threading.stack_size(_COMPILER_STACK_BYTES)
    try:
        threading.Thread(target=run, name="grammar", daemon=True).start()
    finally:
        threading.stack_size(usual)
    return future


def _checked(schema: dict[str, Any]) -> str:
    """The schema's text, if it may be compiled; raises RequestError."""
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise _SCHEMA.refusal(f"it has {len(text)} bytes; the limit is {MAX_SCHEMA_BYTES}")
    if fault := cost_fault(schema):
        raise _SCHEMA.refusal(fault)
    multiples, combined = _multiples(schema)
    # Decimals cost as many states as they have without their point.
    places = [max(0, -int(one.as_tuple().exponent)) for one in multiples]
    states = sum(int(one.scaleb(n)) for one, n in zip(multiples, places, strict=True))
    if combined:
        finest = max(places, default=0)
        states = max(states, math.lcm(*(int(one.scaleb(finest)) for one in multiples)))
    if states > MAX_MULTIPLE_OF:
        raise _SCHEMA.refusal(
            f"its multipleOf is too large: {_shown(states)}, decimal points left out and several "
            f"taken together; the limit is {MAX_MULTIPLE_OF}"
        )
    return text


def _multiples(schema: dict[str, Any]) -> tuple[list[Decimal], bool]:
    """All values of `multipleOf`, and whether any two of them may have to hold at once."""
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
            "response_format is json_schema, but json_schema is missing",
            param="response_format.json_schema",
        )
    # OpenAI's: left out, any object will do.
    return wanted.json_schema.schema_ or {"type": "object"}
