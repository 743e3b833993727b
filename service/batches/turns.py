"""Whose line is next: owners by turns, and the batches of each by turns. Used by `feeder`.

A key with ten batches has no more of the engine than a key with one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection


class Turns:
    """Batches by their numbers; who had a turn goes to the end."""

    def __init__(self) -> None:
        self._batches_of: dict[str, deque[int]] = {}

    def add(self, owner: str, number: int) -> None:
        """One more batch, behind its owner's others."""
        self._batches_of.setdefault(owner, deque()).append(number)

    def remove(self, owner: str, number: int) -> None:
        """The batch has no turns any more; nothing for one that has none."""
        numbers = self._batches_of.get(owner)
        if numbers is None or number not in numbers:
            return
        numbers.remove(number)
        if not numbers:
            del self._batches_of[owner]

    def next(self, but: Collection[int]) -> int | None:
        """The batch that is next, of all but these; None for none."""
        for owner, numbers in self._batches_of.items():
            for number in numbers:
                if number not in but:
                    numbers.remove(number)
                    numbers.append(number)
                    self._batches_of[owner] = self._batches_of.pop(owner)
                    return number
        return None
