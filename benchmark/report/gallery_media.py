"""Pictures and clouds reduced for a page: data URLs, and three views of a cloud."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from benchmark.content import IMAGE_TYPES, data_url

LONGEST_SIDE = 448
LARGEST_AS_IT_IS = 1 << 16
VIEW_PIXELS = 176
DRAWN_POINTS = 20_000
# Name of a view, its axes to the right and up, and its axis towards the viewer.
_VIEWS = (("top", (0, 1), 2), ("front", (0, 2), -1), ("side", (1, 2), 0))
_MARGIN = 0.06
# Low to high, for clouds without colours; visible on light and dark backgrounds.
_RAMP = np.array([[68, 84, 150], [44, 140, 140], [120, 170, 80], [205, 165, 60]], np.float64)

# Raised by Pillow and numpy for invalid files.
_UNREADABLE = (
    OSError, ValueError, EOFError, SyntaxError, struct.error, Image.DecompressionBombError
)  # fmt: skip

Numbers = npt.NDArray[np.float64]


class _Media(BaseModel):
    model_config = ConfigDict(frozen=True)


class Picture(_Media):
    """A picture as a data: URL; `width` and `height` in pixels."""

    kind: Literal["picture"] = "picture"
    url: str
    width: int
    height: int


class View(_Media):
    """One projection of a cloud as a PNG with transparent background.

    `axes` point right and up; `low` and `high` are the coordinates of the edges in metres.
    """

    name: str
    url: str
    axes: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]
    width: int
    height: int


class Cloud(_Media):
    """A cloud with `points` points, from the top, the front and the side."""

    kind: Literal["cloud"] = "cloud"
    points: int
    views: tuple[View, ...]


class NoMedia(_Media):
    """No medium; `note` says why if there should be one."""

    kind: Literal["none"] = "none"
    note: str = ""


DrawnMedia = Annotated[Picture | Cloud | NoMedia, Field(discriminator="kind")]


_NOT_SHOWN = ("image/tiff", "image/heic")  # by most browsers


def draw_media(path: Path | None) -> Picture | Cloud | NoMedia:
    """Reduces a medium for a page; a note replaces a medium that cannot be read."""
    if path is None:
        return NoMedia()
    suffix = path.suffix.lower()
    try:
        if suffix in IMAGE_TYPES:
            return _picture(path, IMAGE_TYPES[suffix])
        if suffix == ".npy":
            return _cloud(path)
    except _UNREADABLE as error:
        return NoMedia(note=f"cannot draw {path.name} ({type(error).__name__})")
    return NoMedia(note=f"cannot draw {path.name}: only .npy clouds are drawn")


def _picture(path: Path, mime: str) -> Picture:
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        turned = upright.size != opened.size or opened.getexif().get(0x0112, 1) != 1
        small = len(content) <= LARGEST_AS_IT_IS and max(upright.size) <= LONGEST_SIDE
        if small and not turned and mime not in _NOT_SHOWN:
            return Picture(url=data_url(content, mime), width=upright.width, height=upright.height)
        upright.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        stream = io.BytesIO()
        upright.convert("RGB").save(stream, "JPEG", quality=82)
        url = data_url(stream.getvalue(), "image/jpeg")
        return Picture(url=url, width=upright.width, height=upright.height)


def _cloud(path: Path) -> Cloud:
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or values.shape[1] < 3 or not len(values):
        raise ValueError(f"expected an array [points, 3 or more], got {list(values.shape)}")
    count = len(values)
    # Every k-th point, so that the drawing is deterministic.
    values = values[:: -(-count // DRAWN_POINTS)].astype(np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise ValueError("no finite point")
    colours = _colours(values)
    views = tuple(_view(name, axes, toward, values, colours) for name, axes, toward in _VIEWS)
    return Cloud(points=count, views=views)


def _view(
    name: str, axes: tuple[int, int], toward: int, values: Numbers, colours: npt.NDArray[np.uint8]
) -> View:
    plane = values[:, axes]
    low, high = plane.min(axis=0), plane.max(axis=0)
    span = max(float((high - low).max()), 1e-6)
    low, high = low - _MARGIN * span, high + _MARGIN * span
    scale = (VIEW_PIXELS - 1) / float((high - low).max())
    width, height = (max(8, int(side)) for side in np.ceil((high - low) * scale) + 1)
    # `toward` below 0: the viewer is at the low end of the second axis.
    depth = -values[:, 1] if toward < 0 else values[:, toward]
    order = np.argsort(depth, kind="stable")
    columns = np.clip(((plane[:, 0] - low[0]) * scale).astype(int), 0, width - 2)[order]
    rows = np.clip(((high[1] - plane[:, 1]) * scale).astype(int), 0, height - 2)[order]
    pixels = np.zeros((height, width, 4), np.uint8)
    for down in (0, 1):
        for right in (0, 1):
            pixels[rows + down, columns + right, :3] = colours[order]
            pixels[rows + down, columns + right, 3] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(stream, "PNG", optimize=True)
    return View(
        name=name,
        url=data_url(stream.getvalue(), "image/png"),
        axes=axes,
        low=(float(low[0]), float(high[1] - height / scale)),
        high=(float(low[0] + width / scale), float(high[1])),
        width=width,
        height=height,
    )


def _colours(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The colours of the cloud (0-1 or 0-255), or a colour ramp over its height."""
    if values.shape[1] >= 6:
        rgb = values[:, 3:6]
        if rgb.min() >= 0 and rgb.max() <= 255:
            return np.asarray(rgb * (255 if rgb.max() <= 1 else 1), np.uint8)
    height = values[:, 2]
    span = float(np.ptp(height)) or 1.0
    at = (height - height.min()) / span * (len(_RAMP) - 1)
    ramp = [np.interp(at, np.arange(len(_RAMP)), _RAMP[:, channel]) for channel in range(3)]
    return np.stack(ramp, axis=1).astype(np.uint8)
