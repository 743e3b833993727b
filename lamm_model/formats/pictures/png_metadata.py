"""Leaves out the metadata of a PNG file that is too large to read.

Pillow refuses the whole picture if a colour profile or text inflates to over 1 MiB, or all texts
together exceed 64 MiB. The pixels need neither.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL.PngImagePlugin import MAX_TEXT_CHUNK, MAX_TEXT_MEMORY

_SIGNATURE_BYTES = 8
_CHUNK_OVERHEAD = 12  # length, type and checksum
_TYPES = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")


def without_large_metadata(data: bytes) -> bytes:
    """The file without the profiles and texts over Pillow's limits; `data` itself if none is.

    At most 64 MiB is inflated, 1 MiB at a time: metadata after that is left out unread.
    """
    budget = MAX_TEXT_MEMORY
    kept, copied = [], 0
    for start, end in _metadata(data):
        if budget > 0:
            size, whole = _inflated(data[start + 4 : start + 8], data[start + 8 : end - 4])
            budget -= size
            if whole and budget >= 0:
                continue
        kept.append(data[copied:start])
        copied = end
    return b"".join([*kept, data[copied:]]) if kept else data


def _metadata(data: bytes) -> Iterator[tuple[int, int]]:
    """First byte and end of each complete metadata chunk, in the file's order."""
    at = _SIGNATURE_BYTES
    while (kind := data[at + 4 : at + 8]) != b"IEND":
        end = at + _CHUNK_OVERHEAD + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        if kind in _TYPES:
            yield at, end
        at = end


def _inflated(kind: bytes, body: bytes) -> tuple[int, bool]:
    """Bytes of the text or profile, at most 1 MiB if compressed, and whether that is all of it."""
    value = body.partition(b"\0")[2]
    compressed = kind in (b"iCCP", b"zTXt")
    if kind == b"iTXt":
        # Compression flag and method, then language and translated keyword (PNG, section 11.3.3.4).
        compressed, value = value[:1] != b"\0", b"\0".join(value[2:].split(b"\0", 2)[2:])
    elif compressed:
        value = value[1:]
    if not compressed:
        return len(value), True
    inflater = zlib.decompressobj()
    try:
        size = len(inflater.decompress(value, MAX_TEXT_CHUNK))
    except zlib.error:
        return MAX_TEXT_CHUNK, True  # Pillow reads it as empty
    return size, not inflater.unconsumed_tail
