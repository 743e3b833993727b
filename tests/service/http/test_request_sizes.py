"""Pixels and points of one request are bounded together, before decoding where that can be."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from fastapi import FastAPI
from PIL import Image

from lamm_model.media import PreparedMedia
from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.media.pool import MediaPool
from service.media.process import MediaJob
from tests.service.chat_requests import chat_body, cloud, image, png
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(settings: Settings, engine: EchoEngine) -> AsyncIterator[FastAPI]:
    """Two pictures of 48 pixels fit, and two clouds of 100 points."""
    limits = {
        "max_request_pixels": 100, "max_request_points": 250, "max_pixels": 90, "max_points": 110
    }  # fmt: skip
    app = create_app(settings.model_copy(update=limits), engine)
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(small: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(small)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[MediaJob]:
    """What came to the decoding processes."""
    jobs: list[MediaJob] = []
    prepare = MediaPool.prepare

    async def noted(pool: MediaPool, job: MediaJob, *rest: Any) -> PreparedMedia:
        jobs.append(job)
        return await prepare(pool, job, *rest)

    monkeypatch.setattr(MediaPool, "prepare", noted)
    return jobs


def npz(points: int) -> bytes:
    """A cloud whose number of points no header tells."""
    stream = io.BytesIO()
    np.savez_compressed(stream, xyz=np.arange(3.0 * points).reshape(points, 3))
    return stream.getvalue()


async def error_of(client: httpx.AsyncClient, *parts: dict[str, Any]) -> dict[str, Any]:
    refused = await client.post(URL, json=chat_body(*parts))
    assert refused.status_code == 413
    error: dict[str, Any] = refused.json()["error"]
    assert error["code"] == "media_too_large"
    return error


async def test_within_the_limits_all_is_well(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=chat_body(image(), image(png(6, 8)), cloud(), cloud()))
    assert answer.status_code == 200


async def test_pictures_are_counted_by_their_headers(
    client: httpx.AsyncClient, decoded: list[MediaJob]
) -> None:
    error = await error_of(client, image(), cloud(), image(), image())
    assert "at least 144 pixels; the limit per request is 100" in error["message"]
    assert error["param"] == "messages[0].content[3].image_url"
    assert decoded == []


async def test_clouds_are_counted_by_their_headers(
    client: httpx.AsyncClient, decoded: list[MediaJob]
) -> None:
    error = await error_of(client, cloud(), cloud(), image(), cloud())
    assert "at least 300 points; the limit per request is 250" in error["message"]
    assert decoded == []


async def test_a_thinned_cloud_counts_the_points_that_are_held(client: httpx.AsyncClient) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.arange(1, 301, dtype=np.uint16).reshape(15, 20)).save(stream, "PNG")
    camera = {"fx": 20, "fy": 20, "cx": 10, "cy": 7}
    depth = cloud(stream.getvalue(), "depth", camera=camera)
    answer = await client.post(URL, json=chat_body(depth))
    assert answer.status_code == 200, answer.text
    error = await error_of(client, depth, cloud(), cloud())
    assert "at least 310 points" in error["message"]


async def test_stored_files_are_counted_by_their_headers(
    client: httpx.AsyncClient, decoded: list[MediaJob]
) -> None:
    files = {"file": ("a.png", png(), "image/png")}
    sent = await client.post("/v1/files", files=files, data={"purpose": "vision"})
    stored = {"type": "image_url", "image_url": {"file_id": sent.json()["id"]}}
    error = await error_of(client, stored, stored, stored)
    assert "at least 144 pixels" in error["message"]
    assert decoded == []


async def test_what_no_header_tells_is_counted_when_it_is_known(
    client: httpx.AsyncClient, decoded: list[MediaJob]
) -> None:
    parts = [cloud(npz(100 + extra), "npz") for extra in range(6)]
    error = await error_of(client, *parts)
    assert "the limit per request is 250" in error["message"]
    # One at a time here; the next may have begun when the third is found to be too much.
    assert len(decoded) in {3, 4}


async def test_one_that_is_too_large_alone_is_refused_for_that(client: httpx.AsyncClient) -> None:
    error = await error_of(client, image(png(11, 10)))
    assert "11 x 10 = 110 pixels; the limit is 90" in error["message"]
