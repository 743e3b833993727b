"""LAS and LAZ, the formats of laser scanners (ASPRS LAS 1.0 to 1.4), through laspy and lazrs."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from lamm_model.formats.cloud import AXES, CloudOptions, RawCloud, raw_cloud
from lamm_model.formats.cloud_format import CloudFormat, MediumBytes
from lamm_model.formats.errors import MediaDecodeError, MediaFormatError
from lamm_model.formats.thinning import Thinning


def read_las(data: bytes, options: CloudOptions) -> RawCloud:
    """See `CloudReader`. Coordinates are scaled and offset as the header says.

    Colours are 16-bit; a file whose colours are all 0 has none. A file of more than `max_points` is
    thinned.

    Raises:
        MediaFormatError: laspy or lazrs is not installed.
    """
    try:
        import laspy  # noqa: PLC0415 - an extra
    except ImportError:
        raise MediaFormatError("las and laz files need the `las` extra of this package") from None
    if not data.startswith(_MAGIC):
        raise MediaDecodeError("the file does not begin with `LASF`")
    # LAZ 1.4 keeps the parts of a record apart; those that are not used stay compressed.
    used = laspy.DecompressionSelection
    layers = used.XY_RETURNS_CHANNEL | used.Z | used.RGB
    with laspy.open(io.BytesIO(data), decompression_selection=layers) as reader:
        points = reader.header.point_count
        thinning = Thinning(points, options.max_points)
        has_rgb = {*_CHANNELS} <= {*reader.header.point_format.dimension_names}
        xyz = np.empty((thinning.kept, 3))
        rgb = np.empty((thinning.kept, 3), np.uint16) if has_rgb else None
        at = 0
        # Records are wide; only a part of them is held at a time.
        for chunk in reader.chunk_iterator(_CHUNK):
            held, rows = thinning.of(at, len(chunk))
            xyz[held] = np.stack([chunk[axis][rows] for axis in AXES], axis=1)
            if rgb is not None:
                rgb[held] = np.stack([chunk[name][rows] for name in _CHANNELS], axis=1)
            at += len(chunk)
    if at != points:
        raise MediaDecodeError(f"the las header declares {points} points, but the file has {at}")
    has_rgb = rgb is not None and bool(rgb.any())
    return raw_cloud(xyz, rgb if has_rgb else None, thinned=thinning.left_out)


def count_points(content: MediumBytes, _: int | None) -> int | None:
    """See `PointCounter`; by the public header block (ASPRS LAS 1.4, table 3)."""
    head = content.read(0, 255)
    if len(head) < 111 or not head.startswith(_MAGIC):
        return None
    legacy = int.from_bytes(head[107:111], "little")
    return legacy or (int.from_bytes(head[247:255], "little") if len(head) == 255 else None)


_MAGIC = b"LASF"
FORMATS: Mapping[str, CloudFormat] = dict.fromkeys(
    ("las", "laz"), CloudFormat(read_las, (_MAGIC,), count_points)
)

_CHANNELS = ("red", "green", "blue")
_CHUNK = 100_000
