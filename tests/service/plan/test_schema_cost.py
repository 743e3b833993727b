"""Schemas that would end the process or hold it up do neither, and customary ones are taken."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GrammarError, GrammarKind, GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.plan.schema_cost import (
    MAX_PATTERN_CHARACTERS,
    MAX_PATTERN_PROPERTIES,
    MAX_PATTERNS_AT_ONCE,
    cost_fault,
)

MANY = MAX_PATTERNS_AT_ONCE + 1
FIELDS: dict[str, Any] = {f"at_{n}": {"type": "string", "format": "date-time"} for n in range(MANY)}
AT = {"type": "string", "format": "date-time"}
ITEM = {"type": "object", "properties": {"at": AT}}


def exponential(count: int) -> list[dict[str, Any]]:
    """Each one more doubles what an intersection of all takes."""
    return [{"pattern": f"(a|b)*{'ab'[n % 2]}(a|b){{{n}}}"} for n in range(count)]


def referring(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The parts in a chain, of which each names the next."""
    links = {f"d{n}": part | {"$ref": f"#/$defs/d{n + 1}"} for n, part in enumerate(parts)}
    return {"$defs": {**links, f"d{len(parts)}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": exponential(MANY)},
        {"type": "string", "pattern": "a", "allOf": [{"allOf": exponential(5)}, *exponential(3)]},
        referring(exponential(MANY)),
        {
            "a/b": {"~": {"allOf": exponential(5)}},
            "allOf": [{"$ref": "#/a~1b/~0"}, *exponential(4)],
        },
        {"allOf": [{"properties": {"x": one}} for one in exponential(MANY)]},
        {"allOf": [{"patternProperties": {"x": one}} for one in exponential(MANY)]},
        {"allOf": [{"items": one} for one in exponential(MANY)]},
        {"anyOf": exponential(1), "allOf": [{"oneOf": exponential(3)}, *exponential(7)]},
        {"$defs": {"a": {"$anchor": "b", "allOf": exponential(4)}, "c": FIELDS}, "$ref": "#b"},
        {"allOf": [{"$ref": "#"}, *exponential(1)], "properties": FIELDS},
    ],
)
def test_many_patterns_at_once_are_refused(schema: dict[str, Any]) -> None:
    fault = cost_fault(schema)
    assert fault is not None
    assert f"more than {MAX_PATTERNS_AT_ONCE} of its" in fault.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": FIELDS},
        {"properties": {n: {"anyOf": [one, {"type": "null"}]} for n, one in FIELDS.items()}},
        {"anyOf": [AT] * MANY},
        {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": FIELDS}], "$defs": {"Base": ITEM}},
        {"properties": {**FIELDS, "children": {"type": "array", "items": {"$ref": "#"}}}},
        {"properties": {"pattern": {}, "format": {}, **FIELDS}, "patternProperties": {"^x-": {}}},
        {"type": "string", "minLength": 8, "allOf": [{"pattern": p} for p in ("[a-z]", "[0-9]")]},
        referring([{} for _ in range(1000)]),
    ],
)
def test_customary_schemas_are_taken(schema: dict[str, Any]) -> None:
    assert cost_fault(schema) is None


def test_long_patterns_and_many_of_names_are_refused() -> None:
    long = "a?" * MAX_PATTERN_CHARACTERS
    schemas: list[dict[str, Any]] = [
        {"items": {"pattern": long}},
        {"patternProperties": {long: {}}},
    ]
    for schema in schemas:
        fault = cost_fault(schema)
        assert fault is not None
        assert f"the limit is {MAX_PATTERN_CHARACTERS}" in fault.reason
        assert fault.place in ("/items/pattern", "/patternProperties")
    names: dict[str, Any] = {f"^x{n}$": {} for n in range(MAX_PATTERN_PROPERTIES + 1)}
    fault = cost_fault({"patternProperties": names})
    assert fault is not None
    assert f"has {len(names)} patternProperties" in fault.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": exponential(MAX_PATTERNS_AT_ONCE)},
        {"patternProperties": {f"^x{n}(a|b)*a(a|b){{20}}$": {} for n in range(32)}},
    ],
)
def test_what_is_taken_is_compiled_in_time(checkpoint: Path, schema: dict[str, Any]) -> None:
    assert cost_fault(schema) is None
    tokenizer = LammTokenizer.from_pretrained(checkpoint)
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size, [2])
    started = time.perf_counter()
    with contextlib.suppress(GrammarError):  # refused by the compiler itself, in time too
        compiler.compile(GrammarSource(GrammarKind.JSON_SCHEMA, json.dumps(schema)))
    assert time.perf_counter() - started < 5


CHAIN = """
import asyncio, sys
from pathlib import Path
from lamm_model.tokenizer import LammTokenizer
from service.engine.grammar.compiler import GrammarCompiler
from service.plan.grammar_options import read_answer_form
from service.schemas.openai import ChatCompletionRequest

links = {str(n): {"properties": {"": {"$ref": f"#/{n + 1}"}}} for n in range(1200)}
schema = {**links, "1200": {}, "$ref": "#/0"}
wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
messages = [{"role": "user", "content": "Hello"}]
body = ChatCompletionRequest(model="m", messages=messages, response_format=wanted)
tokenizer = LammTokenizer.from_pretrained(Path(sys.argv[1]))
compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size, [2])


async def compile_():
    return await compiler.get((await read_answer_form(body, compiler)).grammar)


print(any(asyncio.run(compile_()).start().allowed([])))
"""


def test_a_long_chain_of_references_does_not_end_the_process(checkpoint: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHAIN, str(checkpoint)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
