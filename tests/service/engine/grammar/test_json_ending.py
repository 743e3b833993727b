"""Answers in JSON end within their tokens, whatever a model writes; those that end anyway do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import GrammarKind, GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.grammar.json_ending import MAX_NAME_TOKENS, MAX_NUMBER_DIGITS
from service.engine.grammar.state import Grammar
from service.plan.schema_faults import schema_fault

TEXT: dict[str, Any] = {"type": "string"}
Pick = Callable[[random.Random, list[int], list[bytes]], int]


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties),
        "additionalProperties": False,
    }  # fmt: skip


NODE = an_object(value=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}})
CHAIR = an_object(name=TEXT, kind={"enum": ["arm", "armchair of oak"]}, sure={"type": "boolean"})
SCHEMAS: dict[str, dict[str, Any]] = {
    "text": an_object(item=TEXT),
    "texts": an_object(a=TEXT, b=TEXT, c={"anyOf": [TEXT, {"type": "null"}]}),
    "numbers": an_object(n={"type": "integer"}, xs={"type": "array", "items": {"type": "number"}}),
    "list": an_object(chairs={"type": "array", "items": CHAIR}, count={"type": "integer"}),
    "tree": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "any object": {"type": "object"},
    "object of numbers": {"type": "object", "additionalProperties": {"type": "integer"}},
    "anything": {},
    "optional": {"type": "object", "properties": {"a": TEXT, "b": CHAIR}},
    "wanted": an_object(
        mail={"type": "string", "format": "email"}, code={"type": "string", "pattern": "^[a-z]+Z$"},
        long={"type": "string", "minLength": 30},
        three={"type": "array", "items": TEXT, "minItems": 3},
    ),
    "parts": {"allOf": [{"$ref": "#/$defs/a"}, an_object(a=TEXT, b={"minLength": 3})],
              "$defs": {"a": {"properties": {"b": TEXT}}}},
}  # fmt: skip


def _any_token(rng: random.Random, allowed: list[int], pieces: list[bytes]) -> int:
    return rng.choice(allowed)


def _never_closes(rng: random.Random, allowed: list[int], pieces: list[bytes]) -> int:
    return rng.choice([t for t in allowed if not set(pieces[t]) & set(b'"}]')] or allowed)


def _always_opens(rng: random.Random, allowed: list[int], pieces: list[bytes]) -> int:
    return rng.choice([t for t in allowed if set(pieces[t]) & set(b"{[,")] or allowed)


def _in_bytes(rng: random.Random, allowed: list[int], pieces: list[bytes]) -> int:
    return rng.choice([t for t in allowed if pieces[t] and max(pieces[t]) > 127] or allowed)


@pytest.fixture(scope="module")
def compiler(checkpoint: Path) -> GrammarCompiler:
    spec = CheckpointSpec.from_pretrained(checkpoint)
    tokenizer = LammTokenizer.from_pretrained(checkpoint)
    return GrammarCompiler(tokenizer, spec.vocab_size, spec.eos_token_ids)


@pytest.fixture(scope="module")
def pieces(checkpoint: Path, compiler: GrammarCompiler) -> list[bytes]:
    compiler.compile(_source({}))
    assert compiler.tokens is not None
    return compiler.tokens.pieces


def _source(schema: dict[str, Any]) -> GrammarSource:
    fault, reserve = schema_fault(schema)
    assert fault is None
    return GrammarSource(GrammarKind.JSON_SCHEMA, json.dumps(schema), reserve)


def write(
    grammar: Grammar, max_tokens: int, pick: Pick, pieces: list[bytes], seed: int = 0
) -> tuple[str, bool]:
    """An answer whose tokens `pick` chooses, and whether it ended by itself."""
    state, rng, tokens = grammar.start(max_tokens), random.Random(seed), list[int]()
    while len(tokens) < max_tokens:
        allowed = [token for token, byte in enumerate(state.allowed(tokens)) if byte]
        assert allowed
        token = pick(rng, allowed, pieces)
        if token == 2:
            return b"".join(pieces[one] for one in tokens).decode(), True
        tokens.append(token)
    return b"".join(pieces[one] for one in tokens).decode(errors="replace"), False


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("pick", [_any_token, _never_closes, _always_opens, _in_bytes])
def test_every_answer_is_complete(
    name: str, pick: Pick, compiler: GrammarCompiler, pieces: list[bytes]
) -> None:
    grammar = compiler.compile(_source(SCHEMAS[name]))
    # The shortest answer of "wanted" takes some 150 tokens of this vocabulary.
    for max_tokens in (200, 320) if name == "wanted" else (60, 100, 200):
        for seed in range(3):
            text, ended = write(grammar, max_tokens, pick, pieces, seed)
            assert ended, f"{max_tokens} tokens, seed {seed}: {text}"
            jsonschema.validate(json.loads(text), SCHEMAS[name])


def test_an_answer_that_ends_in_time_is_not_touched(
    compiler: GrammarCompiler, pieces: list[bytes]
) -> None:
    grammar = compiler.compile(_source(SCHEMAS["list"]))
    state, free = grammar.start(400), grammar.start()
    text = b'{"chairs": [{"name": "old", "kind": "arm", "sure": true}], "count": 1}'
    tokens: list[int] = []
    for byte in text:
        assert state.allowed(tokens) == free.allowed(tokens)
        tokens.append(pieces.index(bytes([byte])))
    assert [t for t, may in enumerate(state.allowed(tokens)) if may] == [2]


def test_where_no_answer_fits_nothing_is_changed(
    compiler: GrammarCompiler, pieces: list[bytes]
) -> None:
    grammar = compiler.compile(_source(SCHEMAS["wanted"]))
    short, ended = write(grammar, 20, _any_token, pieces)
    assert not ended
    assert grammar.start(20).allowed([]) == grammar.start().allowed([])
    assert write(grammar, 2000, _any_token, pieces)[0].startswith(short[:10])


def test_strings_share_the_tokens(compiler: GrammarCompiler, pieces: list[bytes]) -> None:
    grammar = compiler.compile(_source(SCHEMAS["texts"]))
    text, _ = write(grammar, 200, _never_closes, pieces)
    answer = json.loads(text)
    lengths = [len(one or "") for one in (answer["a"], answer["b"])]
    assert min(lengths) > 30, answer


def test_numbers_and_names_end(compiler: GrammarCompiler, pieces: list[bytes]) -> None:
    grammar = compiler.compile(_source(an_object(n={"type": "integer"})))
    text, _ = write(grammar, 200, _never_closes, pieces)
    assert len(str(json.loads(text)["n"]).lstrip("-")) <= MAX_NUMBER_DIGITS + 2
    names = compiler.compile(_source({"type": "object", "minProperties": 1}))
    answer = json.loads(write(names, 200, _never_closes, pieces)[0])
    longest = max(len(piece) for piece in pieces)
    assert 0 < len(next(iter(answer)).encode()) <= (MAX_NAME_TOKENS + 8) * longest


def test_the_same_is_allowed_when_a_step_is_repeated(
    compiler: GrammarCompiler, pieces: list[bytes]
) -> None:
    grammar = compiler.compile(_source(SCHEMAS["list"]))
    state, tokens, rng = grammar.start(80), list[int](), random.Random(3)
    while len(tokens) < 80:
        first = state.allowed(tokens)
        assert state.allowed(tokens) == first
        token = _never_closes(rng, [t for t, may in enumerate(first) if may], pieces)
        if token == 2:
            return
        tokens.append(token)
    pytest.fail("the answer did not end")
