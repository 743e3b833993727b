"""Faulty schemas are refused over HTTP with their place, soon, and disturb nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from service.plan.schema_faults import MAX_DEPTH, MAX_LENGTH, schema_fault
from tests.service.chat_requests import REPLY, chat_body

URL = "/v1/chat/completions"
WHOLE = "response_format.json_schema.schema"
ENDLESS = "it needs itself, so that no finite value satisfies it"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def definitions(whole: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**whole, "$defs": parts}


def text(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "string", **keywords}}}


def requiring(schema: dict[str, Any] | bool) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


A, B = {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}
# Schema, place, words of the reason.
FAULTS: dict[str, tuple[Any, str, str]] = {
    "itself": ({"$ref": "#"}, "/$ref", ENDLESS),
    "cycle": (definitions(A, a=B, b=A), "/$defs/b/$ref", ENDLESS),
    "cycle in allOf": (
        definitions({"allOf": [A]}, a={"allOf": [A]}),
        "/$defs/a/allOf/0/$ref",
        ENDLESS,
    ),
    "required itself": (requiring({"$ref": "#"}), "/properties/a/$ref", ENDLESS),
    "required in two": (
        definitions(A, a=requiring(B), b=requiring(A)),
        "/$defs/b/properties/a/$ref",
        ENDLESS,
    ),
    "items of itself": (
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        "/items/$ref",
        ENDLESS,
    ),
    "only recursive": (
        {"anyOf": [requiring({"$ref": "#"}), {"$ref": "#"}]},
        "/anyOf/0/properties/a/$ref",
        ENDLESS,
    ),
    "required false": (requiring(False), "/properties/a", "no value satisfies it"),
    "no target": ({"properties": {"a": A}}, "/properties/a/$ref", "has no target in the schema"),
    "outside": (
        {"properties": {"a": {"$ref": "file:///x"}}},
        "/properties/a/$ref",
        "points outside",
    ),
    "look-ahead": (text(pattern="(?=x)y"), "/properties/a/pattern", "is not a valid regular"),
    "half a pattern": (text(pattern="(a"), "/properties/a/pattern", "is not a valid regular"),
    "explosion": (text(pattern="^(a?){1000}a{1000}$"), "/properties/a/pattern", "too complex"),
    "explosion below": (
        definitions({"type": "array", "items": A}, a=text(pattern="^(a?){1000}a{1000}$")),
        "/$defs/a/properties/a/pattern",
        "too complex",
    ),
    "repetition": (
        text(pattern="^(a{300}){300}$"),
        "/properties/a/pattern",
        "too complex: the first tokens of an answer take",
    ),
    "long pattern": (text(pattern="a" * 5000), "/properties/a/pattern", "5000 characters"),
    "deep": (nested(130), "", f"the limit is {MAX_DEPTH} levels"),
    "huge": ({"enum": [f"value {n}" for n in range(9000)]}, "", "bytes; the limit is 65536"),
    "many optional": (
        {"properties": {f"p{n}": {"type": "null"} for n in range(1500)}, "type": "object"},
        "",
        "too complex",
    ),
    "long minimum": (
        text(minLength=MAX_LENGTH + 1),
        "/properties/a/minLength",
        "no answer is that long",
    ),
    "many items": ({"type": "array", "minItems": 10**9}, "/minItems", "no answer is that long"),
    "uncountable": (text(maxLength=10**30), "/properties/a/maxLength", "more than 64 bits"),
    "negative": (text(maxLength=-1), "/properties/a/maxLength", "it is -1"),
    "crossed": (
        text(minLength=3, maxLength=2),
        "/properties/a/minLength",
        "minLength is 3, maxLength 2",
    ),
    "crossed numbers": (
        {"properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}}},
        "/properties/a/minimum",
        "minimum is 3, maximum 2",
    ),
    "infinite": ({"properties": {"a": {"type": "number", "minimum": 1e999}}}, "", "not finite"),
    "beyond 64 bits": (
        {"properties": {"a": {"type": "integer", "minimum": 10**30}}},
        "/properties/a",
        "64 bits",
    ),
    "type": (text(type="text"), "/properties/a/type", "is not a JSON type: 'text'"),
    "types": ({"type": []}, "/type", "empty list"),
    "no choice": ({"properties": {"a": {"anyOf": []}}}, "/properties/a/anyOf", "empty list"),
    "no enum": ({"properties": {"a": {"enum": []}}}, "/properties/a/enum", "empty list"),
    "properties": ({"properties": [1]}, "/properties", "must be an object; it is a list"),
    "a number": ({"properties": {"a/b": {"items": 7}}}, "/properties/a~1b/items", "it is 7"),
    "required": ({"required": "a"}, "/required", "must be a list of strings"),
    "multipleOf": ({"multipleOf": 0}, "/multipleOf", "must be a number above 0"),
    "format": (text(format="regex"), "/properties/a/format", "the format is unknown"),
    "not": (definitions({"items": A}, a={"not": {}}), "/$defs/a/not", "unsupported keywords: not"),
    "lenient": ({"x-guidance": {"lenient": True}}, "/x-guidance", "unsupported keywords"),
    "oneOf": (
        {"items": {"oneOf": [{"type": "string"}, {"minLength": 2}]}},
        "/items/oneOf",
        "use anyOf",
    ),
    "unreadable": ({"enum": ["\ud800"]}, "", "half of a surrogate pair"),
}


def wants(schema: Any) -> dict[str, Any]:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return chat_body(response_format=wanted)


async def post(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    # The client's own encoder refuses what is not finite.
    headers = {"Content-Type": "application/json"}
    return await client.post(URL, content=json.dumps(body), headers=headers)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_faulty_schema_is_refused_with_its_place(
    client: httpx.AsyncClient, name: str
) -> None:
    schema, place, words = FAULTS[name]
    async with asyncio.timeout(8):
        refused, other = await asyncio.gather(
            post(client, wants(schema)), post(client, chat_body())
        )
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert words in error["message"]
    assert len(error["message"]) < 500
    if error["code"] == "unsupported_schema":
        assert f"{WHOLE}{place}: " in error["message"] or not place
        assert error["param"] == WHOLE
    assert other.json()["choices"][0]["message"]["content"] == REPLY


TREE = {
    "$defs": {"node": requiring({"type": "array", "items": {"$ref": "#/$defs/node"}})},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        requiring({"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        text(pattern="^((a{1,100}){1,100}){1,100}$"),
        text(pattern="(a|aa)*"),
        text(minLength=5000, maxLength=10**9),
        {"type": "array", "minItems": 10**6, "items": {"type": "integer"}},
        {"enum": [f"v{n}" for n in range(5000)]},
        nested(30),
        {"properties": {"$ref": {"type": "string"}, "type": {"enum": ["$ref"]}}},
        {"$defs": {"a": {"type": "null"}}, "items": {"$ref": "#/%24defs/a"}},
        {"allOf": [{"properties": {"a": {"type": "string"}}}, {"required": ["a"]}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "title": "X"},
    ],
)
async def test_legal_schemas_are_taken(client: httpx.AsyncClient, schema: Any) -> None:
    assert (await post(client, wants(schema))).status_code == 200


@pytest.mark.parametrize(
    ("schema", "largest"),
    [
        ({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}, 18),
        ({"type": "array", "items": requiring({"const": "x" * 50})}, 73),
        ({"type": "string", "minLength": 100}, 4),
        (TREE, 20),
    ],
)
async def test_the_largest_part_is_known(schema: dict[str, Any], largest: int) -> None:
    fault, size = schema_fault(schema)
    assert fault is None
    assert size == pytest.approx(largest, abs=8)
