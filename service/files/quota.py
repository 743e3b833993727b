"""Limits of uploaded files: per file, in all, and per owner.

Stored files are measured on the disk, which other processes may share; incoming bytes are counted
as they arrive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from service.exceptions import FileQuotaError, FileTooLargeError, StorageFullError


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes per file, bytes and number of all files, and seconds that a file is kept.

    `owner_bytes` and `owner_files` limit each owner; None is without limit.
    """

    max_file_bytes: int
    max_total_bytes: int
    max_files: int
    expiry_s: float
    owner_bytes: int | None = None
    owner_files: int | None = None


@dataclass(slots=True)
class _Use:
    """Bytes in use."""

    stored: int = 0
    incoming: int = 0

    @property
    def total(self) -> int:
        return self.stored + self.incoming


class FileQuota:
    """Current use, in all and per owner.

    A file with `any_size` is written by the service itself for its owner: only the limits of all
    files apply. Once stored, it counts against the owner's share.
    """

    def __init__(self, limits: FileLimits) -> None:
        self._limits = limits
        self._all = _Use()
        self._owners: defaultdict[str, _Use] = defaultdict(_Use)

    @property
    def incoming_bytes(self) -> int:
        """Bytes of all uploads in progress."""
        return self._all.incoming

    def measured(
        self, owner: str, sizes: Sequence[int], own_sizes: Sequence[int], any_size: bool
    ) -> None:
        """Takes the measured sizes of all files and of the owner's, before one more is added.

        Raises:
            StorageFullError: the maximum number of files is stored.
            FileQuotaError: the owner has its maximum number of files.
        """
        self._all.stored = sum(sizes)
        self._owners[owner].stored = sum(own_sizes)
        limits = self._limits
        if len(sizes) >= limits.max_files:
            raise StorageFullError(
                f"{len(sizes)} files are stored; the limit is {limits.max_files}"
            )
        if any_size or limits.owner_files is None:
            return
        if len(own_sizes) >= limits.owner_files:
            raise FileQuotaError(
                f"{len(own_sizes)} files of this key are stored; its limit is {limits.owner_files}"
            )

    def admit(self, owner: str, size: int, more: int, any_size: bool) -> None:
        """Counts `more` bytes of the owner's upload, which has `size` bytes so far.

        Raises:
            FileTooLargeError: the upload exceeds the limit per file.
            FileQuotaError: the owner's files exceed their limit.
            StorageFullError: all files exceed their limit.
        """
        limits, own = self._limits, self._owners[owner]
        if not any_size:
            if size + more > limits.max_file_bytes:
                raise FileTooLargeError(limits.max_file_bytes)
            if limits.owner_bytes is not None and own.total + more > limits.owner_bytes:
                raise FileQuotaError(
                    f"the files of this key would take {own.total + more} bytes; its limit is "
                    f"{limits.owner_bytes}"
                )
        total = self._all.total + more
        if total > limits.max_total_bytes:
            raise StorageFullError(
                f"the stored files would take {total} bytes; the limit is {limits.max_total_bytes}"
            )
        self._all.incoming += more
        own.incoming += more

    def stored(self, owner: str, size: int) -> None:
        """A file was stored. Valid until the next measurement; the file may have existed before."""
        self._all.stored += size
        self._owners[owner].stored += size

    def ended(self, owner: str, size: int) -> None:
        """An upload of that many bytes has ended."""
        self._all.incoming -= size
        self._owners[owner].incoming -= size
