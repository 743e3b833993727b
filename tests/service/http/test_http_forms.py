"""Forms of a request that HTTP clients differ in: byte order marks, slashes, unknown routes."""

from __future__ import annotations

import gzip
import io
import json
from codecs import BOM_UTF8
from typing import Any

import httpx
import pytest

from service.batches.batch import BatchLimits, InputLine, LineProblem
from service.batches.input_lines import read_lines
from tests.service.chat_requests import chat_body, png

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def batch_line(**more: Any) -> bytes:
    line = {"method": "POST", "url": CHAT, "custom_id": "1", "body": {}, **more}
    return json.dumps(line).encode()


LIMITS = BatchLimits(9, 9999, 1, 1, 60.0, 60.0)


@pytest.mark.parametrize("text", ["Hi", "x" * 9 + " " * 70_000], ids=["small", "large"])
async def test_a_byte_order_mark_is_no_part_of_a_body(client: httpx.AsyncClient, text: str) -> None:
    body = BOM_UTF8 + json.dumps(chat_body(user=text)).encode()
    response = await client.post(CHAT, content=body, headers=JSON)
    assert response.status_code == 200, response.text
    twice = await client.post(CHAT, content=BOM_UTF8 + body, headers=JSON)
    assert twice.status_code == 400


async def test_a_byte_order_mark_is_no_part_of_a_form_s_json(client: httpx.AsyncClient) -> None:
    form = {"inputs": "\ufeff{}"}
    files = {"file": ("a.png", png(), "image/png")}
    response = await client.post("/v1/tasks/caption", data=form, files=files)
    assert response.status_code == 200, response.text


async def test_a_byte_order_mark_is_no_part_of_a_batch() -> None:
    second = batch_line(custom_id="2")
    one, two = read_lines(io.BytesIO(BOM_UTF8 + batch_line() + b"\n" + second), CHAT, LIMITS)
    assert isinstance(one, InputLine)
    assert isinstance(two, InputLine)
    (_, late) = read_lines(io.BytesIO(batch_line() + b"\n" + BOM_UTF8 + second), CHAT, LIMITS)
    assert isinstance(late, LineProblem)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"model": "tiny-lamm",}', "line 1, column 23"),
        (b'{"model":\n  oops}', "line 2, column 3"),
        (BOM_UTF8 + b"[1", "line 1, column 2"),
    ],
)
async def test_invalid_json_is_placed(client: httpx.AsyncClient, body: bytes, place: str) -> None:
    response = await client.post(CHAT, content=body, headers=JSON)
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message == f"the request body is not valid JSON ({place})"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "is empty; expected JSON"),
        (b" \n", "is empty; expected JSON"),
        ("{}".encode("utf-16"), "is UTF-16 or UTF-32; expected UTF-8"),
        ("{}".encode("utf-16-be"), "is UTF-16 or UTF-32; expected UTF-8"),
        ("{}".encode("utf-32-le"), "is UTF-16 or UTF-32; expected UTF-8"),
        (gzip.compress(b"{}", mtime=0), "is compressed with gzip, but not declared so "),
        (b'{"model": "caf\xe9"}', "is not UTF-8 (line 1, column 15)"),
        (b'{"model": "\\ud83d"}', "has half of a surrogate pair (line 1, column 18)"),
        (b'{"a": ' + b"[" * 999 + b"]" * 999 + b"}", "nests lists and objects too deeply (line 1"),
        (b'{"a": ' + b"9" * 5000 + b"}", "has a number with too many digits (line 1"),
    ],
)
async def test_what_keeps_a_text_from_being_json_is_named(
    client: httpx.AsyncClient, body: bytes, fault: str
) -> None:
    response = await client.post(CHAT, content=body, headers=JSON)
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message.startswith(f"the request body {fault}")


async def test_a_batch_of_another_encoding_is_named() -> None:
    problem = next(read_lines(io.BytesIO(batch_line().decode().encode("utf-16")), CHAT, LIMITS))
    assert isinstance(problem, LineProblem)
    assert problem.message == "the line is UTF-16 or UTF-32; expected UTF-8"


async def test_invalid_json_in_a_form_and_in_a_batch_is_placed(client: httpx.AsyncClient) -> None:
    files = {"file": ("a.png", png(), "image/png")}
    response = await client.post("/v1/tasks/caption", data={"inputs": '{"a" 1}'}, files=files)
    message = response.json()["error"]["message"]
    assert message == "the field 'inputs' is not valid JSON (line 1, column 6)"
    problem = next(read_lines(io.BytesIO(b'{"custom_id": }'), CHAT, LIMITS))
    assert isinstance(problem, LineProblem)
    assert problem.message == "the line is not valid JSON (line 1, column 15)"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/health", "/v1/models", "/nowhere"])
async def test_head_is_get_without_its_body(client: httpx.AsyncClient, path: str) -> None:
    head, got = await client.head(path), await client.get(path)
    assert head.status_code == got.status_code
    assert head.headers["content-type"] == got.headers["content-type"]
    assert got.content
    assert not head.content


async def test_head_of_a_route_that_only_takes_bodies(client: httpx.AsyncClient) -> None:
    head = await client.head(CHAT)
    assert (head.status_code, head.headers["allow"]) == (405, "POST")


async def test_a_trailing_slash_changes_nothing(client: httpx.AsyncClient) -> None:
    for path in ("/v1/models", "/v1/models/tiny-lamm", "/v1/files", "/v1/tasks"):
        plain, slashed = await client.get(path), await client.get(f"{path}/")
        assert (slashed.status_code, slashed.content) == (plain.status_code, plain.content), path
    response = await client.post(f"{CHAT}/", json=chat_body())
    assert response.status_code == 200, response.text
    assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize(
    "path", [f"{CHAT}//", "//v1/models", "/v1/models/x%2F", "/v1//", "/livez/"]
)
async def test_other_slashes_are_refused_without_a_redirect(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.post(path, json=chat_body())
    assert response.status_code in (404, 405)
    assert "location" not in response.headers


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses/x/cancel", "/chat/completions"])
async def test_an_unknown_route_names_the_known_ones(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"model": "tiny-lamm", "input": "Hi"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["code"] == "not_found"
    assert error["message"].startswith(f"route 'POST {path}' not found; the API's routes are ")
    for known in ("POST /v1/chat/completions,", "GET|POST /v1/files,", "POST /v1/tasks/{task}"):
        assert known in error["message"]
    assert len(error["message"]) < 1000


async def test_a_long_unknown_path_is_cut(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/" + "x" * 5000)
    assert response.status_code == 404
    assert len(response.json()["error"]["message"]) < 1000
