"""Shared by the readers of point-cloud files: their signature, limits and table checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lamm_model.formats.camera import Camera
from lamm_model.formats.errors import MediaDecodeError, MediaTooLargeError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
UpAxis = Literal["z", "y"]
Sample = Literal["vertices", "surface"]

MIN_COLUMNS, MAX_COLUMNS = 3, 16
MAX_COLOUR = 255.0
AXES = ("x", "y", "z")
# Names of separate colour values in PLY, PCD, CSV and NumPy files.
CHANNELS = (
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ("r", "g", "b"),
    ("rf", "gf", "bf"),
)
# Names of colours whose channels are the bytes of one value.
PACKED = ("rgb", "rgba")
_UNIT_LENGTH_ERROR = 0.02
# Fewer points may have 0, 1, 2 ... as a coordinate by chance.
_FEWEST_NUMBERED = 16
_UINT16_PER_UINT8 = 257  # 65535 / 255


@dataclass(frozen=True, slots=True)
class RawCloud:
    """A cloud in the file's own units and axes.

    `xyz` [N, 3] float64 is finite; `rgb` is [N, 3] float32, 0-255, or None. `dropped` is the number
    of points of the file whose coordinates are not finite; they are not among the N. `surface` is
    set if the points were sampled from a mesh. `thinned` is the number of points that a reader in
    parts (`formats.thinning`) has left out.
    """

    xyz: npt.NDArray[np.float64]
    rgb: FloatArray | None = None
    dropped: int = 0
    surface: Surface | None = None
    thinned: int = 0


@dataclass(frozen=True, slots=True)
class Surface:
    """The surface that points were sampled from.

    `faces` counts the file's triangles, larger polygons in parts; `dropped` those among them that
    have no area or a corner that is not finite.
    """

    faces: int
    dropped: int


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """`max_points` is the limit on N, and on the vertices and faces of a mesh.

    `columns` (3 to 6) describes files without a header. `sample` tells what of a mesh becomes
    points: its vertices or its surface; None is the format's default. `camera` took a depth
    picture. The axis `up_axis` of the cloud will be taken to point up.
    """

    max_points: int
    columns: int | None = None
    sample: Sample | None = None
    camera: Camera | None = None
    up_axis: UpAxis = "z"


# Checks the number of points against the limit and the body before it allocates anything, and
# raises `MediaError`; any other exception means that the file is corrupt.
CloudReader = Callable[[bytes, CloudOptions], RawCloud]


def check_count(points: int, max_points: int) -> None:
    """Refuses an empty cloud and one of more than `max_points`."""
    if points < 1:
        raise MediaDecodeError("the cloud has 0 points; at least 1 is required")
    if points > max_points:
        raise MediaTooLargeError(f"the cloud has {points} points; the limit is {max_points}")


def check_columns(columns: int) -> None:
    """Refuses a table that is not `x y z` with some more values per point."""
    if not MIN_COLUMNS <= columns <= MAX_COLUMNS:
        raise MediaDecodeError(
            f"the cloud has {columns} columns; expected {MIN_COLUMNS} to {MAX_COLUMNS} "
            "(x y z, x y z r g b, or more values per point)"
        )


def colours(values: Array) -> FloatArray:
    """[N, 3] float32, 0-255. Floats that never exceed 1 are fractions of 255.

    LAS converters write 8-bit colours into 16-bit fields, so the largest of 16-bit values tells
    their range.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        rgb = values.astype(np.float32)
    low, high = float(rgb.min()), float(rgb.max())
    if values.dtype.name == "uint16" and high > MAX_COLOUR:
        return rgb / np.float32(_UINT16_PER_UINT8)
    if not (low >= 0.0 and high <= MAX_COLOUR):
        bad = low if low < 0.0 else high
        raise MediaDecodeError(f"a colour value is {bad:g}; expected 0 to 255")
    if high <= 1.0 and not np.issubdtype(values.dtype, np.integer):
        rgb *= MAX_COLOUR
    return np.ascontiguousarray(rgb)


def unpacked(packed: Array) -> FloatArray:
    """PCL packs 0x00RRGGBB in the bits of a float32 or of an integer.

    With alpha in the highest byte, the bits can be those of a NaN.
    """
    words = np.ascontiguousarray(packed, packed.dtype.newbyteorder("=")).view(np.uint32)
    return colours(np.stack([(words >> shift) & 0xFF for shift in (16, 8, 0)], axis=1))


def unpacked_text(packed: Array) -> FloatArray:
    """As `unpacked`, of the number that a text has.

    Some programs declare a float, but write 0xRRGGBB as a whole number. The floats whose bits are
    colours are far below 1, or not whole.
    """
    if packed.dtype.kind == "f":
        if np.isnan(packed).any():
            # The bits of the colour are lost.
            raise MediaDecodeError("a packed colour is nan; expected 0x00RRGGBB as a number")
        low, high = np.iinfo(np.int32).min, np.iinfo(np.uint32).max
        whole = (packed == np.rint(packed)) & (packed >= low) & (packed <= high)
        with np.errstate(over="ignore", under="ignore"):
            packed = packed.astype(np.int64 if whole.all() else np.float32)
        if packed.dtype.kind == "i":
            packed = packed.astype(np.uint32)  # alpha in the highest byte makes it negative
    return unpacked(packed)


