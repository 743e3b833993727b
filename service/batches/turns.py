"""The order of lines: owners take turns, and so do the batches of each owner.

A key with ten batches gets no more of the engine than a key with one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection


class Turns:
    """Batches by number; one that had its turn goes to the end."""

    def __init__(self) -> None:
        self._batches_of: dict[str, deque[int]] = {}

    def add(self, owner: str, number: int) -> None:
        """Adds a batch behind its owner's others."""
        self._batches_of.setdefault(owner, deque()).append(number)

    def remove(self, owner: str, number: int) -> None:
        """Removes a batch, if it is present."""
        numbers = self._batches_of.get(owner)
        if numbers is None or number not in numbers:
            return
        numbers.remove(number)
        if not numbers:
            del self._batches_of[owner]

    def next(self, but: Collection[int]) -> int | None:
        """The next batch that is not excluded; None if there is none."""
        for owner, numbers in self._batches_of.items():
            for number in numbers:
                if number not in but:
                    numbers.remove(number)
                    numbers.append(number)
                    self._batches_of[owner] = self._batches_of.pop(owner)
                    return number
        return None
