"""Task requests as multipart forms: the same answers, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from service.engine.echo_engine import EchoEngine
from tests.service.chat_requests import data_url, npy, png

URL = "/v1/tasks"
pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = ("photo.png", png(20, 10), "image/png")
CLOUD = npy(np.arange(30, dtype=np.float32).reshape(10, 3))
SCAN = ("scan.NPY", CLOUD, "application/octet-stream")


@pytest.fixture
def prompts(
    client: httpx.AsyncClient, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """What reached the engine."""
    requests: list[Any] = []
    generate = engine.generate

    def record(request: Any) -> Any:
        requests.append(request)
        return generate(request)

    monkeypatch.setattr(engine, "generate", record)
    return requests


async def post(
    client: httpx.AsyncClient, task: str, file: Any = PICTURE, **fields: Any
) -> httpx.Response:
    files = {} if file is None else {"file": file}
    return await client.post(f"{URL}/{task}", files=files, data=fields)


async def test_a_form_says_what_json_says(client: httpx.AsyncClient, prompts: list[Any]) -> None:
    inputs = {"question": "Which?", "choices": ["red, or so", "green"]}
    body = {
        "image_url": {"url": data_url(PICTURE[1])}, "inputs": inputs, "max_tokens": 3, "seed": 4
    }  # fmt: skip
    plain = await client.post(f"{URL}/vqa_choice", json=body)
    sampling = {"max_tokens": "3", "seed": "4"}
    forms: list[dict[str, Any]] = [
        {"inputs": json.dumps(inputs)},
        {"question": "Which?", "choices": inputs["choices"]},
        {"question": "Which?", "choices": json.dumps(inputs["choices"])},
    ]  # fmt: skip
    for form in forms:
        answer = await post(client, "vqa_choice", **form, **sampling, mode="text")
        assert answer.status_code == 200, answer.text
        for name in ("answer", "text", "media", "usage"):
            assert answer.json()[name] == plain.json()[name]
    assert len({request.prompt_token_ids for request in prompts}) == 1
    assert {request.sampling_params.max_tokens for request in prompts} == {3}
    assert {request.sampling_params.seed for request in prompts} == {4}


async def test_a_cloud_s_format_is_in_its_name_or_named(client: httpx.AsyncClient) -> None:
    named = await post(client, "classification_3d", SCAN, units="cm", up_axis="y")
    assert named.status_code == 200, named.text
    assert (named.json()["media"]["units"], named.json()["media"]["up_axis"]) == ("cm", "y")
    raw = ("scan", np.arange(30, dtype=np.float32).tobytes(), "application/octet-stream")
    told = await post(client, "classification_3d", raw, format="bin", columns="3")
    assert told.json()["media"]["points_in"] == 10
    refused = await post(client, "classification_3d", ("scan.abc", b"0 0 0", "text/plain"))
    assert refused.status_code == 400
    message = "'abc' is not a point cloud format; give the field 'format', one of asc"
    assert message in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("classification_3d", ("upload", CLOUD, "application/octet-stream")),
        ("classification_3d", ("scan.ply", CLOUD, "image/png")),
        ("caption", ("upload", PICTURE[1], "application/octet-stream")),
        ("caption", ("scan.ply", PICTURE[1], "application/octet-stream")),
    ],
)
async def test_a_file_is_what_its_bytes_are(
    client: httpx.AsyncClient, task: str, file: Any
) -> None:
    answer = await post(client, task, file)
    assert answer.status_code == 200, answer.text
    other = "caption" if task == "classification_3d" else "classification_3d"
    refused = await post(client, other, file)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "wrong_medium"


@pytest.mark.parametrize(
    ("task", "file", "fields", "status", "param", "words"),
    [
        ("counting", None, {"noun": "x"}, 400, "file", "no file in the field 'file'"),
        ("counting", SCAN, {}, 400, "file", "is a point cloud; this task takes a picture (JPEG"),
        ("classification_3d", PICTURE, {}, 400, "file", "is a picture; this task takes a point"),
        ("counting", ("a.png", b"hello", "image/png"), {}, 415, "image_url", "JPEG, PNG"),
        ("counting", PICTURE, {"inputs": "{"}, 400, "inputs", "not valid JSON"),
        ("counting", PICTURE, {"inputs": "[" * 9999}, 400, "inputs", "too deeply"),
        ("counting", PICTURE, {"inputs": "[]"}, 400, "inputs", "must be an object"),
        ("counting", PICTURE, {"nouns": "x"}, 400, "inputs.nouns", "not a known field"),
        ("counting", PICTURE, {"temperature": "warm"}, 400, "temperature", "must be a number"),
        ("counting", PICTURE, {"image_url": "x"}, 400, "image_url", "object"),
        ("vqa", PICTURE, {}, 400, "inputs.question", "is missing"),
        ("counting", PICTURE, {f"x{i}": "1" for i in range(70)}, 400, None, "the limit is 64"),
        ("counting", PICTURE, {"noun": "x" * 300_000}, 400, None, "262144 bytes in a field"),
        ("classification", PICTURE, {"labels": "cat"}, 400, "inputs.labels", "at least 2"),
        ("segmentation", PICTURE, {}, 404, "task", "'segmentation'"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient,
    task: str,
    file: Any,
    fields: dict[str, str],
    status: int,
    param: str | None,
    words: str,
) -> None:
    if file is None:
        answer = await client.post(f"{URL}/{task}", files={"noun": (None, "x")})
    else:
        answer = await post(client, task, file, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert words in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n\r\n--x--", b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--"]
)
async def test_a_form_that_is_none(client: httpx.AsyncClient, body: bytes) -> None:
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data"):
        answer = await client.post(f"{URL}/counting", content=body, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


async def test_a_form_larger_than_a_body_may_be(client: httpx.AsyncClient) -> None:
    large = ("a.png", png() + bytes(9 << 20), "image/png")
    answer = await post(client, "counting", large)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "no such one"])
async def test_no_other_codec_than_utf_8_reads_a_form(
    client: httpx.AsyncClient, charset: str
) -> None:
    """One takes seconds for a field, one fails on every byte, and unknown names are remembered."""
    kind = f"multipart/form-data; boundary=B; charset={charset}"
    answer = await client.post(f"{URL}/counting", content=form_of_noun(), headers=typed(kind))
    assert answer.status_code == 400
    assert f"charset is {charset!r}; expected utf-8 or none" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["UTF-8", '"utf-8"', "utf8"])
async def test_utf_8_may_be_named(client: httpx.AsyncClient, charset: str) -> None:
    kind = f"multipart/form-data; charset={charset}; boundary=B"
    answer = await client.post(f"{URL}/counting", content=form_of_noun(), headers=typed(kind))
    assert answer.status_code == 200, answer.text


def form_of_noun() -> bytes:
    """A picture and the noun `Äpfel`, between boundaries of one letter."""
    noun = '--B\r\nContent-Disposition: form-data; name="noun"\r\n\r\nÄpfel\r\n'
    file = '--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return noun.encode() + file.encode() + PICTURE[1] + b"\r\n--B--\r\n"


def typed(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type}
