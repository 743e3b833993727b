"""Health that does not lie: a stall is told and dumped, a dead engine ends all that waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service import cli
from service.app import create_app
from service.config.flags import read_settings
from service.config.settings import Settings
from service.engine.base import EngineInfo, EngineStats
from service.engine.echo_engine import EchoEngine
from service.lifecycle import Lifecycle, Phase
from service.startup.configs import engine_config
from service.watchdog import Watchdog
from tests.service.chat_requests import chat_body
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")
STUCK = EngineStats(running=1, last_step_age=99.0)


class Patient(EchoEngine):
    """Says of itself what a test wants it to say."""

    said: EngineStats | None = None

    def stats(self) -> EngineStats:
        return self.said or super().stats()

    def state(self) -> dict[str, Any]:
        return {"running": [{"request_id": "chatcmpl-1", "blocks": 3}]}


@contextlib.asynccontextmanager
async def running(
    settings: Settings, engine: EchoEngine
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(settings, engine)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
    ):
        assert await app.state.services.lifecycle.wait_loaded() is Phase.READY
        yield app, client


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "service.watchdog"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing signals it to tests
            await asyncio.sleep(0.01)


async def test_a_stall_is_dumped_once_and_its_end_is_told(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engine, lifecycle = Patient(engine_config(settings)), Lifecycle()
    lifecycle.loaded()
    dog = Watchdog({"one,two": engine}, lifecycle, stall_s=5.0)
    idle = EngineStats(last_step_age=99.0)
    busy = EngineStats(running=1, last_step_age=4.9)
    with caplog.at_level(logging.WARNING):
        for stats in (idle, busy, STUCK, STUCK, busy, STUCK):
            engine.said = stats
            dog.check()
    first, end, second = reports(caplog)
    assert first == second
    assert first.startswith("the engine of one,two has pending work but ended no step for 99.0 s")
    dump = json.loads(first.partition("its state: ")[2])
    assert dump == {"running": [{"request_id": "chatcmpl-1", "blocks": 3}]}
    assert end == "the engine of one,two makes progress again"
    assert lifecycle.failure is None


async def test_an_engine_that_dies_of_a_stall_makes_no_progress(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engine, lifecycle = Patient(engine_config(settings)), Lifecycle()
    lifecycle.loaded()
    dog = Watchdog({"one": engine}, lifecycle, stall_s=5.0)
    with caplog.at_level(logging.WARNING):
        for stats in (STUCK, EngineStats(alive=False)):
            engine.said = stats
            dog.check()
    stalled, dead = reports(caplog)
    assert "ended no step" in stalled
    assert dead == "the engine of one died; its requests have been refused"


async def test_a_stalled_service_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings.model_copy(update={"stall_timeout_s": 0.1})
    engine = Patient(engine_config(settings))
    async with running(settings, engine) as (_, client):
        assert (await client.get("/health")).status_code == 200
        engine.said = STUCK
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "stalled")
        await until(lambda: bool(reports(caplog)))
        # It is not dead: what waits may yet be answered.
        assert (await client.get("/readyz")).status_code == 200
        engine.said = None
        assert (await client.get("/health")).status_code == 200


async def test_a_dead_engine_ends_all_that_waits(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings.model_copy(update={"max_num_seqs": 1, "stall_timeout_s": 0.2})
    engine = Patient(engine_config(settings), "word " * 50, delay=0.05)
    async with running(settings, engine) as (app, client):
        asked = [asyncio.create_task(client.post(URL, json=chat_body())) for _ in range(4)]
        await until(lambda: engine.stats().running + engine.stats().waiting == 4)
        await engine.stop()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*asked)
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["error"]["code"] == "engine_stopped"
        assert (await client.get("/livez")).status_code == 200
        ready, health = await client.get("/readyz"), await client.get("/health")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert (await client.post(URL, json=chat_body())).status_code == 503
        async with asyncio.timeout(20):
            await app.state.services.lifecycle.wait_engine_death()
        assert "is dead" in str(app.state.services.lifecycle.failure)
        assert [text for text in reports(caplog) if "died" in text]


async def test_an_engine_that_comes_back_is_reported_and_its_next_death_too(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    engine, lifecycle = Patient(engine_config(settings)), Lifecycle()
    lifecycle.loaded()
    dog = Watchdog({"one": engine}, lifecycle, stall_s=5.0)
    with caplog.at_level(logging.WARNING):
        for alive in (False, False, True, True, False):
            engine.said = EngineStats(alive=alive)
            dog.check()
            assert (lifecycle.failure is None) == alive
    died, back, again = reports(caplog)
    assert died == again == "the engine of one died; its requests have been refused"
    assert back == "the engine of one is back"


async def test_stopping_is_no_death(settings: Settings) -> None:
    engine, lifecycle = Patient(engine_config(settings)), Lifecycle()
    dog = Watchdog({"one": engine}, lifecycle, stall_s=5.0)
    dog.check()  # while it loads
    lifecycle.loaded()
    lifecycle.drain()
    await engine.stop()
    dog.check()
    assert lifecycle.failure is None


class Mortal(EchoEngine):
    """Dies soon after it has loaded."""

    async def start(self) -> EngineInfo:
        info = await super().start()
        self.end = asyncio.get_running_loop().call_later(0.1, self._die)
        return info

    def _die(self) -> None:
        self._alive = False


async def test_the_process_ends_with_its_engine_when_told_to(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings.model_copy(
        update={"exit_on_engine_death": True, "port": 0, "stall_timeout_s": 0.4}
    )
    app = create_app(settings, Mortal(engine_config(settings)))
    async with asyncio.timeout(60):
        assert await cli.serve_app(settings, app) == 1
    assert "the engine of tiny-lamm is dead" in capsys.readouterr().err


async def test_the_setting_has_a_flag_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().exit_on_engine_death is False
    assert read_settings(["--exit-on-engine-death"]).exit_on_engine_death is True
    monkeypatch.setenv("LAMM_EXIT_ON_ENGINE_DEATH", "true")
    assert Settings().exit_on_engine_death is True
