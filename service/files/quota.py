"""How much uploaded files may take: one file, all together, and each owner's. Used by `file_store`.

What is stored is measured on the disk, for other processes may share it; what is coming in here is
counted while it comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from service.exceptions import FileQuotaError, FileTooLargeError, StorageFullError


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file, bytes and number of all together, and seconds that a file is kept.

    `owner_bytes` and `owner_files` are what each owner may have of them; None for no own limit.
    """

    max_file_bytes: int
    max_total_bytes: int
    max_files: int
    expiry_s: float
    owner_bytes: int | None = None
    owner_files: int | None = None


@dataclass(slots=True)
class _Use:
    """Bytes."""

    stored: int = 0
    incoming: int = 0

    @property
    def total(self) -> int:
        return self.stored + self.incoming


class FileQuota:
    """What is taken, of all and of each owner.

    A file of `any_size` is written by the service itself, for its owner: only what all files may
    take is looked at. Once it is there it counts against the owner's share.
    """

    def __init__(self, limits: FileLimits) -> None:
        self._limits = limits
        self._all = _Use()
        self._owners: defaultdict[str, _Use] = defaultdict(_Use)

    @property
    def incoming_bytes(self) -> int:
        """Of all uploads that have not come to their end."""
        return self._all.incoming

    def measured(
        self, owner: str, sizes: Sequence[int], own_sizes: Sequence[int], any_size: bool
    ) -> None:
        """Takes over the sizes of what is stored, all and the owner's, before one file more.

        Raises:
            StorageFullError: as many files as may be are there.
            FileQuotaError: as many as the owner may have.
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
        """Counts `more` bytes, about to be written to the owner's upload of `size` bytes.

        Raises:
            FileTooLargeError: the upload is larger than one file may be.
            FileQuotaError: the owner's files would be larger than they may be.
            StorageFullError: all files together would be.
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
        """A file went to its place. Holds until it is measured; it may have been there before."""
        self._all.stored += size
        self._owners[owner].stored += size

    def ended(self, owner: str, size: int) -> None:
        """An upload of so many bytes is no longer coming in."""
        self._all.incoming -= size
        self._owners[owner].incoming -= size
