"""Answers under a grammar: they always parse and satisfy the schema, and disturb nobody."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lamm_model.sampling_params import SamplingParams
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    Engine,
    FinishReason,
    GenerationRequest,
    GrammarError,
    GrammarKind,
    GrammarSource,
    RequestFailedError,
)
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.loading.model_source import ModelSource
from tests.service.engine.harness import EngineMaker, RequestMaker, collect

# Bounded, so that a model of random weights comes to an end.
BOX = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 4,
       "maxItems": 4}  # fmt: skip
CHAIR = {
    "type": "object",
    "properties": {
        "label": {"enum": ["chair", "table", "the lamp"]},
        "box": BOX,
        "note": {"type": "string", "maxLength": 4},
        "sure": {"type": "boolean"},
    },
    "required": ["label", "box", "sure"],
    "additionalProperties": False,
}
CHAIRS = {"type": "array", "items": {"$ref": "#/$defs/chair"}, "maxItems": 2,
          "$defs": {"chair": CHAIR}}  # fmt: skip
SCHEMAS: dict[str, dict[str, Any]] = {"object": CHAIR, "array": CHAIRS, "box": BOX}
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "hot": {"temperature": 1.5, "seed": 5},
    "top_p": {"temperature": 1.0, "top_p": 0.8, "seed": 6},
}


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@dataclass(frozen=True)
class _Answer:
    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None


async def _collect(engine: Engine, request: GenerationRequest) -> _Answer:
    chunks = await collect(engine, request)
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    return _Answer("".join(c.text for c in chunks), tokens, chunks[-1].finish_reason)


@pytest.fixture(scope="module")
def compiler(checkpoint: Path) -> GrammarCompiler:
    spec = CheckpointSpec.from_pretrained(checkpoint)
    tokenizer = LammTokenizer.from_pretrained(checkpoint)
    return GrammarCompiler(tokenizer, spec.vocab_size, spec.eos_token_ids)


def _source(schema: dict[str, Any]) -> GrammarSource:
    return GrammarSource(GrammarKind.JSON_SCHEMA, json.dumps(schema))


def _constrained(
    request: GenerationRequest, grammar: GrammarSource, **params: Any
) -> GenerationRequest:
    return dataclasses.replace(
        request,
        request_id=f"{request.request_id}-constrained",
        sampling_params=SamplingParams(max_tokens=220, **params),
        grammar=grammar,
    )


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("sampling", SAMPLING.values(), ids=SAMPLING)
async def test_answers_satisfy_the_schema_and_neighbours_stay_as_they_are(
    name: str,
    sampling: dict[str, Any],
    torch_engine: EngineMaker,
    make_request: RequestMaker,
) -> None:
    grammar = _source(SCHEMAS[name])
    free = [make_request(length=9 + i, max_tokens=12) for i in range(2)]
    bound = [_constrained(make_request(length=7 + i), grammar, **sampling) for i in range(3)]
    async with torch_engine() as engine:
        alone = [await _collect(engine, request) for request in free]
        together = await asyncio.gather(*(_collect(engine, r) for r in [*free, *bound]))
    assert [answer.token_ids for answer in together[:2]] == [a.token_ids for a in alone]
    for answer in together[2:]:
        assert answer.finish_reason is FinishReason.STOP
        jsonschema.validate(json.loads(answer.text), SCHEMAS[name])


async def test_an_answer_is_the_same_alone_and_in_a_batch(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    grammar = _source(CHAIR)
    requests = [
        _constrained(make_request(length=6 + i), grammar, temperature=1.0, seed=i) for i in range(4)
    ]
    async with torch_engine() as engine:
        alone = [(await _collect(engine, request)).token_ids for request in requests]
        together = await asyncio.gather(*(_collect(engine, request) for request in requests))
    assert [answer.token_ids for answer in together] == alone
    assert len(set(map(tuple, alone))) > 1


async def test_an_answer_cut_short_is_the_beginning_of_the_whole_one(
    torch_engine: EngineMaker, make_request: RequestMaker
) -> None:
    whole = _constrained(make_request(length=8), _source(CHAIR))
    short = dataclasses.replace(
        whole, request_id="short", sampling_params=SamplingParams(max_tokens=5)
    )
    async with torch_engine() as engine:
        full, cut = await _collect(engine, whole), await _collect(engine, short)
    assert cut.finish_reason is FinishReason.LENGTH
    assert cut.token_ids == full.token_ids[:5]


async def test_a_grammar_that_the_caller_compiled_is_not_compiled_again(
    compiler: GrammarCompiler,
    checkpoint: Path,
    torch_engine: EngineMaker,
    make_request: RequestMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = ModelSource.from_pretrained(checkpoint)
    source = _source({"enum": ["compiled", "once"]})
    await compiler.get(source)
    monkeypatch.delattr(GrammarCompiler, "compile")
    async with torch_engine(models=(model,), grammars={model.name: compiler}) as engine:
        answer = await _collect(engine, _constrained(make_request(length=8), source))
    assert answer.text in ('"compiled"', '"once"')


def test_a_grammar_at_its_end_allows_the_end_alone(compiler: GrammarCompiler) -> None:
    state = compiler.compile(_source({"const": 7})).start()
    tokens: list[int] = []
    for _ in range(8):
        allowed = [i for i, byte in enumerate(state.allowed(tokens)) if byte]
        assert allowed
        assert allowed == [i for i, byte in enumerate(state.allowed(tokens)) if byte]
        if allowed == [2]:
            break
        tokens.append(allowed[0])
    assert allowed == [2]


def test_states_of_one_grammar_are_apart(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(_source({"type": "boolean"}))
    first, second = grammar.start(), grammar.start()
    begin = first.allowed([])
    token = next(i for i, byte in enumerate(begin) if byte)
    assert first.allowed([token]) != begin
    assert second.allowed([]) == begin


def test_an_answer_that_left_its_grammar_fails_alone(compiler: GrammarCompiler) -> None:
    state = compiler.compile(_source({"type": "boolean"})).start()
    with pytest.raises(RequestFailedError, match="no value satisfies the schema from here on"):
        state.allowed([2, 2, 2])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "unsupported keywords: not"),
        ({"uniqueItems": True}, "unsupported keywords: uniqueItems"),
        ({"type": "text"}, "a type is not a JSON type"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern"),
        ({"$ref": "https://example.org/schema.json"}, "points outside the schema"),
        ({"$ref": "file:///etc/passwd"}, "points outside the schema"),
        ({"$ref": "#/$defs/absent"}, "has no target in the schema"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "no value satisfies it"),
        (_nested(200), "nested too deeply"),
    ],
)  # fmt: skip
def test_schemas_that_cannot_be_kept_are_refused_in_words_of_our_own(
    compiler: GrammarCompiler, schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(GrammarError, match=reason) as refusal:
        compiler.compile(_source(schema))
    assert "\n" not in str(refusal.value)
    assert "http" not in str(refusal.value)
