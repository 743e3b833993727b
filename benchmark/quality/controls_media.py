"""Blank media: pictures and clouds that show nothing.

A picture becomes mid-grey; a cloud becomes as many points, uniform in a room, with further columns
(colours) at the middle of their range. Sizes and extents are the same for all items, since they
could reveal the class. The same item gives the same bytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmark.content import IMAGE_TYPES, media_part
from benchmark.errors import BenchmarkError

GREY = (128, 128, 128)
BLANK_SIZE = (336, 336)
# Metres: a room, centred on x = y = 0, its floor at z = 0.
BOX_LOW, BOX_HIGH = (-3.0, -3.0, 0.0), (3.0, 3.0, 2.6)


def blank_part(path: Path, content: bytes, seed: int) -> dict[str, Any]:
    """The content part of the blank medium for a file.

    Raises:
        BenchmarkError: the file cannot be decoded.
    """
    if path.suffix.lower() in IMAGE_TYPES:
        return media_part(path.with_suffix(".png"), blank_picture(path.name, content))
    return media_part(path.with_suffix(".npy"), blank_cloud(path.name, content, seed))


def blank_picture(name: str, content: bytes) -> bytes:
    """A grey PNG of fixed size.

    Raises:
        BenchmarkError: `content` is not a picture.
    """
    try:
        # An item that cannot be asked unchanged must not be asked blank.
        Image.open(io.BytesIO(content)).close()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise BenchmarkError(f"{name} is not a readable picture") from None
    stream = io.BytesIO()
    Image.new("RGB", BLANK_SIZE, GREY).save(stream, "PNG")
    return stream.getvalue()


def blank_cloud(name: str, content: bytes, seed: int) -> bytes:
    """An npy cloud [N, C] of float32, N and C as in `content`, points uniform in the room.

    Raises:
        BenchmarkError: `content` is not an npy cloud with at least 3 columns.
    """
    try:
        points = np.load(io.BytesIO(content), allow_pickle=False)
        shape = np.shape(points)
        if len(shape) != 2 or shape[0] < 1 or shape[1] < 3:
            raise ValueError(f"shape {shape}")
        cloud = np.asarray(points, dtype=np.float64)
        if not np.isfinite(cloud).all():
            raise ValueError("a coordinate is not finite")
    except (OSError, ValueError, EOFError) as error:
        raise BenchmarkError(f"{name} is not an npy cloud [points, 3 or more]: {error}") from None
    # Colours range to 1 or to 255.
    middle = 0.5 if cloud[:, 3:].max(initial=0.0) <= 1 else 127.5
    blank = np.full(cloud.shape, middle)
    blank[:, :3] = np.random.default_rng(seed).uniform(BOX_LOW, BOX_HIGH, (len(cloud), 3))
    stream = io.BytesIO()
    np.save(stream, blank.astype(np.float32))
    return stream.getvalue()
