"""Reads a JPEG file that lacks its end marker, if all of its pixels are in the file."""

from __future__ import annotations

import io
import re
from random import Random

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

END_MARKER = b"\xff\xd9"
_STRIP_ROWS = 256


def _tail() -> bytes:
    """Arbitrary data, with every restart marker, that a decoder reads for missing pixels.

    None of its other bytes is 0xFF, which begins a marker.
    """
    random = Random(0)
    first, *others = (bytes(random.randrange(255) for _ in range(64)) for _ in range(9))
    return first + b"".join(b"\xff%c%b" % (0xD0 + n, noise) for n, noise in enumerate(others))


def read_without_end(data: bytes) -> Image.Image | None:
    """The loaded picture; None if pixels are missing.

    libjpeg fills missing pixels with grey and reports nothing to Pillow. Therefore the file is
    decoded with two different tails: only if no pixel is missing do both give the same picture.
    """
    body = data.rstrip(b"\xff")
    image, other = (_loaded(body + tail + END_MARKER) for tail in (b"", _tail()))
    if "progressive" in image.info and not _all_scans(body, len(image.layer)):
        return None
    for top in range(0, image.height, _STRIP_ROWS):
        box = (0, top, image.width, min(top + _STRIP_ROWS, image.height))
        if image.crop(box).tobytes() != other.crop(box).tobytes():
            return None
    return image


def _loaded(data: bytes) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(data))
    image.load()
    return image


# Between scans: bytes of coded data, in which 0xFF precedes only 0 and restart markers.
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])(..)", re.DOTALL)
_SCAN = 0xDA
_COEFFICIENTS = 64


def _all_scans(data: bytes, components: int) -> bool:
    """Whether the scans of a progressive file bring each coefficient to its full precision.

    By the scan headers (ITU-T T.81, B.2.3): a file cut between two scans decodes without a gap.
    """
    exact: set[tuple[int, int]] = set()
    at = 2
    while (marker := _NEXT_MARKER.search(data, at)) is not None:
        at = marker.end() - 2 + int.from_bytes(marker[2], "big")
        header = data[marker.end() : at]
        if marker[1][0] == _SCAN and len(header) >= 4:
            first, last, precision = header[-3:]
            if precision & 0x0F == 0:
                for component in header[1:-3:2]:
                    exact.update((component, k) for k in range(first, last + 1))
    return len(exact) >= components * _COEFFICIENTS
