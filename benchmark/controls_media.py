"""Blank media: pictures and clouds of the same size that show nothing. Called by `targets`.

A picture becomes mid-grey. A cloud becomes as many points, uniform in the same box; further columns
(colours) hold the middle of what they held. The same item gives the same bytes.
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
_ORIENTATION = 0x0112
# EXIF 2.3, table 6: the stored rows are the shown columns.
_TURNED = frozenset({5, 6, 7, 8})


def blank_part(path: Path, content: bytes, seed: int) -> dict[str, Any]:
    """The content part of a blank medium in place of the one given.

    Raises:
        BenchmarkError: the medium's size cannot be read.
    """
    if path.suffix.lower() in IMAGE_TYPES:
        return media_part(path.with_suffix(".png"), blank_picture(path.name, content))
    return media_part(path.with_suffix(".npy"), blank_cloud(path.name, content, seed))


def blank_picture(name: str, content: bytes) -> bytes:
    """A grey PNG as large as the picture is shown.

    Raises:
        BenchmarkError: it is no picture.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION) in _TURNED
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise BenchmarkError(f"{name}: no picture whose size can be read") from None
    stream = io.BytesIO()
    Image.new("RGB", (height, width) if turned else (width, height), GREY).save(stream, "PNG")
    return stream.getvalue()


def blank_cloud(name: str, content: bytes, seed: int) -> bytes:
    """An npy cloud [N, C] of float32: uniform points in the box of the one given.

    Raises:
        BenchmarkError: it is no npy cloud of at least 3 columns.
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
        raise BenchmarkError(f"{name}: no npy cloud [points, 3 or more]: {error}") from None
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    blank = np.tile((low + high) / 2, (len(cloud), 1))
    blank[:, :3] = np.random.default_rng(seed).uniform(low[:3], high[:3], (len(cloud), 3))
    stream = io.BytesIO()
    np.save(stream, blank.astype(np.float32))
    return stream.getvalue()
