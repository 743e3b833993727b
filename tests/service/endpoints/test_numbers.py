"""Booleans are no numbers: every numeric field of every JSON body refuses true by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.service.chat_requests import chat_body, cloud

pytestmark = pytest.mark.asyncio(loop_scope="module")
_NUMBERS = ("integer", "number")
CAMERA = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0}


class Document:
    """An OpenAPI document, whose schemas become the smallest values that match them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def bodies(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The path and schema of every JSON body."""
        for path, item in self._document["paths"].items():
            content = item.get("post", {}).get("requestBody", {}).get("content", {})
            if "application/json" in content:
                yield path, content["application/json"]["schema"]

    def booleans(self, schema: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
        """The name of each field with a number, and a value of the schema with true in it."""
        schema = self._resolved(schema)
        for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from self.booleans(branch, name)
        if schema.get("type") in _NUMBERS:
            yield name, True
        if "properties" in schema:
            least = self._least(schema)
            for field, inner in schema["properties"].items():
                for leaf, value in self.booleans(inner, field):
                    yield leaf, {**least, field: value}
        for part in (schema.get("items"), *schema.get("prefixItems", ())[:1]):
            if isinstance(part, dict):
                for leaf, value in self.booleans(part, name):
                    yield leaf, [value]
        if isinstance(schema.get("additionalProperties"), dict):
            for leaf, value in self.booleans(schema["additionalProperties"], name):
                yield leaf, {"5": value}

    def _least(self, schema: Mapping[str, Any]) -> Any:
        schema = self._resolved(schema)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        if "anyOf" in schema or "oneOf" in schema:
            return self._least((schema.get("anyOf") or schema["oneOf"])[0])
        if schema.get("type") == "object":
            required = schema.get("required", ())
            return {name: self._least(schema["properties"][name]) for name in required}
        if schema.get("type") == "array":
            return [self._least(schema["items"])]
        return {"string": "x", "boolean": False}.get(schema["type"], 1)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in schema:
            return schema
        name = schema["$ref"].rpartition("/")[2]
        found: Mapping[str, Any] = self._document["components"]["schemas"][name]
        return found


async def test_every_number_refuses_true(app: FastAPI, client: httpx.AsyncClient) -> None:
    document, seen, faults = Document(app.openapi()), set(), []
    for path, schema in document.bodies():
        for field, body in document.booleans(schema, ""):
            answer = await client.post(path, json=body)
            message = answer.json()["error"]["message"] if answer.is_client_error else ""
            if answer.status_code not in (400, 422) or not (field in message and "true" in message):
                faults.append((path, field, answer.status_code, message))
            seen.add((path, field))
    assert not faults, faults
    assert len(seen) > 200
    chat = {field for path, field in seen if path == "/v1/chat/completions"}
    assert {"temperature", "seed", "stop_token_ids", "logit_bias", "fx", "pose"} <= chat


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", True, "temperature must be a number; it is true"),
        ("max_tokens", False, "max_tokens must be a number; it is false"),
        ("stop_token_ids", [5, True], "stop_token_ids must have numbers; [1] is true"),
        ("logit_bias", {"5": False}, "logit_bias must have numbers; .5 is false"),
    ],
    ids=str,
)
async def test_the_message_names_the_place(
    client: httpx.AsyncClient, field: str, value: Any, message: str
) -> None:
    refused = await client.post("/v1/chat/completions", json=chat_body(**{field: value}))
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == message
    assert refused.json()["error"]["param"] == field


async def test_a_camera_has_no_booleans(client: httpx.AsyncClient) -> None:
    part = cloud(format="depth", camera={**CAMERA, "pose": [[1, 0, 0, 0], [0, True, 0, 0]]})
    refused = await client.post("/v1/chat/completions", json=chat_body(part))
    assert refused.status_code == 400
    assert "camera must have numbers; .pose[1][1] is true" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("field", "value"), [("temperature", "0.5"), ("max_tokens", "3")])
async def test_numbers_as_strings_are_accepted(
    client: httpx.AsyncClient, field: str, value: str
) -> None:
    answer = await client.post("/v1/chat/completions", json=chat_body(**{field: value}))
    assert answer.status_code == 200, answer.text
