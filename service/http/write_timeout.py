"""Cuts off clients that do not read their answers. Used by `server`.

What such a client was sent fills the kernel's buffers, then ours; from then on whoever answers it
waits, and what it holds (a sequence's KV cache, an open file) is held for nobody.
"""

from __future__ import annotations

import asyncio
import logging

from service.http.request_head import BoundedHeadProtocol

logger = logging.getLogger(__name__)


def protocol_with_write_timeout(timeout_s: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, which aborts a connection that took nothing for `timeout_s`.

    The application then sees that its client is gone.
    """

    class TimedHttpProtocol(BoundedHeadProtocol):
        """asyncio calls these when its buffer of unsent bytes is full, and when it is not."""

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
            # An upgrade may be refused by saying nothing of it (RFC 9110, 7.8). uvicorn's advice to
            # install a library is not for us, and no client shall fill the log. The parser takes
            # what follows the headers for another protocol: it must not become the next request.
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
            logger.warning("a client read nothing of its answer for %g s: cut off", timeout_s)
            self.transport.abort()

    return TimedHttpProtocol
