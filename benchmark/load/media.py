"""Pictures and point clouds for load tests: from files, generated, or changed to be unique.

Generated media depend on the random number generator only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from benchmark.content import CLOUD_FORMATS, IMAGE_TYPES, media_part
from benchmark.errors import BenchmarkError

# Metres.
_ROOM_SIZE = (6.0, 6.0, 2.6)
_MOVED_METRES = 0.01


@dataclass(frozen=True, slots=True)
class Media:
    """One encoded picture or cloud; `suffix` (".png", ".npy") names its format."""

    content: bytes
    suffix: str

    @property
    def is_image(self) -> bool:
        """Whether this is a picture, not a point cloud."""
        return self.suffix in IMAGE_TYPES

    def part(self) -> dict[str, Any]:
        """The inline chat content part."""
        return media_part(Path(f"media{self.suffix}"), self.content)


def read_picture(path: Path) -> Media:
    """Reads a picture file.

    Raises:
        BenchmarkError: unknown file extension, or the file cannot be read.
    """
    if path.suffix.lower() not in IMAGE_TYPES:
        raise BenchmarkError(f"{path} is not a picture; --image takes {', '.join(IMAGE_TYPES)}")
    return read_media(path)


def read_cloud(path: Path) -> Media:
    """Reads a point-cloud file.

    Raises:
        BenchmarkError: unknown file extension, or the file cannot be read.
    """
    if path.suffix.lower()[1:] not in CLOUD_FORMATS:
        known = ", ".join(f".{name}" for name in CLOUD_FORMATS)
        raise BenchmarkError(f"{path} is not a point cloud; --cloud takes {known}")
    return read_media(path)


def read_media(path: Path) -> Media:
    """Reads a file of either kind.

    Raises:
        BenchmarkError: the file cannot be read.
    """
    try:
        return Media(path.read_bytes(), path.suffix.lower())
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from None


def drawn_picture(width: int, height: int, rng: random.Random) -> Media:
    """A PNG of `width` x `height` pixels: a plain background with a few boxes and discs."""
    picture = Image.new("RGB", (width, height), _colour(rng))
    pen = ImageDraw.Draw(picture)
    for index in range(rng.randint(3, 6)):
        left, top = rng.randrange(width), rng.randrange(height)
        corner = left + rng.randint(1, width), top + rng.randint(1, height)
        shape = pen.rectangle if index % 2 else pen.ellipse
        shape((left, top, *corner), fill=_colour(rng))
    return _png(picture)


def drawn_cloud(points: int, rng: random.Random) -> Media:
    """An npy of float32 [`points`, 3] in metres: floor and boxes of a room."""
    numbers = np.random.default_rng(rng.getrandbits(64))
    room = np.array(_ROOM_SIZE)
    boxes = rng.randint(2, 5)
    corners = numbers.uniform(0, 0.7, (boxes, 3)) * room * (1, 1, 0)
    sizes = numbers.uniform(0.1, 0.3, (boxes, 3)) * room
    owner = numbers.integers(0, boxes + 1, points)
    inside = numbers.uniform(0, 1, (points, 3))
    # Each point of a box lies on one of its faces: one of its coordinates is 0 or 1.
    face = numbers.integers(0, 3, points)
    inside[np.arange(points), face] = numbers.integers(0, 2, points)
    all_corners = np.vstack([corners, np.zeros(3)])
    all_sizes = np.vstack([sizes, room * (1, 1, 0)])
    cloud = all_corners[owner] + inside * all_sizes[owner]
    return _npy(cloud.astype(np.float32))


def changed(media: Media, rng: random.Random) -> Media:
    """A copy with one pixel changed (as PNG), or with one point moved by 1 cm (npy).

    Raises:
        BenchmarkError: the picture cannot be read, or the cloud is not in npy format.
    """
    return _with_changed_pixel(media, rng) if media.is_image else _with_moved_point(media, rng)


def _with_changed_pixel(media: Media, rng: random.Random) -> Media:
    try:
        with Image.open(BytesIO(media.content)) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BenchmarkError(f"cannot make a picture unique: {error}") from None
    place = rng.randrange(picture.width), rng.randrange(picture.height)
    picture.putpixel(place, _colour(rng))
    return _png(picture)


def _with_moved_point(media: Media, rng: random.Random) -> Media:
    if media.suffix != ".npy":
        raise BenchmarkError(f"cannot make a {media.suffix} cloud unique; expected .npy")
    try:
        cloud = np.load(BytesIO(media.content), allow_pickle=False).copy()
        row = rng.randrange(len(cloud))
        cloud[row, :3] += np.array([rng.uniform(-1, 1) for _ in range(3)]) * _MOVED_METRES
    except (ValueError, TypeError, IndexError, EOFError) as error:
        raise BenchmarkError(f"cannot make a cloud unique: {error}") from None
    return _npy(cloud)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _png(picture: Image.Image) -> Media:
    stream = BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return Media(stream.getvalue(), ".png")


def _npy(cloud: np.ndarray[Any, Any]) -> Media:
    stream = BytesIO()
    np.save(stream, cloud, allow_pickle=False)
    return Media(stream.getvalue(), ".npy")
