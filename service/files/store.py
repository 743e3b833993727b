"""Uploaded files: limited, expiring, and separate per owner.

An id is derived from the content's SHA-256. Only sizes are kept in memory, so a restart loses
nothing and processes may share a directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from service.exceptions import StorageUnavailableError, StoredFileNotFoundError
from service.files.disk import FileDirectory, Purpose, StoredFile
from service.files.incoming import IncomingFile
from service.files.quota import FileLimits, FileQuota

__all__ = ["FileLimits", "FileStore", "Purpose", "StoredFile", "Upload"]

logger = logging.getLogger(__name__)

_MAX_FILENAME = 255
_SWEPT_S = 600.0


class FileStore:
    """All files of one directory. Methods that are not coroutines block: call them in threads."""

    def __init__(
        self, root: Path | None, limits: FileLimits, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            root: the directory, made if missing; None uses a temporary one, which `stop` removes.
            limits: checked while an upload arrives.
            clock: seconds since 1970.
        """
        self._root, self._limits, self._clock = root, limits, clock
        self._disk: FileDirectory | None = None
        self._temporary: str | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self.quota = FileQuota(limits)
        # Nothing is moved or removed while sizes are measured.
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Opens the directory, and removes expired files from then on until `stop`.

        Raises:
            OSError: it cannot be made or written.
        """
        if self._root is None:
            self._temporary = await asyncio.to_thread(tempfile.mkdtemp, prefix="lamm-files-")
        root = self._root or Path(str(self._temporary))
        self._disk = await asyncio.to_thread(FileDirectory, root)
        await self.sweep()
        self._sweeping = asyncio.create_task(self._keep_swept())

    async def stop(self) -> None:
        """Removes the directory if it is temporary; idempotent."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        self._disk = None
        if self._temporary is not None:
            await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    async def sweep(self) -> None:
        """Removes expired files and leftovers of broken uploads."""
        async with self._changing:
            await asyncio.to_thread(self._open_disk.sweep, self._clock())

    def get(self, owner: str, file_id: str) -> StoredFile:
        """The owner's file with that id.

        Raises:
            StoredFileNotFoundError: not found, expired, or another owner's.
            StorageUnavailableError: the disk cannot be read.
        """
        stored = self._open_disk.read(owner, file_id)
        if stored is None or stored.expires_at <= self._clock():
            raise StoredFileNotFoundError(file_id)
        return stored

    def list_files(self, owner: str) -> list[StoredFile]:
        """The owner's files, oldest first.

        Raises:
            StorageUnavailableError: the disk cannot be read.
        """
        now = self._clock()
        files = [file for file in self._open_disk.read_all(owner) if file.expires_at > now]
        return sorted(files, key=lambda file: (file.created_at, file.id))

    async def delete(self, owner: str, file_id: str) -> None:
        """Removes the owner's file; raises as `get`."""
        async with self._changing:
            stored = await asyncio.to_thread(self.get, owner, file_id)
            await asyncio.to_thread(self._open_disk.remove, stored)

    @property
    def directory(self) -> Path:
        """The root directory.

        Raises:
            StorageUnavailableError: it is temporary and `start` has not made it.
        """
        found = self._root or self._temporary
        if found is None:
            raise StorageUnavailableError("the file storage is not open")
        return Path(found)

    @contextlib.asynccontextmanager
    async def receive(self, owner: str, any_size: bool = False) -> AsyncIterator[Upload]:
        """An upload to write to; it is discarded unless it is committed within the context.

        `any_size` ignores the limits per file and per owner, for files of the service itself.

        Raises:
            StorageFullError: the maximum number of files is stored.
            FileQuotaError: the owner has its maximum number of files.
            StorageUnavailableError: the disk cannot be used.
        """
        async with self._changing:
            await self._measure(owner, any_size)
        incoming = self._open_disk.receive()
        upload = Upload(self, owner, incoming, any_size)
        try:
            yield upload
        finally:
            self.quota.ended(owner, upload.size)
            await asyncio.shield(asyncio.to_thread(incoming.discard))

    async def keep(
        self, incoming: IncomingFile, owner: str, name: str, purpose: Purpose, expiry_s: float,
        any_size: bool = False,
    ) -> StoredFile:  # fmt: skip
        """Stores a complete upload; equal contents are one file, with the last name.

        Raises:
            StorageFullError: the maximum number of files is stored, or the disk is full.
            FileQuotaError: the owner has its maximum number of files.
            StorageUnavailableError: the disk cannot be written.
        """
        now = int(self._clock())
        end = now + max(1, int(min(expiry_s, self._limits.expiry_s)))
        async with self._changing:
            # Again, since other uploads may have been stored meanwhile.
            await self._measure(owner, any_size)
            stored = await asyncio.to_thread(
                self._open_disk.keep, incoming, owner, _shown_name(name), purpose, now, end
            )
            self.quota.stored(owner, stored.bytes)
        return stored

    async def _measure(self, owner: str, any_size: bool) -> None:
        """Measures the stored files; raises if not one more is allowed."""
        disk = self._open_disk
        sizes = await asyncio.to_thread(disk.sizes)
        own_sizes = await asyncio.to_thread(disk.sizes, owner)
        self.quota.measured(owner, sizes, own_sizes, any_size)

    async def _keep_swept(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEPT_S, max(1.0, self._limits.expiry_s / 10)))
            try:
                await self.sweep()
            except OSError:
                logger.exception("expired files cannot be removed; trying again")

    @property
    def _open_disk(self) -> FileDirectory:
        if self._disk is None:
            raise StorageUnavailableError("the file storage is not open")
        return self._disk


class Upload:
    """One file while it arrives."""

    def __init__(
        self, store: FileStore, owner: str, incoming: IncomingFile, any_size: bool
    ) -> None:
        self.size = 0
        self._store, self._owner, self._incoming = store, owner, incoming
        self._any_size = any_size

    async def write(self, data: bytes) -> None:
        """Appends bytes.

        Raises:
            FileTooLargeError, FileQuotaError, StorageFullError: as `FileQuota.admit`, or the disk
                is full.
            StorageUnavailableError: the disk cannot be written.
        """
        self._store.quota.admit(self._owner, self.size, len(data), self._any_size)
        self.size += len(data)
        await asyncio.to_thread(self._incoming.append, data)

    async def commit(
        self, filename: str, purpose: Purpose, expiry_s: float = float("inf")
    ) -> StoredFile:
        """Stores the file durably; `expiry_s` may shorten its life; raises as `FileStore.keep`."""
        return await self._store.keep(
            self._incoming, self._owner, filename, purpose, expiry_s, self._any_size
        )


def _shown_name(name: str) -> str:
    """The last part of a name, for display only; no path is made of it."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:_MAX_FILENAME] or "file"
