"""Reads the size of a HEIF picture (HEIC, AVIF) from its boxes (ISO/IEC 23008-12).

The boxes are read once, up to a limit, and no pixel is decoded. A file may lie: the decoder checks
the size of what it opens again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

# `count` bytes from an offset; fewer at the end.
Read = Callable[[int, int], bytes]

_MAX_META = 1 << 18
_MAX_TOP_BOXES = 64
_MAX_BOXES = 4096
_QUARTER_TURNS = 3  # the bits of an `irot` box that count


@dataclass(frozen=True, slots=True)
class HeifHeader:
    """The primary picture: its size in pixels as shown, and the four characters of its coding.

    `is_turned` tells that the file asks for a rotation or a reflection. The coding of a picture
    made of tiles is that of its first tile. The file must have `end` bytes at least.
    """

    width: int
    height: int
    coding: bytes
    is_turned: bool
    end: int


def read_heif_header(read: Read) -> HeifHeader | None:
    """None if there is no primary picture with a size, as in a film or a broken file."""
    at = 0
    for _ in range(_MAX_TOP_BOXES):
        head = read(at, 16)
        if len(head) < 8:
            return None
        size, start = _number(head[:4]), 8
        if size == 1:
            size, start = _number(head[8:16]), 16
        if head[4:8] == b"meta":
            # A size of 0 means: to the end of the file.
            content = read(at + start, min(size - start, _MAX_META) if size else _MAX_META)
            return _Meta(content, read).header()
        if size < start:
            return None
        at += size
    return None


class _Meta:
    """The content of a `meta` box."""

    def __init__(self, content: bytes, read: Read) -> None:
        self._read = read
        self._boxes = dict(_boxes(content[4:]))
        self._primary = self._primary_item()
        self._places = _places(self._boxes.get(b"iloc", b""))

    def header(self) -> HeifHeader | None:
        """The primary picture's."""
        kind = self._kinds().get(self._primary)
        properties = self._properties()
        sizes = [_size(body[4:12]) for name, body in properties if name == b"ispe"]
        if kind is None or not sizes:
            return None
        if kind == b"grid":
            sizes.append(self._grid_size())
            kind = self._kinds().get(self._first_tile(), b"grid")
        width, height = max(sizes, key=lambda size: size[0] * size[1])
        turns = [body[0] & _QUARTER_TURNS for name, body in properties if name == b"irot" and body]
        if sum(turns) % 2:
            width, height = height, width
        is_turned = any(turns) or any(name == b"imir" for name, _ in properties)
        end = max((one.end for one in self._places.values() if not one.in_box), default=0)
        return HeifHeader(width, height, kind, is_turned, end)

    def _primary_item(self) -> int:
        body = self._boxes.get(b"pitm", b"")
        return _number(body[4:6] if body[:1] == b"\0" else body[4:8])

    def _kinds(self) -> dict[int, bytes]:
        """Type of each item by its number."""
        body = self._boxes.get(b"iinf", b"")
        found: dict[int, bytes] = {}
        for name, entry in _boxes(body[6 if body[:1] == b"\0" else 8 :]):
            if name == b"infe" and entry[:1] in (b"\2", b"\3"):
                wide = 2 if entry[0] == 2 else 4
                found[_number(entry[4 : 4 + wide])] = entry[6 + wide : 10 + wide]
        return found

    def _properties(self) -> list[tuple[bytes, bytes]]:
        """The primary item's, in order."""
        inside = dict(_boxes(self._boxes.get(b"iprp", b"")))
        known = list(_boxes(inside.get(b"ipco", b"")))
        indices = _associated(inside.get(b"ipma", b""), self._primary)
        return [known[index - 1] for index in indices if 0 < index <= len(known)]

    def _first_tile(self) -> int:
        body = self._boxes.get(b"iref", b"")
        wide = 4 if body[:1] == b"\1" else 2
        for name, entry in _boxes(body[4:]):
            if name == b"dimg" and _number(entry[:wide]) == self._primary:
                return _number(entry[wide + 2 : 2 * wide + 2])
        return 0

    def _grid_size(self) -> tuple[int, int]:
        """Width and height that the tiles fill; 0 x 0 if the item's data are not found."""
        place = self._places.get(self._primary)
        if place is None:
            return 0, 0
        if place.in_box:
            body = self._boxes.get(b"idat", b"")[place.offset : place.offset + 12]
        else:
            body = self._read(place.offset, 12)
        if len(body) < 8:
            return 0, 0
        if body[1] & 1:
            return _size(body[4:12])
        return _number(body[4:6]), _number(body[6:8])


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the boxes side by side in `content`."""
    at = 0
    for _ in range(_MAX_BOXES):
        size, start = _number(content[at : at + 4]), 8
        if size == 1:
            size, start = _number(content[at + 8 : at + 16]), 16
        elif size == 0:
            size = len(content) - at
        if size < start or at + size > len(content):
            return
        yield content[at + 4 : at + 8], content[at + start : at + size]
        at += size


def _associated(body: bytes, item: int) -> list[int]:
    """Indices from 1 of the properties of one item, from the content of an `ipma` box."""
    wide = 4 if body[:1] != b"\0" else 2
    step = 2 if body[3:4] and body[3] & 1 else 1
    at = 8
    for _ in range(min(_number(body[4:8]), _MAX_BOXES)):
        entry, count = _number(body[at : at + wide]), _number(body[at + wide : at + wide + 1])
        at += wide + 1
        if entry == item:
            # The highest bit says that the property is essential.
            mask = (1 << (8 * step - 1)) - 1
            fields = (body[at + n * step : at + (n + 1) * step] for n in range(count))
            return [_number(field) & mask for field in fields]
        at += count * step
    return []


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an item's first bytes and its end are: in the `idat` box or in the file."""

    in_box: bool
    offset: int
    end: int


def _places(body: bytes) -> dict[int, _Place]:
    """Places of all items, from the content of an `iloc` box."""
    fields = _Fields(body, 4)
    version = body[0] if body else 0
    sizes = fields.next(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    found: dict[int, _Place] = {}
    left = _MAX_BOXES
    for _ in range(min(fields.next(wide), _MAX_BOXES)):
        item = fields.next(wide)
        method = fields.next(2) & 15 if version else 0
        fields.next(2)  # the file that has the data
        base, count = fields.next(base_size), fields.next(2)
        extents = []
        for _ in range(min(count, left)):
            fields.next(index_size)
            extents.append((base + fields.next(offset_size), fields.next(length_size)))
        left -= len(extents)
        if extents and method in (0, 1):
            end = max(offset + length for offset, length in extents)
            found[item] = _Place(method == 1, extents[0][0], end)
    return found


class _Fields:
    """Numbers one after another; 0 behind the end."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body, self._at = body, at

    def next(self, size: int) -> int:
        """The next number, of `size` bytes."""
        self._at += size
        return _number(self._body[self._at - size : self._at])


def _size(body: bytes) -> tuple[int, int]:
    return _number(body[:4]), _number(body[4:8])


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")
