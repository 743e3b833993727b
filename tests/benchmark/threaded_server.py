"""A Starlette app on a real socket, served from a thread."""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod

import uvicorn
from starlette.applications import Starlette


class ThreadedServer(ABC):
    """Serves `app()` on the loopback; a second start takes the same port."""

    port: int = 0

    @abstractmethod
    def app(self) -> Starlette:
        """The application."""

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self.app(), log_level="error", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        """Dies at once, with whatever was in flight."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
