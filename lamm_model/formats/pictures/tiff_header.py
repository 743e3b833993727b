"""Reads the first directory of a TIFF file (TIFF 6.0, BigTIFF) with a bounded number of reads.

Directories behind the first, which a hostile file may chain in a circle, are never followed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

# `count` bytes from an offset; fewer at the end.
Read = Callable[[int, int], bytes]

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325
TILE_WIDTH, TILE_HEIGHT = 322, 323
MAKE, ORIENTATION, SAMPLES, PLANES, SAMPLE_FORMAT = 271, 274, 277, 284, 339
NEW_SUBFILE_TYPE, SUB_DIRECTORIES, DNG_VERSION = 254, 330, 50706
# Camera raw files, which have the most, have about 100.
MAX_TAGS = 1000
# Size and struct code of the integer types; signed ones are 6, 8, 9 and 17.
_INTEGERS = {
    1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 6: (1, "b"), 8: (2, "h"), 9: (4, "i"), 13: (4, "I"),
    16: (8, "Q"), 17: (8, "q"), 18: (8, "Q"),
}  # fmt: skip
_SIZES = {kind: size for kind, (size, _) in _INTEGERS.items()} | {
    2: 1, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag: its type, number of values, and where they are in the file."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """The tags of one picture; `order` is struct's sign of the byte order."""

    read: Read
    order: str
    is_big: bool
    entries: dict[int, _Entry]

    def values(self, tag: int, most: int = 8) -> tuple[int, ...]:
        """The tag's first integers; empty if it is missing, not of integers or out of the file."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        size, code = _INTEGERS[entry.kind]
        count = min(entry.count, most)
        content = self.read(entry.offset, count * size)
        whole = len(content) // size
        return struct.unpack(f"{self.order}{whole}{code}", content[: whole * size])

    def value(self, tag: int, default: int = 0) -> int:
        """The tag's only integer."""
        return next(iter(self.values(tag, 1)), default)

    def text(self, tag: int) -> str:
        """The first 64 characters of a tag of ASCII."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind != 2:
            return ""
        content = self.read(entry.offset, min(entry.count, 64))
        return content.partition(b"\0")[0].decode("ascii", "replace")

    def tag_bytes(self, file_size: int) -> int:
        """Bytes of all values that lie in the file, however often they share them."""
        sizes = ((one.offset, one.count * _SIZES.get(one.kind, 0)) for one in self.entries.values())
        return sum(size for offset, size in sizes if offset + size <= file_size)

    def nested(self, most: int = 8) -> list[TiffDirectory]:
        """The first of its SubIFDs that can be read."""
        found = (
            _directory(self.read, self.order, self.is_big, offset)
            for offset in self.values(SUB_DIRECTORIES, most)
        )
        return [one for one in found if one is not None]


def first_directory(read: Read) -> TiffDirectory | None:
    """The directory of the first page; None if it is broken or not in the file."""
    head = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack(f"{order}H", head[2:4])
    if version == 42:
        return _directory(read, order, False, *struct.unpack(f"{order}I", head[4:8]))
    # BigTIFF: the size of an offset, zeros, and the offset itself.
    if version != 43 or len(head) < 16 or struct.unpack(f"{order}HH", head[4:8]) != (8, 0):
        return None
    return _directory(read, order, True, *struct.unpack(f"{order}Q", head[8:16]))


def _directory(read: Read, order: str, is_big: bool, at: int) -> TiffDirectory | None:
    counter, layout, inline = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    size = struct.calcsize(f"{order}{counter}")
    head = read(at, size)
    if len(head) < size or at < 8:
        return None
    (count,) = struct.unpack(f"{order}{counter}", head)
    if not 0 < count <= MAX_TAGS:
        return None
    step = struct.calcsize(f"{order}{layout}") + inline
    content = read(at + size, count * step)
    if len(content) < count * step:
        return None
    entries: dict[int, _Entry] = {}
    for number in range(count):
        start = number * step
        tag, kind, values = struct.unpack_from(f"{order}{layout}", content, start)
        place = at + size + start + step - inline
        if _SIZES.get(kind, 0) * values > inline:
            field = content[start + step - inline : start + step]
            (place,) = struct.unpack(f"{order}{'Q' if is_big else 'I'}", field)
        # A tag that is given twice counts once, as in other readers.
        entries.setdefault(tag, _Entry(kind, values, place))
    return TiffDirectory(read, order, is_big, entries)
