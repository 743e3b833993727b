"""Disconnects clients that do not read their answers.

Such a client fills the kernel's and the server's buffers; then its handler waits and holds its
resources (KV cache, open files) without end.
"""

from __future__ import annotations

import asyncio
import logging

from service.http.request_head import BoundedHeadProtocol

logger = logging.getLogger(__name__)


def protocol_with_write_timeout(timeout_s: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, which aborts a connection whose client reads nothing for
    `timeout_s`.

    The application sees a disconnect.
    """

    class TimedHttpProtocol(BoundedHeadProtocol):
        """asyncio calls `pause_writing` when its buffer is full, and `resume_writing` when it has
        room.
        """

        _cut_off: asyncio.TimerHandle | None = None
        _unsent = 0

        def pause_writing(self) -> None:
            super().pause_writing()
            self._arm(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            self._cancel_timer()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timer()
            super().connection_lost(exc)

        def _unsupported_upgrade_warning(self) -> None:
            # An upgrade offer may be ignored (RFC 9110, 7.8). uvicorn would log advice to install a
            # library, and any client could fill the log. The parser takes what follows the headers
            # for another protocol: it must not become the next request.
            self.cycle.keep_alive = False

        def _cancel_timer(self) -> None:
            if self._cut_off is not None:
                self._cut_off.cancel()
                self._cut_off = None

        def _arm(self, unsent: int) -> None:
            self._unsent = unsent
            self._cut_off = self.loop.call_later(timeout_s, self._abort)

        def _abort(self) -> None:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._unsent:
                # Slow, but it reads.
                self._arm(unsent)
                return
            logger.warning("a client read nothing of its answer for %g s; disconnected", timeout_s)
            self.transport.abort()

    return TimedHttpProtocol
