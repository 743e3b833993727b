"""Bad input: each its own clear answer, and the next request is served as if nothing happened."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from tests.service.chat_requests import REPLY, chat_body, cloud, image, npy, png

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def many_points() -> bytes:
    header = npy(np.zeros((1, 3), np.float32))
    return header.replace(b"(1, 3)", b"(10000000, 3)", 1)


PICKLED = npy(np.array([[1.0, 2.0, 3.0]])).replace(b"'<f8'", b"'|O' ", 1)
NOT_A_NUMBER = npy(np.array([[0.0, np.nan, 0.0]], np.float32))
EMPTY = npy(np.zeros((0, 3), np.float32))


def messages(*of: dict[str, Any]) -> dict[str, Any]:
    return {"model": "tiny-lamm", "messages": list(of)}


USER = {"role": "user", "content": "Hi"}

CASES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "corrupt image": (
        chat_body(image(png()[:40])), 422, "messages[0].content[0].image_url", "truncated"),
    "pixel bomb": (
        chat_body(image(png_header(20_000, 20_000))), 413, "messages[0].content[0].image_url",
        "20000 x 20000 = 400000000 pixels; the limit is 40000000"),
    "not a picture": (
        chat_body(image(b"hello world")), 415, "messages[0].content[0].image_url", "JPEG, PNG"),
    "no base64": (
        chat_body({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}), 422,
        "messages[0].content[0].image_url", "valid base64"),
    "pickled npy": (
        chat_body(cloud(PICKLED)), 422, "messages[0].content[0].point_cloud_url", "pickled"),
    "NaN coordinates": (
        chat_body(cloud(NOT_A_NUMBER)), 422, "messages[0].content[0].point_cloud_url",
        "(0, nan, 0)"),
    "empty cloud": (
        chat_body(cloud(EMPTY)), 422, "messages[0].content[0].point_cloud_url", "0 points"),
    "too many points": (
        chat_body(cloud(many_points())), 413, "messages[0].content[0].point_cloud_url",
        "10000000 points; the limit is 2000000"),
    "unknown cloud format": (
        chat_body(cloud(format="dae")), 415, "messages[0].content[0].point_cloud_url", "'dae'"),
    "unknown units": (
        chat_body(cloud(units="ft")), 400,
        "messages[0].content[0].point_cloud_url.units", "'m', 'cm' or 'mm'"),
    "misspelt units": (
        chat_body(cloud(unit="mm")), 400, "messages[0].content[0].point_cloud_url.unit",
        "point_cloud_url.unit is not a known field; it is 'mm'"),
    "units outside": (
        chat_body({**cloud(), "units": "mm"}), 400, "messages[0].content[0].units",
        "units is not supported: it belongs inside of point_cloud_url; it is 'mm'"),
    "units of a file": (
        chat_body({"type": "file", "file": {"file_data": "data:,", "units": "mm"}}), 400,
        "messages[0].content[0].file.units", "send a part of type point_cloud_url; it is 'mm'"),
    "medium too large": (
        chat_body(image(b"\x89PNG\r\n\x1a\n" + bytes(5 << 20))), 413,
        "messages[0].content[0].image_url", "the limit is 4194304"),
    "too many media": (
        chat_body(*[image()] * 17), 400, "messages", "17 pictures and clouds; the limit is 16"),
    "remote URLs": (
        chat_body({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}), 400,
        "messages[0].content[0].image_url", "does not fetch"),
    "file address": (
        chat_body({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), 400,
        "messages[0].content[0].image_url", "never opened"),
    "bare path": (
        chat_body({"type": "image_url", "image_url": {"url": "/etc/passwd"}}), 400,
        "messages[0].content[0].image_url", "never opened"),
    "data URL without base64": (
        chat_body({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}), 400,
        "messages[0].content[0].image_url", ";base64"),
    "prompt longer than the context": (
        chat_body(text="one " * 300), 400, "messages", "maximum context length is 256"),
    "prompt far longer than the context": (
        chat_body(text="x" * 1_000_000), 400, "messages", "1000000 characters"),
    "media before far too long a prompt": (
        chat_body(image(), image(), cloud(), text="x" * 1_000_000), 400, "messages",
        "32 image, 8 point cloud; this model's maximum context length is 256"),
    "files before far too long a prompt": (
        chat_body(
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "file": {"file_data": "data:,", "filename": "a.PLY"}},
            text="x" * 1_000_000,
        ), 400, "messages",
        "0 image, 8 point cloud, and those of 1 files; this model's maximum context length is 256"),
    "answer longer than the context": (
        chat_body(image(), cloud(), max_tokens=250), 400, "messages",
        "16 image, 8 point cloud) and max_tokens is 250"),
    "unknown model": (
        {**chat_body(), "model": "gpt-7"}, 404, "model", "'gpt-7' is not served"),
    "no model": ({"messages": [USER]}, 400, "model", "model is missing"),
    "negative max_tokens": (
        chat_body(max_tokens=-5), 400, "max_tokens", "at least 1; it is -5"),
    "a billion choices": (chat_body(n=10**9), 400, "n", "at most 8; it is 1000000000"),
    "hot temperature": (chat_body(temperature=9), 400, "temperature", "at most 2"),
    "text for a number": (chat_body(top_p="lots"), 400, "top_p", "must be a number"),
    "foreign logit bias": (
        chat_body(logit_bias={"99999": 1}), 400, "logit_bias", "99999 is not in the vocabulary"),
    "worded logit bias": (chat_body(logit_bias={"the": 1}), 400, "logit_bias", "'the'"),
    "strong logit bias": (chat_body(logit_bias={"5": 101}), 400, "logit_bias.5", "at most 100"),
    "many logit biases": (
        chat_body(logit_bias={str(n): 1 for n in range(4000)}), 400, "logit_bias", "it has 4000"),
    "foreign stop token": (chat_body(stop_token_ids=[-1]), 400, "stop_token_ids", "-1"),
    "empty stop": (chat_body(stop=[""]), 400, "stop", "at least 1"),
    "min over max": (
        chat_body(max_tokens=3, min_tokens=4), 400, "min_tokens", "expected 0 to 3"),
    "top_logprobs alone": (chat_body(top_logprobs=3), 400, "top_logprobs", "logprobs"),
    "JSON schema left out": (
        chat_body(response_format={"type": "json_schema"}), 400, "response_format.json_schema",
        "no json_schema"),
    "stream options alone": (
        chat_body(stream_options={"include_usage": True}), 400, "stream_options", "stream"),
    "no messages": (messages(), 400, "messages", "at least 1"),
    "unknown role": (
        messages({"role": "ipython", "content": "x"}), 400, "messages[0].role", "must be one of"),
    "unknown part": (
        messages({"role": "user", "content": [{"type": "audio_url"}]}), 400,
        "messages[0].content[0]", "unknown type"),
    "number as content": (
        messages({"role": "user", "content": 5}), 400, "messages[0].content", "must be a string"),
    "no content": (
        messages({"role": "user"}), 400, "messages[0].content", "content is missing"),
    "empty question": (messages({"role": "user", "content": " "}), 400, "messages[0]", "neither"),
    "nothing at all": (messages({"role": "system", "content": ""}), 400, "messages", "neither"),
    "answer last": (
        messages(USER, {"role": "assistant", "content": "x"}), 400, "messages", "last message"),
    "medium in a system message": (
        messages({"role": "system", "content": [image()]}, USER), 400, "messages[0].content[0]",
        "'system'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_bad_input_is_refused_and_the_next_is_served(
    client: httpx.AsyncClient, name: str
) -> None:
    body, status, param, words = CASES[name]
    refused = await client.post(URL, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (status, param), error
    assert words in error["message"]
    assert error["type"]
    assert error["code"]
    assert len(error["message"]) < 600
    served = await client.post(URL, json=chat_body())
    assert served.json()["choices"][0]["message"]["content"] == REPLY


@pytest.mark.parametrize("body", [b"{", b"", b"[1, 2]", b'"text"', b"\xff\xfe", b'{"model": NaN}'])
async def test_what_is_no_request_at_all(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post(URL, content=body, headers=headers)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_lone_surrogates_are_refused(client: httpx.AsyncClient) -> None:
    text = '{"model": "tiny-lamm", "messages": [{"role": "user", "content": "\\ud800"}]}'
    headers = {"Content-Type": "application/json"}
    response = await client.post(URL, content=text, headers=headers)
    assert response.status_code == 400


async def test_many_mistakes_make_a_short_answer(client: httpx.AsyncClient) -> None:
    body = messages(*[{"role": "x" * 9999, "content": 1}] * 500)
    response = await client.post(URL, json=body)
    assert response.status_code == 400
    assert len(response.content) < 2000
    assert response.json()["error"]["param"].startswith("messages[0]")


async def test_the_mistakes_that_are_not_told_are_counted(client: httpx.AsyncClient) -> None:
    numbers = ("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "n",
               "repetition_penalty", "frequency_penalty", "presence_penalty", "priority",
               "top_logprobs", "max_completion_tokens")  # fmt: skip
    body = {**messages({"role": "user", "content": "hi"}), **dict.fromkeys(numbers, "many")}
    response = await client.post(URL, json=body)
    assert response.status_code == 400
    assert len(response.content) < 2000
    assert "and " in response.json()["error"]["message"]


async def test_a_large_body_is_refused_by_its_length(client: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield bytes(1 << 20)

    headers = {"Content-Type": "application/json", "Content-Length": str(200 << 20)}
    response = await client.post(URL, content=body(), headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert "8388608 bytes" in response.json()["error"]["message"]
    assert read == 0
    assert (await client.post(URL, json=chat_body())).status_code == 200


async def test_a_large_body_is_refused_while_it_comes(client: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield bytes(1 << 20)

    response = await client.post(URL, content=body(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert read <= 10
    assert (await client.post(URL, json=chat_body())).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/models/gpt-7", 404),
        ("GET", URL, 405),
        ("DELETE", "/livez", 405),
    ],
)
async def test_wrong_routes(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_medium_that_the_checkpoint_cannot_see(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = app.state.services.models.get("tiny-lamm").processor.prompts
    spec = prompts.spec
    blind = type(spec)(**{n: getattr(spec, n) for n in spec.__slots__} | {"points": None})
    monkeypatch.setattr(prompts, "spec", blind)
    response = await client.post(URL, json=chat_body(cloud()))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_modality"
    assert error["param"] == "messages[0].content[0].point_cloud_url"
    assert "does not accept point_cloud; it accepts text, image" in error["message"]


async def test_a_defect_of_ours_tells_nothing(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = app.state.services.models.get("tiny-lamm").processor.prompts
    monkeypatch.setattr(prompts, "tokenizer", None)
    response = await client.post(URL, json=chat_body())
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "internal error"
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("iVBO?w==", "it has '?' at position 4"),
        ("iVBO\n\u00e9w==", "it has '\u00e9' at position 4"),
        ("iVBO=iVB", "it has '=' at position 4 of 8"),
        ("iVBO===", "it has '=' at position 4 of 7"),
        ("iVBOi", "its length is 5"),
        ("iVBO%41==", "it has '%' at position 4"),
    ],
)
async def test_invalid_base64_is_named(client: httpx.AsyncClient, text: str, fault: str) -> None:
    body = chat_body({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}})
    response = await client.post(URL, json=body)
    assert response.status_code == 422
    assert f"valid base64: {fault}" in response.json()["error"]["message"]
