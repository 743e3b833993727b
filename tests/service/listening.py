"""An app on a real socket, in the test's own process: its engine stays at hand."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import uvicorn
from starlette.types import ASGIApp

_START_S = 60.0


@contextlib.contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The address of the app, in a thread, once it takes requests; ended with the context."""
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="on", server_header=False, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield _wait(server)
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.asynccontextmanager
async def listening_here(app: ASGIApp, protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    """The port of the app, in the test's own event loop and without its lifespan."""
    config = uvicorn.Config(
        app, port=0, http=protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, not an event
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


def _wait(server: uvicorn.Server) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            if httpx.get(f"{url}/readyz", timeout=_START_S).status_code == 200:
                return url
        time.sleep(0.05)
    raise TimeoutError(f"the service did not start in {_START_S:g} s")
