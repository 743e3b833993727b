"""Draws a task's boxes into its point cloud, as a PLY file. Numpy only.

The file has the coordinates and units of the original, so that both can be overlaid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamm_model.media import METRES, FloatArray, PointCloud
from lamm_model.preprocessing import sample_indices
from service.media.overlay_picture import PALETTE

# Larger clouds are reduced to this many points; boxes are added to them.
MAX_POINTS = 200_000
_POINTS_AN_EDGE = 120
_MAX_EDGE_POINTS = 200_000

# Corner i of a box has the signs of i's three bits; an edge joins two that differ in one bit.
_CORNERS = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)], np.float64) - 0.5
_EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit], np.int32)

_TYPES = {"float": "<f4", "double": "<f8"}
_EDGE = np.dtype([("ends", "<i4", 2), ("rgb", "u1", 3)])
_COLOURS = "property uchar red\nproperty uchar green\nproperty uchar blue\n"


@dataclass(frozen=True, slots=True)
class BoxMark:
    """A box [x, y, z, l, w, h] in metres, z up, and its yaw in radians if it has seven numbers.

    Marks with the same `text` have the same colour.
    """

    text: str
    box: tuple[float, ...]


def overlay_ply(cloud: PointCloud, boxes: Sequence[BoxMark], units: str) -> bytes:
    """A binary PLY file: the cloud's points, then each box as a coloured wire frame.

    A frame is twelve rows of points, which every viewer shows, and twelve `edge` elements, which
    some show as lines. Comments list the colour of each label. A cloud without colours is grey,
    lighter towards the top.

    Args:
        cloud: metres, z up, as decoded; the written file has its `up_axis`.
        boxes: in metres, z up, in the frame of the file: with the cloud's `origin`.
        units: `m`, `cm` or `mm`, of the written file.
    """
    kept = sample_indices(len(cloud.xyz), min(len(cloud.xyz), MAX_POINTS), 0)
    names = list(dict.fromkeys(mark.text for mark in boxes))
    colours = np.array([PALETTE[names.index(mark.text) % len(PALETTE)] for mark in boxes], np.uint8)
    corners = _corners(boxes)
    frames = _frames(corners)
    points = cloud.xyz[kept] + np.array(cloud.origin)
    xyz = np.concatenate([points, corners.reshape(-1, 3), frames.reshape(-1, 3)])
    # Far from the origin, float32 is too coarse for a scan.
    scalar = "double" if any(cloud.origin) else "float"
    vertices = np.empty(len(xyz), [("xyz", _TYPES[scalar], 3), ("rgb", "u1", 3)])
    vertices["xyz"] = _as_sent(xyz, units, cloud.up_axis)
    vertices["rgb"][: len(kept)] = _shades(cloud, kept)
    rest = colours.reshape(-1, 1, 3)
    vertices["rgb"][len(kept) : len(kept) + 8 * len(boxes)] = rest.repeat(8, 1).reshape(-1, 3)
    vertices["rgb"][len(kept) + 8 * len(boxes) :] = rest.repeat(frames.shape[1], 1).reshape(-1, 3)
    edges = np.empty(len(_EDGES) * len(boxes), _EDGE)
    firsts = len(kept) + 8 * np.arange(len(boxes), dtype=np.int32)
    edges["ends"] = (firsts[:, None, None] + _EDGES).reshape(-1, 2)
    edges["rgb"] = rest.repeat(len(_EDGES), 1).reshape(-1, 3)
    legend = [(name, PALETTE[i % len(PALETTE)]) for i, name in enumerate(names)]
    head = _header(len(vertices), len(edges), legend, units, cloud.up_axis, scalar)
    return head + vertices.tobytes() + edges.tobytes()


def _header(
    vertices: int,
    edges: int,
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    units: str,
    up_axis: str,
    scalar: str,
) -> bytes:
    # A header is ASCII and a comment one line, whatever a label contains.
    comments = [f"units {units}, up axis {up_axis}"]
    comments += [f"{_plain(name)} = #{r:02x}{g:02x}{b:02x}" for name, (r, g, b) in legend]
    return (
        "ply\nformat binary_little_endian 1.0\n"
        + "".join(f"comment {comment}\n" for comment in comments)
        + f"element vertex {vertices}\n"
        + "".join(f"property {scalar} {axis}\n" for axis in "xyz")
        + _COLOURS
        + f"element edge {edges}\nproperty int vertex1\nproperty int vertex2\n"
        + _COLOURS
        + "end_header\n"
    ).encode("ascii")


def _plain(name: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in name)[:80]
    return printable.encode("ascii", "backslashreplace").decode("ascii") or "box"


def _corners(boxes: Sequence[BoxMark]) -> npt.NDArray[np.float64]:
    """[boxes, 8, 3]."""
    numbers = np.array([mark.box[:6] for mark in boxes], np.float64).reshape(-1, 6)
    yaws = np.array([sum(mark.box[6:]) for mark in boxes], np.float64)
    cos, sin, zero, one = np.cos(yaws), np.sin(yaws), np.zeros_like(yaws), np.ones_like(yaws)
    # Row i is where axis i of a box points.
    axes = np.array([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)
    return np.asarray(numbers[:, None, :3] + (_CORNERS * numbers[:, None, 3:]) @ axes)


def _frames(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[boxes, points, 3]: points along the twelve edges."""
    most = _MAX_EDGE_POINTS // (len(_EDGES) * max(1, len(corners)))
    share = np.linspace(0.0, 1.0, max(2, min(_POINTS_AN_EDGE, most)))[:, None]
    starts, ends = corners[:, _EDGES[:, 0], None], corners[:, _EDGES[:, 1], None]
    rows = starts + share * (ends - starts)
    return np.asarray(rows.reshape(len(corners), -1 if len(corners) else 0, 3))


def _as_sent(xyz: npt.NDArray[np.float64], units: str, up_axis: str) -> npt.NDArray[np.float64]:
    """Converts decoded coordinates back to those of the file."""
    if up_axis == "y":
        xyz = np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1)
    return xyz / METRES[units]


def _shades(cloud: PointCloud, kept: npt.NDArray[np.int64]) -> FloatArray:
    if cloud.rgb is not None:
        return cloud.rgb[kept]
    heights = cloud.xyz[kept, 2]
    low, high = float(heights.min()), float(heights.max())
    share = (heights - low) / (high - low) if high > low else np.full_like(heights, 0.5)
    shades: FloatArray = (90 + 110 * share)[:, None].repeat(3, 1)
    return shades
