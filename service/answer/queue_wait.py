"""How long a request may wait for its first token. Used by `generation` and `likelihood`."""

from __future__ import annotations

import time

from service.exceptions import OverloadedError


class FirstTokenWait:
    """How long nothing may come before the request is given up; no limit once something has."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._deadline: float | None = None

    def begin(self) -> None:
        """The request is handed to the engine."""
        if self._timeout_s is not None:
            self._deadline = time.monotonic() + self._timeout_s

    def end(self) -> None:
        """A token has come."""
        self._deadline = None

    def limit(self, silence_s: float) -> float:
        """`silence_s`, or less where the deadline comes before."""
        if self._deadline is None:
            return silence_s
        return min(silence_s, max(self._deadline - time.monotonic(), 0.0))

    def check(self) -> None:
        """Raises OverloadedError when the deadline is past."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise waited_too_long(self._timeout_s or 0.0)


def waited_too_long(limit_s: float) -> OverloadedError:
    """What a request is told that is given up before its first token."""
    return OverloadedError(
        f"the request waited for its first token longer than the limit of {limit_s:g} s",
        reason="queue_timeout",
        code="queue_timeout",
    )
