"""Errors of a benchmark that are shown to the user as a message without a traceback."""

from __future__ import annotations

from http import HTTPStatus

# Back-pressure, and an exhausted quota of a judge.
BUSY_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# Consecutive failures per worker after which a run ends; each request was retried already.
PATIENCE = 3


class BenchmarkError(Exception):
    """The run cannot start or continue; the message says why and what to do."""


class RequestFailedError(BenchmarkError):
    """One request failed permanently: refused, malformed, or out of retries."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerGoneError(RequestFailedError):
    """No connection to the server after all retries."""


class BusyError(BenchmarkError):
    """The server is reachable but refuses or drops all requests."""


class FailureStreak:
    """Ends a run once more than `most` requests in a row were refused or lost their connection.

    Each was retried for minutes already: a long run would otherwise never end.
    """

    def __init__(self, what: str, most: int) -> None:
        """`what` names the requests in the message."""
        self._what, self._most = what, most
        self._length = 0

    def end(self) -> None:
        """A request was answered."""
        self._length = 0

    def count(self, error: BenchmarkError) -> None:
        """A request failed; other failures than lost connections and back-pressure are ignored.

        Raises:
            BusyError: one too many failed in a row.
        """
        dropped = isinstance(error, ServerGoneError)
        if not isinstance(error, RequestFailedError) or not (
            dropped or error.status in BUSY_STATUSES
        ):
            return
        self._length += 1
        if self._length > self._most:
            how = "lost their connection" if dropped else "were refused"
            raise BusyError(f"{self._length} {self._what} in a row {how}: {error}")
