"""SIGTERM while a request runs: it ends, new ones are refused, probes tell, the server closes."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.lifecycle import Lifecycle
from service.server import DrainingServer
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body

URL = "/v1/chat/completions"


class Running:
    """A server in this process, and its first request under way."""

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self.engine = EchoEngine(engine_config(settings), REPLY, delay=0.15)
        self.app: FastAPI = create_app(settings, self.engine)
        self.lifecycle: Lifecycle = self.app.state.services.lifecycle
        self.server = DrainingServer(
            self.app, "127.0.0.1", 0, self.lifecycle, timeout_s, self.engine.stop
        )
        self.serving = asyncio.create_task(self.server.serve())

    async def client(self) -> httpx.AsyncClient:
        url = await self.server.wait_url()
        await self.lifecycle.wait_loaded()
        return httpx.AsyncClient(base_url=url, timeout=20)

    async def in_flight(self) -> None:
        while not self.lifecycle.in_flight:  # noqa: ASYNC110 - waits for another task's request
            await asyncio.sleep(0.01)


async def test_what_runs_ends_and_what_is_new_is_refused(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(settings, timeout_s=20)
    async with await running.client() as client:
        answer = asyncio.create_task(client.post(URL, json=chat_body()))
        await running.in_flight()
        running.server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.05)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["phase"]) == (503, "draining")
        assert (await client.get("/livez")).status_code == 200
        refused = await client.post(URL, json=chat_body())
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert not [record for record in caplog.records if record.name == "service.errors"]
        assert (await answer).json()["choices"][0]["message"]["content"] == REPLY
    await asyncio.wait_for(running.serving, 10)


@pytest.mark.parametrize("signals", [1, 2])
async def test_what_never_ends_is_cut_off(settings: Settings, signals: int) -> None:
    running = Running(settings, timeout_s=0.3 if signals == 1 else 60)
    async with await running.client() as client:
        body = chat_body(ignore_eos=True, max_tokens=200)
        answer = asyncio.create_task(client.post(URL, json=body))
        await running.in_flight()
        for _ in range(signals):
            running.server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(running.serving, 10)
        cut = await answer
        assert cut.status_code == 503
        assert cut.json()["error"]["code"] == "engine_stopped"
