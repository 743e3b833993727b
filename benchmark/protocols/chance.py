"""The share that guessing gets right, for tasks with a closed set of answers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.protocols.results import Stored
from lamm_model.tasks import TASKS, Sample


def chance_of(stored: Sequence[Stored]) -> float | None:
    """Mean share that guessing among the options gets right; None where there are no options."""
    shares = [_share(one.sample) for one in stored]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def _share(sample: Sample) -> float | None:
    if sample.chance is not None:
        return sample.chance
    task = TASKS[sample.task]
    inputs, _ = task.read_sample(sample)
    return task.chance(inputs)
