"""Obtains the bytes of a medium: from the request, from a stored file, or from a remote host.

Media that are not in a request's body take turns, so that their memory is bounded.
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
    """Obtains media, a bounded number at once."""

    def __init__(
        self,
        files: FileStore,
        hosts: AllowedHosts,
        remote: RemoteMedia | None,
        max_at_once: int,
        queue_timeout_s: float,
    ) -> None:
        """
        Args:
            files: the uploaded files.
            hosts: hosts that media may be fetched from.
            remote: fetches from them; None if there are none.
            max_at_once: media that may be fetched, read, or held for decoding at once.
            queue_timeout_s: maximum time to wait for a turn.
        """
        self._files, self._hosts, self._remote = files, hosts, remote
        self._queue_timeout_s = queue_timeout_s
        self._turns = asyncio.Semaphore(max_at_once)
        # A batch's medium keeps its turn while it waits for a decoder behind all live ones.
        self._patient_turns = asyncio.Semaphore(max(1, max_at_once // 2))

    def access(self, owner: str) -> MediaAccess:
        """What requests of that owner may refer to."""
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
        """Base64 text from the request, or bytes, which are held while the context is open.

        Patient requests (batch lines) have at most half of the turns and wait for them without a
        limit.

        Raises:
            RequestError: the file no longer exists, or a URL is refused.
            MediaError: the medium is too large or cannot be reached.
            OverloadedError: too many other media are being fetched.
        """
        if isinstance(source, Upload):
            yield source.base64
            return
        async with self._patient_turns if patient else nullcontext(), self._turn(patient):
            if isinstance(source, StoredFile):
                budget.take(source.bytes)
                yield await _read(source, param)
            elif self._remote is None:
                raise RequestError("this server does not fetch remote URLs", param=param)
            else:
                yield await self._remote.fetch(source, modality, budget, param)

    async def close(self) -> None:
        """Closes the fetcher."""
        if self._remote is not None:
            await self._remote.close()

    @contextlib.asynccontextmanager
    async def _turn(self, patient: bool) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(None if patient else self._queue_timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError(
                "too many pictures and clouds are being fetched; none finished within "
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
        # It has expired or was deleted meanwhile.
        raise StoredFileNotFoundError(stored.id, f"{param}.file_id") from None


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()
