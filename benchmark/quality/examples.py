"""In-context examples for a row's questions, drawn as ChEF's retrievers draw them.

Examples come from the row itself, as in ChEF. Unlike there, the asked record is never among them:
where ChEF draws it, the next record in the row takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.suite import Item, SuiteRow

MAX_EXAMPLES = 8
# ChEF's retrievers by similarity, and the encoder that each needs.
_ENCODERS = {"topk_text": "all-mpnet-base-v2", "topk_img": "google/vit-base-patch16-224-in21k"}


class Retriever(StrEnum):
    """The values of `--retriever`: the same examples for all questions, or others for each."""

    FIXED = "fixed"
    RANDOM = "random"


def refuse_encoders(value: Any) -> Any:
    """A validator of `--retriever` that tells why ChEF's other retrievers are not there.

    Raises:
        ValueError: a retriever by similarity.
    """
    if isinstance(value, str) and value in _ENCODERS:
        raise ValueError(
            f"{value} needs the encoder {_ENCODERS[value]}, which this client does not have; "
            f"expected {' or '.join(Retriever)}"
        )
    return value


@dataclass(frozen=True, slots=True)
class ExamplePlan:
    """How many examples a question has, and how they are drawn."""

    count: int = 0
    retriever: str = Retriever.RANDOM.value
    seed: int = 1

    def examples_of(self, row: SuiteRow) -> Mapping[str, tuple[Item, ...]]:
        """The examples of each question of a row, by sample id.

        Raises:
            BenchmarkError: the row has too few records.
        """
        items = row.items
        if not self.count or not items:
            return {}
        if len(items) <= self.count:
            raise BenchmarkError(
                f"row {row.name} has {len(items)} records; {self.count} examples need at least "
                f"{self.count + 1}"
            )
        drawn = self._drawn(len(items))
        return {
            item.sample.id: tuple(items[i] for i in _others(drawn[number], number, len(items)))
            for number, item in enumerate(items)
        }

    def _drawn(self, size: int) -> list[list[int]]:
        """Positions of the examples of each record: ChEF's draws for its seed."""
        # The legacy generator: its sequence is the one that ChEF's draws come from.
        rng = np.random.RandomState(self.seed)
        draws = 1 if self.retriever == Retriever.FIXED else size
        found = [rng.choice(size, self.count, replace=False).tolist() for _ in range(draws)]
        return found * (size // draws)


NO_EXAMPLES = ExamplePlan()


def _others(drawn: list[int], asked: int, size: int) -> list[int]:
    """The drawn positions, the asked one replaced by the next that is not among them."""
    if asked not in drawn:
        return drawn
    free = (position % size for position in range(asked + 1, asked + size))
    other = next(position for position in free if position not in drawn)
    return [other if position == asked else position for position in drawn]
