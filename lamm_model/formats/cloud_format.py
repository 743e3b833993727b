"""What a module of `formats.clouds` declares of a format, and what a sender says of a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lamm_model.formats.camera import Camera
from lamm_model.formats.cloud import CloudReader, Sample, UpAxis

_TEXT_HEADER = 1 << 16


@dataclass(frozen=True, slots=True)
class CloudFile:
    """What the sender of a cloud's file says of it; None where the format's own default applies.

    `format` is not checked yet. `units` is that of its coordinates: m, cm or mm. For the others see
    `CloudOptions`.
    """

    format: str
    units: str = "m"
    up_axis: UpAxis | None = None
    columns: int | None = None
    sample: Sample | None = None
    camera: Camera | None = None


class MediumBytes(Protocol):
    """A medium's bytes with random access."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`; fewer at the end, or if they cannot be read."""


# Points by the header, found with a bounded number of small reads; None if no header has the
# number or it cannot be read. `columns` is that of the options.
PointCounter = Callable[[MediumBytes, int | None], int | None]


def no_count(_: MediumBytes, __: int | None) -> int | None:
    """The `PointCounter` of formats whose headers do not have the number."""
    return None


@dataclass(frozen=True, slots=True)
class CloudFormat:
    """What a module of `formats.clouds` declares of a format.

    `signatures` are first bytes that tell it; a file of an `unsigned` format may begin with
    anything, also with another's signature. `up_axis` is the default of a file's axis that points
    up. `fields` are the fields of a request, beyond those that all formats have, that it takes;
    `needs` are those among them that it cannot do without. The units of a `metric` format are
    metres. A format that `is_picture` is told by the request alone: neither suffix nor first bytes
    say that a picture is a cloud.
    """

    read: CloudReader
    signatures: tuple[bytes, ...] = ()
    count: PointCounter = no_count
    up_axis: UpAxis = "z"
    fields: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    unsigned: bool = False
    metric: bool = False
    is_picture: bool = False


def header_number(pattern: bytes) -> PointCounter:
    """Finds the number that a pattern's group matches in the first 64 KiB.

    The group must bound the digits: parsing a number of any length would take time.
    """
    compiled = re.compile(pattern, re.MULTILINE | re.DOTALL)

    def count(content: MediumBytes, _: int | None) -> int | None:
        found = compiled.search(content.read(0, _TEXT_HEADER))
        return None if found is None else int(found[1])

    return count
