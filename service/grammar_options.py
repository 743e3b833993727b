"""A request's `response_format` becomes a grammar. Called by `input_processor`.

Schemas come from clients: their size is bounded before they are compiled, compiling happens off the
event loop, a few at a time and within a time, and what was compiled is kept for the next request.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from lamm_model.tokenizer import LammTokenizer
from service.engine.grammar import Grammar, GrammarCompiler, GrammarError
from service.exceptions import RequestError
from service.schemas.openai import ChatCompletionRequest, ResponseFormat

MAX_SCHEMA_BYTES = 64 << 10
_COMPILE_TIMEOUT_S = 5.0
_COMPILED_AT_ONCE = 2
_KEPT = 64


class GrammarOptions:
    """Compiles the formats of one model's requests."""

    def __init__(
        self, tokenizer: LammTokenizer, vocab_size: int, eos_token_ids: Sequence[int]
    ) -> None:
        self._compiler = GrammarCompiler(tokenizer, vocab_size, eos_token_ids)
        self._kept: OrderedDict[str, Grammar] = OrderedDict()
        self._turns = asyncio.Semaphore(_COMPILED_AT_ONCE)

    async def read(self, body: ChatCompletionRequest) -> Grammar | None:
        """The grammar that the request's answers must keep to; None where any text will do.

        Raises:
            RequestError: the format is malformed, unsupported or too large, or cannot be had
                together with another field.
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
        key = json.dumps(schema)
        if len(key) > MAX_SCHEMA_BYTES:
            raise _refusal(f"it has {len(key)} bytes; the limit is {MAX_SCHEMA_BYTES}")
        grammar = self._kept.get(key)
        if grammar is None:
            grammar = await self._compile(schema)
            self._kept[key] = grammar
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return grammar

    async def _compile(self, schema: dict[str, Any]) -> Grammar:
        try:
            async with asyncio.timeout(_COMPILE_TIMEOUT_S), self._turns:
                return await asyncio.to_thread(self._compiler.json_schema, schema)
        except TimeoutError:
            raise _refusal(f"it takes longer than {_COMPILE_TIMEOUT_S:g} s to compile") from None
        except GrammarError as error:
            raise _refusal(str(error)) from error
        except ModuleNotFoundError as error:
            raise RequestError(
                "this server was installed without the extra `grammar`; response_format may only "
                "be text",
                param="response_format",
                code="unsupported_value",
            ) from error


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


def _refusal(reason: str) -> RequestError:
    return RequestError(
        f"the JSON schema is not supported: {reason}",
        param="response_format.json_schema.schema",
        code="unsupported_schema",
    )
