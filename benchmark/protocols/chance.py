"""What guessing scores, where that can be said. Called by the scorers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.protocols.results import Stored
from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.closed_set import ClosedSetTask


def chance_of(stored: Sequence[Stored]) -> float | None:
    """Mean share that guessing among the options gets right; None where there are no options."""
    shares = [_share(one.sample) for one in stored]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def _share(sample: Sample) -> float | None:
    if sample.chance is not None:
        return sample.chance
    if sample.task.startswith("vqa_choice"):
        return 1 / len(sample.target["choices"])
    if sample.task == "facial_smile":
        return 0.5
    task = TASKS[sample.task]
    labels = sample.labels or (task.labels if isinstance(task, ClosedSetTask) else None)
    is_class = isinstance(sample.target, str) and labels is not None
    return 1 / len(labels) if is_class and labels else None
