"""Boxes in space, upright and possibly rotated: corners and intersection over union. Torch-free.

A box is `[x, y, z, l, w, h]` or `[x, y, z, l, w, h, yaw]`: metres, z up, and x, y, z the centre.
`yaw` in radians rotates the box about the vertical axis through its centre, counter-clockwise seen
from above. `l` lies along (cos yaw, sin yaw, 0), `w` along (-sin yaw, cos yaw, 0), and `h` along z.
Six numbers mean that l, w and h lie along the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Six or seven numbers.
Box3D = tuple[float, ...]
Point3D = tuple[float, float, float]
MAX_YAW = 2 * math.pi

_Polygon = list[tuple[float, float]]
# 2 pi itself may be rounded up: 6.2832.
_ROUNDING = 1e-4
_SIGNS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def yaw_of(box: Sequence[float]) -> float:
    """The rotation in radians; 0 for six numbers."""
    return box[6] if len(box) > 6 else 0.0


def box_3d_fault(box: Sequence[float]) -> str | None:
    """Why these six or seven numbers are not a box; None if they are."""
    if min(box[3:6]) < 0:
        return f"bbox {tuple(box)} has a negative extent"
    return yaw_fault(box)


def yaw_fault(box: Sequence[float]) -> str | None:
    """Why the seventh number is not a yaw; None if it is, or if there is none."""
    if is_yaw(yaw_of(box)):
        return None
    return f"bbox {tuple(box)} has yaw {box[6]:g}; expected radians, from -2 pi to 2 pi"


def is_yaw(angle: float) -> bool:
    """Whether a number can be a yaw in radians: at most one turn in either direction."""
    return abs(angle) <= MAX_YAW + _ROUNDING


def footprint(box: Sequence[float]) -> list[tuple[float, float]]:
    """The four corners (x, y) seen from above, counter-clockwise."""
    x, y, _, length, width = box[:5]
    cos, sin = math.cos(yaw_of(box)), math.sin(yaw_of(box))
    halves = [(i * length / 2, j * width / 2) for i, j in _SIGNS]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in halves]


def edges(box: Sequence[float]) -> list[tuple[Point3D, Point3D]]:
    """The twelve edges as pairs of points (x, y, z)."""
    low, high = box[2] - box[5] / 2, box[2] + box[5] / 2
    around = footprint(box)
    found: list[tuple[Point3D, Point3D]] = []
    for (x, y), (to_x, to_y) in zip(around, around[1:] + around[:1], strict=True):
        found.append(((x, y, low), (x, y, high)))
        found += [((x, y, z), (to_x, to_y, z)) for z in (low, high)]
    return found


def box_3d_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of the volumes of two boxes; 0 when both are empty."""
    if yaw_of(first) or yaw_of(second):
        ground = _ground_overlap(first, second)
    else:
        ground = _shared(first, second, 0) * _shared(first, second, 1)
    overlap = ground * _shared(first, second, 2)
    union = math.prod(first[3:6]) + math.prod(second[3:6]) - overlap
    return min(1.0, overlap / union) if union > 0 else 0.0


def is_outside(box: Sequence[float], low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether no part of a box is within the bounds `low` to `high` (separating axes)."""
    cos, sin = math.cos(yaw_of(box)), math.sin(yaw_of(box))
    reach = (
        abs(cos) * box[3] + abs(sin) * box[4],
        abs(sin) * box[3] + abs(cos) * box[4],
        box[5],
    )
    for axis, extent in enumerate(reach):
        if box[axis] + extent / 2 < low[axis] or box[axis] - extent / 2 > high[axis]:
            return True
    if not yaw_of(box):
        return False
    corners = [(x - box[0], y - box[1]) for x in (low[0], high[0]) for y in (low[1], high[1])]
    for (a, b), extent in (((cos, sin), box[3]), ((-sin, cos), box[4])):
        along = [x * a + y * b for x, y in corners]
        if min(along) > extent / 2 or max(along) < -extent / 2:
            return True
    return False


def _shared(first: Sequence[float], second: Sequence[float], axis: int) -> float:
    """Length that two unrotated boxes share along an axis."""
    upper = min(first[axis] + first[axis + 3] / 2, second[axis] + second[axis + 3] / 2)
    lower = max(first[axis] - first[axis + 3] / 2, second[axis] - second[axis + 3] / 2)
    return max(0.0, upper - lower)


def _ground_overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Area that two footprints share.

    Seen from the first box's own axes the first footprint is upright, so that the second one is cut
    at four lines (Sutherland and Hodgman 1974). That also keeps the numbers small far from the
    origin.
    """
    turn = yaw_of(first)
    cos, sin = math.cos(turn), math.sin(turn)
    dx, dy = second[0] - first[0], second[1] - first[1]
    centre = (dx * cos + dy * sin, dy * cos - dx * sin, 0.0)
    polygon = footprint((*centre, *second[3:6], yaw_of(second) - turn))
    for axis, half in ((0, first[3] / 2), (1, first[4] / 2)):
        for sign in (1, -1):
            polygon = _cut(polygon, axis, sign, half)
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return max(0.0, sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) / 2)


def _cut(polygon: _Polygon, axis: int, sign: int, half: float) -> _Polygon:
    """The part of a convex polygon where `sign` times the coordinate is at most `half`."""
    kept: _Polygon = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        before, after = half - sign * start[axis], half - sign * end[axis]
        if before >= 0:
            kept.append(start)
        if (before >= 0) != (after >= 0):
            share = before / (before - after)
            kept.append(
                (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
            )
    return kept
