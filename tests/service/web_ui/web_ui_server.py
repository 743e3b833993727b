"""A service in this process whose engine says what a test tells it to, for a browser to visit."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config


class ScriptedEngine(EchoEngine):
    """Says its text from the next request on."""

    def say(self, text: str, delay: float = 0.0) -> None:
        """`delay` are the seconds that a word takes."""
        self._words = tuple(re.findall(r"\s*\S+|\s+", text))
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Visited:
    """A running service: its address, and the engine behind it."""

    url: str
    engine: ScriptedEngine


def _no_proxy(app: ASGIApp) -> ASGIApp:
    return app


@contextlib.contextmanager
def visited(
    settings: Settings, proxy: Callable[[ASGIApp], ASGIApp] = _no_proxy
) -> Iterator[Visited]:
    """Runs the service behind `proxy`, in a thread of its own until the block ends."""
    engine = ScriptedEngine(engine_config(settings))
    app = proxy(create_app(settings, engine))
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Visited(f"http://127.0.0.1:{port}", engine)
    finally:
        server.should_exit = True
        thread.join(30)
