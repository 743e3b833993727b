"""Time limits for a PostgreSQL server.

A broken network is silent, and the kernel of a hung server still answers keep-alives. libpq and TCP
detect the first; connections to the second are cut.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from typing import Any

import sqlalchemy as sa

# Seconds for any one operation: reading a line takes milliseconds, deleting a batch of many large
# lines takes seconds.
ANSWER_S = 30.0
# libpq's names (PostgreSQL manual, "Parameter Key Words"), in seconds except for the last.
_LIBPQ = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def connect_args(url: sa.URL) -> dict[str, int]:
    """libpq's parameters for a connection; those in the URL take precedence."""
    return {name: value for name, value in _LIBPQ.items() if name not in url.query}


class OpenConnections:
    """All open connections of an SQLAlchemy engine."""

    def __init__(self, engine: sa.Engine) -> None:
        self._changing = threading.Lock()
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        sa.event.listen(engine, "connect", self._note)

    def cut(self) -> None:
        """Ends every wait for the server: it raises as if the server had gone."""
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
