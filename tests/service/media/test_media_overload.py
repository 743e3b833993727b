"""More media than the decoders can take: clear refusals, and healthy decoders afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.media.pool import MediaPool
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, image, png

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    """An app that lets two requests at a time have media decoded, by one process."""
    ours = settings.model_copy(
        update={"max_media_requests": 2, "media_queue_timeout_s": 0.4, "media_cache_bytes": 0}
    )
    app = create_app(ours, EchoEngine(engine_config(ours), REPLY))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


@pytest.fixture
def pool(app: FastAPI) -> MediaPool:
    """The app's pool."""
    found = app.state.services.models.get("tiny-lamm").processor.media.pool
    assert isinstance(found, MediaPool)
    return found


def pid_of(pool: MediaPool) -> int:
    [worker] = pool.decoders.processes
    return worker.process.pid


class RequestCount:
    """Tells when the requests in a pool are so many."""

    def __init__(self, pool: MediaPool, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pool, self._changed = pool, asyncio.Event()
        self._admit = pool.admit
        monkeypatch.setattr(pool, "admit", self._watched)

    async def until(self, count: int) -> None:
        while self._pool.requests != count:
            self._changed.clear()
            await self._changed.wait()

    @contextlib.contextmanager
    def _watched(self, *precedence: Any) -> Iterator[None]:
        try:
            with self._admit(*precedence):
                self._changed.set()
                yield
        finally:
            self._changed.set()


@pytest.fixture
def requests(pool: MediaPool, monkeypatch: pytest.MonkeyPatch) -> RequestCount:
    return RequestCount(pool, monkeypatch)


async def rejections(client: httpx.AsyncClient, reason: str) -> float:
    text = (await client.get("/metrics")).text
    label = f'lamm:admission_rejections_total{{model_name="tiny-lamm",reason="{reason}"}} '
    return float(text.partition(label)[2].partition("\n")[0] or 0)


async def test_too_many_are_refused_and_too_long_a_wait_ends(
    client: httpx.AsyncClient, pool: MediaPool, requests: RequestCount
) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    running = asyncio.create_task(client.post(URL, json=chat_body(image())))
    await requests.until(1)
    # Another picture: the same one would come with the first.
    waiting = asyncio.create_task(client.post(URL, json=chat_body(image(png(9)))))
    await requests.until(2)
    gauge = 'lamm:num_requests_preparing_media{model_name="tiny-lamm"} 2.0'
    assert gauge in (await client.get("/metrics")).text

    refused = await client.post(URL, json=chat_body(image()))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("overloaded_error", "queue_full")
    assert "2 requests" in error["message"]
    assert "the limit is 2" in error["message"]
    assert await rejections(client, "decoder_queue_full") == 1
    # Who sends no media does not wait for decoders.
    assert (await client.post(URL, json=chat_body())).status_code == 200

    given_up = await waiting
    assert (given_up.status_code, given_up.headers["retry-after"]) == (503, "1")
    assert given_up.json()["error"]["code"] == "queue_timeout"
    assert "within 0.4 s" in given_up.json()["error"]["message"]
    assert await rejections(client, "decoder_queue_timeout") == 1

    os.kill(first, signal.SIGCONT)
    assert (await running).json()["choices"][0]["message"]["content"] == REPLY
    assert (await client.post(URL, json=chat_body(image()))).status_code == 200
    assert pid_of(pool) == first
    assert pool.requests == 0


async def test_a_client_that_leaves_the_line_makes_room(
    app: FastAPI, client: httpx.AsyncClient, pool: MediaPool, requests: RequestCount
) -> None:
    first = pid_of(pool)
    os.kill(first, signal.SIGSTOP)
    running = asyncio.create_task(client.post(URL, json=chat_body(image())))
    await requests.until(1)
    left, sent = asyncio.Event(), False

    async def receive() -> dict[str, object]:
        nonlocal sent
        if sent:
            await left.wait()
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": json.dumps(chat_body(image(png(9)))).encode()}

    async def send(_: object) -> None:
        pass

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": URL, "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "app": app,
    }  # fmt: skip
    waiting = asyncio.create_task(app(scope, receive, send))
    await requests.until(2)
    left.set()
    await requests.until(1)
    await waiting
    assert pool.in_flight == 1
    os.kill(first, signal.SIGCONT)
    assert (await running).status_code == 200
    assert (pid_of(pool), pool.decoders.queue.free) == (first, 1)


async def test_a_refused_medium_costs_its_siblings_process_nothing(
    client: httpx.AsyncClient, pool: MediaPool
) -> None:
    first = pid_of(pool)
    good, bad = image(), image(png()[:40])
    for parts in ((good, bad), (bad, good), (good, bad, good, good)):
        assert (await client.post(URL, json=chat_body(*parts))).status_code == 422
    assert (await client.post(URL, json=chat_body(good))).status_code == 200
    assert pid_of(pool) == first


async def test_many_media_of_one_request_do_not_wait_behind_each_other(
    client: httpx.AsyncClient, pool: MediaPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 0.15 s, one after the other: all together take longer than one may wait."""
    run = pool.decoders.ask

    async def slow(*args: object) -> object:
        await asyncio.sleep(0.15)
        return await run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pool.decoders, "ask", slow)
    answer = await client.post(URL, json=chat_body(*[image(png(i + 1)) for i in range(5)]))
    assert answer.json()["choices"][0]["message"]["content"] == REPLY
