"""How much memory prepared media take while requests wait and run. Used by `media_pool`."""

from __future__ import annotations

import threading
import weakref

from lamm_model.media import PreparedMedia
from service.exceptions import OverloadedError


class HeldMedia:
    """Counts the bytes of prepared pictures and clouds for as long as anyone holds them."""

    def __init__(self, max_bytes: int) -> None:
        """With more than `max_bytes` held no further request is let in."""
        self._max_bytes, self._bytes = max_bytes, 0
        # The last to let go of a medium may be the engine's thread, or a collection of garbage in
        # the middle of our own counting.
        self._counting = threading.RLock()

    @property
    def nbytes(self) -> int:
        """What is held now."""
        return self._bytes

    def add(self, media: PreparedMedia) -> None:
        """Counts a medium, once, until its array is gone."""
        size = media.array.nbytes
        self._count(size)
        weakref.finalize(media.array, self._count, -size).atexit = False

    def check(self) -> None:
        """Lets one more request in.

        Raises:
            OverloadedError: too much is held already.
        """
        if self._bytes > self._max_bytes:
            raise OverloadedError(
                f"the pictures and clouds of other requests take {self._bytes} bytes; "
                f"the limit is {self._max_bytes}",
                reason="media_full",
            )

    def _count(self, change: int) -> None:
        with self._counting:
            self._bytes += change
