"""Overlaps of boxes in the precision in which ChEF computes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ious_of(
    said: Sequence[Sequence[float]], there: Sequence[Sequence[float]]
) -> Sequence[Sequence[float]]:
    """IoU of every box with every object, in ChEF's precision, which decides at a threshold."""
    if not said or not there:
        return [[] for _ in said]
    mine, right = (np.asarray(boxes, dtype=np.float32) for boxes in (said, there))
    low = np.maximum(mine[:, None, :2], right[:, :2])
    high = np.minimum(mine[:, None, 2:], right[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (mine, right)]
    union = areas[0][:, None] + areas[1] - shared
    ious = np.divide(shared, union, out=np.full_like(shared, np.nan), where=union != 0)
    return [[float(value) for value in row] for row in ious]
