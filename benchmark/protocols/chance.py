"""Chance level: the expected share of right guesses, for answers from a closed set."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.protocols.results import Stored
from lamm_model.tasks import TASKS, Sample


def chance_of(stored: Sequence[Stored]) -> float | None:
    """Mean chance level of the records; None if any has neither options nor a stated chance."""
    shares = [_share(one.sample) for one in stored]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def _share(sample: Sample) -> float | None:
    if sample.chance is not None:
        return sample.chance
    task = TASKS[sample.task]
    inputs, target = task.read_sample(sample)
    options = task.options(inputs)
    # Each of several equal options is right.
    right = sum(task.is_hit(option.answer, target) for option in options)
    return right / len(options) if options else None
