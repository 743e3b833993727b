"""Files that are read in parts: of more points than may be held, some are taken.

The points that are held are spread evenly over the file, one at random from each of as many runs of
rows. Their number, and not that of the file, bounds the memory.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lamm_model.formats.cloud import check_count

# Reading takes time for every point of the file.
MAX_FACTOR = 10
_SEED = 0


class Thinning:
    """Which of `points` rows are held, `kept` of them; all if they are at most `max_points`."""

    def __init__(self, points: int, max_points: int) -> None:
        """
        Raises:
            MediaDecodeError: there are no points.
            MediaTooLargeError: more than `MAX_FACTOR` x `max_points`.
        """
        check_count(points, MAX_FACTOR * max_points)
        self.points, self.kept = points, min(points, max_points)
        self._rows: npt.NDArray[np.int64] | None = None
        if points > max_points:
            starts = np.arange(max_points + 1) * points // max_points
            share = np.random.default_rng(_SEED).random(max_points)
            self._rows = starts[:-1] + (share * np.diff(starts)).astype(np.int64)

    @property
    def left_out(self) -> int:
        """Points of the file that are not held."""
        return self.points - self.kept

    def of(self, first: int, count: int) -> tuple[slice, slice | npt.NDArray[np.int64]]:
        """For the rows `first` to `first` + `count`: where they are held, and which of them are."""
        if self._rows is None:
            return slice(first, first + count), slice(None)
        low, high = map(int, np.searchsorted(self._rows, (first, first + count)))
        return slice(low, high), self._rows[low:high] - first