def raw_cloud(
    xyz: Array,
    colour: Array | None = None,
    to_rgb: Callable[[Array], FloatArray] = colours,
    thinned: int = 0,
) -> RawCloud:
    """The cloud of the rows of `xyz` [N, 3] that are finite.

    Args:
        xyz: integers or floats.
        colour: N rows, which `to_rgb` converts; those of dropped points are not looked at, because
            depth cameras leave both values out.
        to_rgb: colours as the file has them -> [N, 3] float32, 0-255.
        thinned: points of the file that are not among the rows.

    Raises:
        MediaDecodeError: no row is finite, or a colour is out of range.
    """
    with np.errstate(over="ignore"):
        points = xyz.astype(np.float64, copy=False)
    finite = np.isfinite(points).all(axis=1)
    dropped = len(points) - int(np.count_nonzero(finite))
    if dropped == len(points):
        raise MediaDecodeError(
            f"none of the {dropped} points has finite coordinates; the first is {plain(points[0])}"
        )
    if dropped:
        points, colour = points[finite], None if colour is None else colour[finite]
    rgb = None if colour is None else to_rgb(colour)
    return RawCloud(points, rgb, dropped, thinned=thinned)


def cloud_from_table(table: Array, names: Mapping[str, int] | None = None) -> RawCloud:
    """`table` [N, 3 to 16]: coordinates, perhaps colours, and columns that are not used.

    With `names` (name -> column), those are found by name. Without, the first three columns are
    coordinates and the next three colours, unless they are unit normals as ModelNet40 has them;
    colours may then follow the normals. Fewer than six columns have no colours.

    Raises:
        MediaDecodeError: also if columns without names are plainly others.
    """
    if names is not None:
        channels = next((c for c in CHANNELS if {*c} <= names.keys()), None)
        colour = None if channels is None else table[:, [names[name] for name in channels]]
        xyz = table[:, [names[name] for name in AXES]]
        packed = next((name for name in PACKED if name in names), None)
        if colour is None and packed is not None:
            return raw_cloud(xyz, table[:, names[packed]], unpacked_text)
        return raw_cloud(xyz, colour, _named_colours)
    _check_is_no_number(table)
    found = [table[:, start : start + 3] for start in range(3, table.shape[1] - 2, 3)]
    if found and _are_normals(found[0]):
        found = found[1:]
    return raw_cloud(table[:, :3], found[0] if found else None, _unnamed_colours)


def plain(row: Array) -> str:
    """A row of numbers as error messages have it."""
    return "(" + ", ".join(f"{float(value):.9g}" for value in row) + ")"


def _named_colours(values: Array) -> FloatArray:
    """Text has no types: whole numbers above 255 that fit 16 bits are 16-bit colours."""
    sixteen_bit = values.astype(np.uint16) if MAX_COLOUR < values.max() <= 0xFFFF else values
    return colours(sixteen_bit if (sixteen_bit == values).all() else values)


def _unnamed_colours(values: Array) -> FloatArray:
    """Refuses an intensity between 0 and 1 before two of the channels."""
    highest, whole = values.max(axis=0), (values == np.rint(values)).all(axis=0)
    if (~whole & (highest <= 1.0)).any() and (whole & (highest > 1.0)).any():
        raise MediaDecodeError(
            f"the three columns of colours have fractions up to {highest[~whole].min():g} beside "
            f"whole numbers up to {highest[whole].max():g}, so one of them is no colour; "
            "name the columns in a first line, such as x y z intensity r g b"
        )
    return colours(values)


def _check_is_no_number(table: Array) -> None:
    """Refuses a first column that numbers the points, as spreadsheets and pandas write it."""
    points, columns = table.shape
    if columns == MIN_COLUMNS or points < _FEWEST_NUMBERED or table[0, 0] not in (0, 1):
        return
    if (table[:, 0] == np.arange(points) + table[0, 0]).all():
        raise MediaDecodeError(
            f"the first of {columns} columns numbers the points from {table[0, 0]:g}, so it is no "
            "coordinate; leave it out, or name the columns"
        )


def _are_normals(values: Array) -> bool:
    """Whether the rows [N, 3] have length 1; a few degenerate ones may be 0 or not finite."""
    if not np.issubdtype(values.dtype, np.floating):
        return False
    lengths = np.linalg.norm(values.astype(np.float64), axis=1)
    unit = np.abs(lengths - 1.0) <= _UNIT_LENGTH_ERROR
    return bool(unit.any() and (unit | (lengths == 0.0) | ~np.isfinite(lengths)).all())
