"""`DELETE /v1/requests/{id}`: a request ends by its id, wherever it is, for its own key alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from service.config.settings import Settings
from tests.service.chat_requests import chat_body
from tests.service.quick_app import bearer, quick_app, until_engine

URL = "/v1/chat/completions"
ENDLESS: dict[str, Any] = {"ignore_eos": True, "max_tokens": 200}


def asked(
    client: httpx.AsyncClient, request_id: str, key: str | None = None, **more: Any
) -> asyncio.Task[httpx.Response]:
    headers = {"X-Request-Id": request_id, **(bearer(key) if key else {})}
    body = chat_body(**ENDLESS, **more)
    return asyncio.create_task(client.post(URL, json=body, headers=headers))


async def cancel(
    client: httpx.AsyncClient, request_id: str, key: str | None = None
) -> httpx.Response:
    return await client.delete(f"/v1/requests/{request_id}", headers=bearer(key) if key else {})


async def test_a_running_answer(settings: Settings) -> None:
    async with quick_app(settings, delay=0.1) as (app, client):
        answer = asked(client, "one")
        await until_engine(app, running=1)
        done = await cancel(client, "one")
        assert done.json() == {"id": "one", "object": "request.cancelled", "cancelled": 1}
        ended = await answer
        assert ended.status_code == 499
        assert ended.headers["x-should-retry"] == "false"
        assert ended.json()["error"]["code"] == "request_cancelled"
        await until_engine(app, running=0)
        assert app.state.services.lifecycle.in_flight == 0
        assert (await cancel(client, "one")).status_code == 404, "it is over"


async def test_a_stream_ends_with_an_error_and_its_mark(settings: Settings) -> None:
    async with quick_app(settings, delay=0.1) as (app, client):
        stream = asked(client, "two", stream=True)
        await until_engine(app, running=1)
        await asyncio.sleep(0.3)
        assert (await cancel(client, "two")).status_code == 200
        *chunks, last, done, _ = (await stream).text.split("\n\n")
        assert done == "data: [DONE]"
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "request_cancelled"
        assert chunks, "what was said before stays said"
        assert not any('"finish_reason":"' in chunk for chunk in chunks)
        await until_engine(app, running=0)


async def test_a_request_in_the_queue(settings: Settings) -> None:
    async with quick_app(settings, delay=0.1, max_num_seqs=1, max_num_batched_tokens=8) as (
        app,
        client,
    ):
        first, second = asked(client, "first"), asked(client, "second")
        await until_engine(app, running=1, waiting=1)
        assert (await cancel(client, "second")).status_code == 200
        assert (await second).status_code == 499
        await until_engine(app, running=1)
        await cancel(client, "first")
        await first


async def test_a_key_ends_its_own_alone(settings: Settings) -> None:
    async with quick_app(settings, delay=0.1, api_keys="alice,bob,admin:root") as (app, client):
        mine, theirs = asked(client, "same", "alice"), asked(client, "same", "bob")
        await until_engine(app, running=2)
        assert (await cancel(client, "same")).status_code == 401
        unknown = await cancel(client, "other", "alice")
        assert unknown.json()["error"]["code"] == "request_not_found"
        assert (await cancel(client, "same", "alice")).json()["cancelled"] == 1
        assert (await mine).status_code == 499
        await until_engine(app, running=1)
        assert (await cancel(client, "same", "alice")).status_code == 404, "bob's is none of hers"
        assert (await cancel(client, "same", "root")).json()["cancelled"] == 1
        assert (await theirs).status_code == 499


async def test_ids_that_nobody_has(settings: Settings) -> None:
    async with quick_app(settings) as (app, client):
        assert (await cancel(client, "x" * 129)).status_code == 400
        assert (await cancel(client, "never")).status_code == 404
        done = await client.post(URL, json=chat_body(), headers={"X-Request-Id": "done"})
        assert done.status_code == 200
        assert (await cancel(client, "done")).status_code == 404
        assert app.state.services.access.running.request_ids == (), "nothing is kept"


@pytest.mark.parametrize("path", ["/v1/completions", URL])
async def test_a_made_up_id_works_too(settings: Settings, path: str) -> None:
    """Who gave no id finds the one that was made in the answer's headers."""
    async with quick_app(settings, delay=0.1) as (app, client):
        body = {**chat_body(**ENDLESS, stream=True), "prompt": "a"}
        answer = asyncio.create_task(client.post(path, json=body))
        await until_engine(app, running=1)
        [request_id] = app.state.services.access.running.request_ids
        assert (await cancel(client, request_id)).status_code == 200
        assert (await answer).headers["x-request-id"] == request_id
