"""An app without its decoding processes: enough for whatever has no media, and made at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.config.settings import Settings
from service.engine.base import Engine
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY
from tests.service.local import BASE_URL


@contextlib.asynccontextmanager
async def quick_app(
    settings: Settings, *, delay: float = 0.0, engine: Engine | None = None, **changes: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """The app under changed settings, its engine started, and a client of it.

    `delay` are the seconds that the echo engine takes for a word.
    """
    changed = Settings(**{**settings.model_dump(), **changes})
    engine = engine or EchoEngine(engine_config(changed), REPLY, delay)
    app = create_app(changed, engine)
    app.state.services.lifecycle.loaded(await engine.start())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield app, client
    finally:
        await engine.stop()


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


async def until_engine(app: FastAPI, running: int, waiting: int = 0) -> None:
    """Returns once the app's one engine has so many requests, within half a minute."""
    engine = app.state.services.engines[0].engine
    async with asyncio.timeout(30):
        # An engine tells its numbers, and no event of them.
        while (engine.stats().running, engine.stats().waiting) != (running, waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
