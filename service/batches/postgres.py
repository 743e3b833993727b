"""How long a PostgreSQL server may be silent. Used by `database`.

A network that is cut says nothing, and a server that stands still has its kernel say that all is
well. The first is left to libpq and TCP; from the second, connections are cut off.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from typing import Any

import sqlalchemy as sa

# Seconds that any one piece of work may take: reading a line is milliseconds, and forgetting a
# batch of many large lines is seconds.
ANSWER_S = 30.0
# libpq's names (PostgreSQL manual, "Parameter Key Words"): seconds, but for the last.
_LIBPQ = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def connect_args(url: sa.URL) -> dict[str, int]:
    """libpq's parameters for a connection; what the URL has of them is left as it is."""
    return {name: value for name, value in _LIBPQ.items() if name not in url.query}


class OpenConnections:
    """All connections that an engine has made and not closed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._changing = threading.Lock()
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        sa.event.listen(engine, "connect", self._note)

    def cut(self) -> None:
        """Ends every wait for the server: it raises where it is waited, as if the server had gone.

        Safe from any thread.
        """
        with self._changing:
            connections = list(self._all)
        for connection in connections:
            # A closed one has no socket; one that breaks by itself meanwhile needs no help.
            with (
                contextlib.suppress(OSError, connection.OperationalError),
                socket.socket(fileno=os.dup(connection.fileno())) as end,
            ):
                end.shutdown(socket.SHUT_RDWR)

    def _note(self, connection: Any, _: Any) -> None:
        with self._changing:
            self._all.add(connection)
