"""Prepares a request's media: obtains them within a budget, and decodes them in other processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import MediumBytes
from lamm_model.formats.errors import MediaError
from lamm_model.media import PreparedMedia
from service.exceptions import MediaRefusedError
from service.files.disk import StoredFile
from service.media.budgets import ItemSize, MediaBudget, MediaSizeLimits, SizeBudget
from service.media.fetch import MediaFetcher
from service.media.headers import Base64Bytes, FileBytes, WholeBytes, announced_size
from service.media.item import MediaItem
from service.media.pool import MediaPool
from service.media.pool_config import LIVE, Precedence
from service.media.sources import MediaAccess, Upload
from service.metrics import Metrics


class MediaPreparer:
    """Prepares media for one model; `pool` decodes them.

    `max_media_bytes` limits each medium, `max_fetched_bytes` the fetched bytes of one request, and
    `sizes` the pixels and points of one request.
    """

    def __init__(
        self,
        pool: MediaPool,
        fetcher: MediaFetcher,
        metrics: Metrics,
        *,
        max_media_bytes: int,
        max_fetched_bytes: int,
        sizes: MediaSizeLimits,
    ) -> None:
        self.pool = pool
        self._fetcher, self._metrics = fetcher, metrics
        self._max_media_bytes, self._max_fetched_bytes = max_media_bytes, max_fetched_bytes
        self._sizes = sizes

    def access(self, owner: str) -> MediaAccess:
        """What requests of that owner may refer to."""
        return self._fetcher.access(owner)

    async def prepare(
        self,
        media: Sequence[MediaItem],
        read_s: float,
        precedence: Precedence = LIVE,
        cache_salt: str | None = None,
    ) -> tuple[list[PreparedMedia], float]:
        """The media, and the seconds that the slowest took to obtain, `read_s` included.

        Only requests with the same `cache_salt` share decoded media.

        Raises:
            MediaRefusedError: one cannot be fetched, read or decoded, or all together are too
                large.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
        """
        if not media:
            return [], read_s
        # Sizes of all media that need not be fetched, before any is decoded.
        sizes = await self._announced(media)
        # At most one per process: a request with many media neither delays others nor times out
        # behind its own.
        turns = asyncio.Semaphore(self.pool.workers)
        budget = MediaBudget(self._max_media_bytes, self._max_fetched_bytes)
        with self.pool.admit(precedence):
            self._metrics.preparing_media(1)
            tasks = [
                asyncio.create_task(
                    self._prepare_one(item, size, read_s, budget, turns, precedence, cache_salt)
                )
                for item, size in zip(media, sizes, strict=True)
            ]
            try:
                found = await asyncio.gather(*tasks)
            finally:
                self._metrics.preparing_media(-1)
                for task in tasks:
                    task.cancel()
        return [prepared for prepared, _ in found], max(fetch_s for _, fetch_s in found)

    async def draw(
        self, item: MediaItem, marks: Sequence[Mapping[str, Any]], precedence: Precedence = LIVE
    ) -> bytes:
        """A medium with marks drawn on it, as a PNG or PLY file; see `overlay_picture`.

        A remote one is fetched again, since the decoded medium is not kept in full.

        Raises:
            MediaRefusedError: it cannot be fetched, read or drawn on.
            OverloadedError: too many requests wait for a decoder, or this one waited too long.
        """
        budget = MediaBudget(self._max_media_bytes, self._max_fetched_bytes)
        with self.pool.admit(precedence):
            try:
                async with self._fetcher.obtain(
                    item.source, item.modality, budget.item(), item.param, precedence.patient
                ) as content:
                    return await self.pool.draw(item.job(content), marks, precedence)
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error

    async def _announced(self, media: Sequence[MediaItem]) -> list[ItemSize]:
        """Each medium's share of the budget, with its announced size counted."""
        budget = SizeBudget(self._sizes)
        shares = [budget.item(item.modality) for item in media]
        for item, share in zip(media, shares, strict=True):
            stored = isinstance(item.source, StoredFile)
            size = await asyncio.to_thread(_header_size, item) if stored else _header_size(item)
            try:
                share.announced(size)
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error
        return shares

    async def _prepare_one(
        self,
        item: MediaItem,
        size: ItemSize,
        read_s: float,
        budget: MediaBudget,
        turns: asyncio.Semaphore,
        precedence: Precedence,
        cache_salt: str | None,
    ) -> tuple[PreparedMedia, float]:
        async with turns:
            started = time.perf_counter()
            try:
                async with self._fetcher.obtain(
                    item.source, item.modality, budget.item(), item.param, precedence.patient
                ) as content:
                    obtained = time.perf_counter()
                    if isinstance(content, bytes):
                        size.announced(_size_of(item, WholeBytes(content)))
                    media = await self.pool.prepare(item.job(content, cache_salt), precedence)
                size.decoded(_true_size(media))
            except MediaError as error:
                raise MediaRefusedError(error, param=item.param) from error
        fetch_s = read_s + obtained - started
        self._metrics.media_read(item.modality, fetch_s, time.perf_counter() - obtained)
        return media, fetch_s


def _header_size(item: MediaItem) -> int | None:
    """The size in the header of a medium that need not be fetched; blocks for a stored file."""
    source = item.source
    if isinstance(source, Upload):
        return _size_of(item, Base64Bytes(source.base64))
    if not isinstance(source, StoredFile):
        return None
    try:
        with source.path.open("rb") as stream:
            return _size_of(item, FileBytes(stream, source.bytes))
    except OSError:
        return None  # obtaining it says that it is gone


def _size_of(item: MediaItem, content: MediumBytes) -> int | None:
    cloud = item.cloud
    if cloud is None:
        return announced_size(content, item.modality)
    return announced_size(content, item.modality, cloud.format, cloud.columns)


def _true_size(media: PreparedMedia) -> int:
    """Pixels or points that were held as decoded, before resizing or sampling."""
    info = media.info
    if media.modality is Modality.IMAGE:
        return int(info["width"]) * int(info["height"])
    return int(info["points_in"]) - int(info["points_thinned"])
