"""The camera of a depth picture: its intrinsics and, if it is known, its pose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

_Row = tuple[float, float, float, float]
# Poses are written with few digits.
_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera whose x axis points right, y down and z forward.

    `fx` and `fy` are focal lengths and `cx`, `cy` the principal point, in pixels; pixel (0, 0) is
    centred at 0, 0. `width` and `height` are those of the picture that the intrinsics are for; a
    picture of another size is refused. A metre is `depth_scale` units of the picture. Points beyond
    `max_depth` metres are left out. `pose` is the camera-to-world matrix, row by row, in metres.

    Raises:
        ValueError: a number is out of range, or the pose is no rigid motion.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int | None = None
    height: int | None = None
    depth_scale: float = 1000.0
    max_depth: float | None = None
    pose: tuple[_Row, _Row, _Row, _Row] | None = None

    # For pydantic, where a request has one.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "width", "height", "depth_scale", "max_depth"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value:g}; it must be above 0")
        for name in ("cx", "cy"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value:g}; it must be finite")
        if self.pose is not None:
            _check_pose(np.array(self.pose, np.float64))


def _check_pose(pose: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError("pose must be 4 rows of 4 finite numbers")
    turn = pose[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=_TOLERANCE) and np.linalg.det(turn) > 0
    if not rigid or not np.allclose(pose[3], (0, 0, 0, 1)):
        raise ValueError(
            "pose must be a rotation and a translation in its first three rows, then 0 0 0 1"
        )
