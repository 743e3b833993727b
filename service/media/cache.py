"""Decoded media that came lately, by what they were sent as. Used by `media_pool`."""

from __future__ import annotations

from collections import OrderedDict

from lamm_model.media import PreparedMedia


class MediaCache:
    """Least recently used results within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        """`budget` bytes of arrays are kept."""
        self._budget, self._size = budget, 0
        self._entries: OrderedDict[str, PreparedMedia] = OrderedDict()

    def get(self, key: str) -> PreparedMedia | None:
        """The result of that key, if it is still there."""
        media = self._entries.get(key)
        if media is not None:
            self._entries.move_to_end(key)
        return media

    def put(self, key: str, media: PreparedMedia) -> None:
        """Keeps a result; the least recently used ones make room."""
        if media.array.nbytes > self._budget or key in self._entries:
            return
        self._entries[key] = media
        self._size += media.array.nbytes
        while self._size > self._budget:
            _, oldest = self._entries.popitem(last=False)
            self._size -= oldest.array.nbytes
