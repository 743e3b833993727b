"""What was done to the media of a chat request is told beside its answer, and nothing else is."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI
from PIL import Image

from tests.service import responses_requests
from tests.service.chat_requests import REPLY, chat_body, cloud, data_url, image, npy, png
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def turned() -> bytes:
    """A JPEG on its side."""
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6), "red").save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def far() -> bytes:
    """A cloud in map coordinates, with one point that is not finite."""
    offset = np.array((600_000.0, 5_000_000.0, 0.0))
    xyz = np.arange(30, dtype=np.float64).reshape(10, 3) + offset
    xyz[3, 1] = np.nan
    return npy(xyz)


PLY = b"""ply
format ascii 1.0
element vertex 100
property float x
property float y
property float z
end_header
""" + b"".join(b"%d 0 0\n" % i if i != 7 else b"nan 0 0\n" for i in range(100))
MEDIA = (image(), image(turned()), cloud(PLY, "ply", up_axis="y"))
TOLD = [
    {"modality": "image"},
    {
        "modality": "image",
        "note": "turned upright as its file says",
        "exif_orientation_applied": True,
    },
    {
        "modality": "point_cloud",
        "note": "read with y up; 1 of 100 points left out, not finite or not valid",
        "up_axis": "y",
        "points_in": 100,
        "points_dropped": 1,
    },
]


def chunks(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_the_facts_are_in_the_order_of_the_media(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=chat_body(*MEDIA))
    assert answer.status_code == 200, answer.text
    assert answer.json()["media"] == TOLD


@pytest.mark.parametrize(
    "body", [chat_body(), chat_body(image(), cloud())], ids=["text", "ordinary media"]
)
async def test_nothing_is_told_where_nothing_happened(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert "media" not in (await client.post(URL, json=body)).json()
    streamed = await client.post(URL, json={**body, "stream": True})
    assert all("media" not in chunk for chunk in chunks(streamed.text))


@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no usage"])
async def test_the_last_chunk_has_the_facts(client: httpx.AsyncClient, usage: bool) -> None:
    options = {"stream": True, "n": 2, "stream_options": {"include_usage": usage}}
    streamed = await client.post(URL, json={**chat_body(*MEDIA), **options})
    *others, last = chunks(streamed.text)
    assert last["media"] == TOLD
    assert all("media" not in chunk for chunk in others)
    assert bool(last.get("usage")) == usage
    assert bool(last["choices"]) != usage


async def test_a_response_has_the_facts_at_its_end(client: httpx.AsyncClient) -> None:
    part = {**responses_requests.picture(), "image_url": data_url(turned(), "image/jpeg")}
    body = responses_requests.asked(part)
    whole = (await client.post(responses_requests.URL, json=body)).json()
    assert whole["media"] == TOLD[1:2]
    streamed = await client.post(responses_requests.URL, json={**body, "stream": True})
    events = responses_requests.events(streamed.text)
    assert "media" not in events[0]["response"]
    assert events[-1]["response"]["media"] == TOLD[1:2]
    plain = responses_requests.asked(responses_requests.picture())
    assert "media" not in (await client.post(responses_requests.URL, json=plain)).json()


async def test_a_moved_cloud_is_told_as_a_task_tells_it(client: httpx.AsyncClient) -> None:
    part = cloud(far(), up_axis="y")
    chat = await client.post(URL, json=chat_body(part))
    body = {"point_cloud_url": part["point_cloud_url"], "inputs": {}}
    task = await client.post("/v1/tasks/detection_3d", json=body)
    [told], known = chat.json()["media"], task.json()["media"]
    assert any(known["shift"])
    facts = {name: value for name, value in told.items() if name != "note"}
    assert facts == {name: known[name] for name in facts}
    assert set(facts) == {"modality", "up_axis", "points_in", "points_dropped", "shift"}
    assert f"moved by ({known['shift'][0]:.6g}, " in told["note"]


async def test_the_sdk_keeps_the_facts(client: httpx.AsyncClient) -> None:
    sdk = AsyncOpenAI(
        api_key="any",  # pragma: allowlist secret
        base_url=f"{BASE_URL}/v1",
        http_client=client,  # type: ignore[arg-type] # of httpx2 in its types
    )
    messages = chat_body(*MEDIA)["messages"]
    answer = await sdk.chat.completions.create(model="tiny-lamm", messages=messages)
    assert answer.choices[0].message.content == REPLY
    assert (answer.model_extra or {})["media"] == TOLD
    plain = await sdk.chat.completions.create(
        model="tiny-lamm", messages=chat_body(image(png()))["messages"]
    )
    assert not plain.model_extra
