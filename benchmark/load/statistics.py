"""Statistics of load and soak tests that need nothing else. Called by all that summarises times."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The `rank`-th percentile (0-100) of sorted values, interpolated linearly as numpy does."""
    position = (len(ordered) - 1) * rank / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
