"""What goes wrong in a benchmark and is the user's to know: messages without tracebacks."""

from __future__ import annotations

from http import HTTPStatus

# Back-pressure, and a judge's spent quota.
BUSY_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# Failures in a row, a worker, after which a server fails for good; each was tried again already.
PATIENCE = 3


class BenchmarkError(Exception):
    """The run cannot start or go on; the message says why and what to do."""


class RequestFailedError(BenchmarkError):
    """One request failed for good: refused, malformed, or out of retries."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerGoneError(RequestFailedError):
    """No connection to the server, after every retry."""


class BusyError(BenchmarkError):
    """The server is there, and refuses or drops everything."""
