"""Obtains the bytes of a medium: they came with the request, lie in a file, or are fetched.

Called by `input_processor`, for each medium right before it is decoded. All media that do not come
in a request's body take turns, so that what they hold in memory is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

from lamm_model.conversation import Modality
from service.exceptions import OverloadedError, RequestError, StoredFileNotFoundError
from service.files.store import FileStore, StoredFile
from service.media.budgets import ItemBudget
from service.media.remote import RemoteMedia
from service.media.remote_address import AllowedHosts
from service.media.sources import MediaAccess, MediaSource, Upload


class MediaFetcher:
    """The bytes of media, a bounded number at once."""

    def __init__(
        self,
        files: FileStore,
        hosts: AllowedHosts,
        remote: RemoteMedia | None,
        max_at_once: int,
        queue_timeout_s: float,
    ) -> None:
        """Args:
        files: all that was uploaded.
        hosts: those that media may be fetched from.
        remote: fetches from them; None where there is none.
        max_at_once: media that are fetched or read, or held until they are decoded.
        queue_timeout_s: how long one may wait for its turn.
        """
        self._files, self._hosts, self._remote = files, hosts, remote
        self._queue_timeout_s = queue_timeout_s
        self._turns = asyncio.Semaphore(max_at_once)
        # A batch's medium keeps its turn while it waits for a decoder, behind all live ones.
        self._patient_turns = asyncio.Semaphore(max(1, max_at_once // 2))

    def access(self, owner: str) -> MediaAccess:
        """What a request of that owner may refer to."""
        return MediaAccess(self._files, self._hosts, owner)

    @contextlib.asynccontextmanager
    async def obtain(
        self,
        source: MediaSource,
        modality: Modality,
        budget: ItemBudget,
        param: str,
        patient: bool = False,
    ) -> AsyncIterator[str | bytes]:
        """Base64 text that came with the request, or bytes, held while the context is open.

        Patient requests, batches' lines, have at most half of the turns and wait for them as long
        as it takes.

        Raises:
            RequestError: the file is gone, or an address is refused.
            MediaError: too large, or not reachable.
            OverloadedError: too many others are fetched.
        """
        if isinstance(source, Upload):
            yield source.base64
            return
        async with self._patient_turns if patient else nullcontext(), self._turn(patient):
            if isinstance(source, StoredFile):
                budget.take(source.bytes)
                yield await _read(source, param)
            elif self._remote is None:
                raise RequestError("remote addresses are not fetched by this server", param=param)
            else:
                yield await self._remote.fetch(source, modality, budget, param)

    async def close(self) -> None:
        """Lets go of what fetching holds."""
        if self._remote is not None:
            await self._remote.close()

    @contextlib.asynccontextmanager
    async def _turn(self, patient: bool) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(None if patient else self._queue_timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError(
                "too many pictures and clouds are being fetched; none of them ended within "
                f"{self._queue_timeout_s:g} s",
                reason="fetch_queue_timeout",
                code="queue_timeout",
            ) from None
        try:
            yield
        finally:
            self._turns.release()


async def _read(stored: StoredFile, param: str) -> bytes:
    try:
        return await asyncio.to_thread(_bytes_of, stored.path)
    except OSError:
        # It expired or was deleted in the meantime.
        raise StoredFileNotFoundError(stored.id, f"{param}.file_id") from None


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()
