"""A request's media on their way to tensors: obtained within a budget, decoded beside the server.

Called by `input_processor` for what is asked about, and by `task_runner` for what is drawn on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lamm_model.media import PreparedMedia
from lamm_model.media_errors import MediaError
from service.exceptions import MediaRefusedError
from service.media_fetch import MediaFetcher
from service.media_fetch_budget import MediaBudget
from service.media_pool import MediaPool
from service.messages import MediaItem
from service.metrics import Metrics
from service.uploads import MediaAccess


class MediaPreparer:
    """Prepares media for one model; `pool` decodes them.

    `max_media_bytes` bounds each medium, `max_fetched_bytes` what one request fetches in all.
    """

    def __init__(
        self,
        pool: MediaPool,
        fetcher: MediaFetcher,
        metrics: Metrics,
        *,
        max_media_bytes: int,
        max_fetched_bytes: int,
    ) -> None:
        self.pool = pool
        self._fetcher, self._metrics = fetcher, metrics
        self._max_media_bytes, self._max_fetched_bytes = max_media_bytes, max_fetched_bytes

    def access(self, owner: str) -> MediaAccess:
        """What media the owner of files may refer to."""
        return self._fetcher.access(owner)

    async def prepare(
        self, media: Sequence[MediaItem], read_s: float
    ) -> tuple[list[PreparedMedia], float]:
        """The media, and the seconds that the slowest of them took to obtain, `read_s` included.

        Raises:
            MediaRefusedError: one cannot be reached, read or decoded.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
        """
        if not media:
            return [], read_s
        # Not more at a time than there are processes: a request of many media does not push others
        # back, and none of its own waits so long behind the rest that it is given up.
        turns = asyncio.Semaphore(self.pool.workers)
        budget = MediaBudget(self._max_media_bytes, self._max_fetched_bytes)
        with self.pool.admit():
            self._metrics.preparing_media(1)
            tasks = [
                asyncio.create_task(self._prepare_one(item, read_s, budget, turns))
                for item in media
            ]
            try:
                found = await asyncio.gather(*tasks)
            finally:
                self._metrics.preparing_media(-1)
                for task in tasks:
                    task.cancel()
        return [prepared for prepared, _ in found], max(fetch_s for _, fetch_s in found)

    async def draw(self, item: MediaItem, marks: Sequence[Mapping[str, Any]]) -> bytes:
        """A medium with marks drawn on it, a PNG or PLY file; see `overlay_picture`.

        A remote one is fetched once more: what was decoded of it is not kept in full.

        Raises:
            MediaRefusedError: it cannot be reached, read or drawn on.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
        """
        budget = MediaBudget(self._max_media_bytes, self._max_fetched_bytes)
        with self.pool.admit():
            try:
                async with self._fetcher.obtain(
                    item.source, item.modality, budget.item(), item.param
                ) as content:
                    return await self.pool.draw(item.job(content), marks)
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error

    async def _prepare_one(
        self, item: MediaItem, read_s: float, budget: MediaBudget, turns: asyncio.Semaphore
    ) -> tuple[PreparedMedia, float]:
        async with turns:
            started = time.perf_counter()
            try:
                async with self._fetcher.obtain(
                    item.source, item.modality, budget.item(), item.param
                ) as content:
                    obtained = time.perf_counter()
                    media = await self.pool.prepare(item.job(content))
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error
        fetch_s = read_s + obtained - started
        self._metrics.media_read(item.modality, fetch_s, time.perf_counter() - obtained)
        return media, fetch_s
