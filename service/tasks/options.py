"""The closed set that a task's answer comes from, and how its options rank. Pure.

Called by `task_models` (which modes a task has) and `task_outcome` (mode `likelihood`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamm_model.tasks import AnyTask
from lamm_model.tasks.base import TaskModel
from lamm_model.tasks.classification import (
    ClassificationAnswer,
    ClassificationInputs,
    ClassificationTask,
)
from lamm_model.tasks.closed_set import ClosedSetTask
from lamm_model.tasks.smile import SmileAnswer, SmileTask
from lamm_model.tasks.vqa_choice import ChoiceAnswer, ChoiceInputs, ChoiceTask

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer: its name for people, and how a text that gives it may begin."""

    name: str
    answer: TaskModel
    texts: tuple[str, ...]


def has_options(task: AnyTask) -> bool:
    """Whether answers of the task come from a closed set, at least for some inputs."""
    return isinstance(task, ChoiceTask | ClassificationTask | SmileTask)


def options_of(task: AnyTask, inputs: TaskModel) -> tuple[Option, ...]:
    """Every possible answer, in the order of the labels or choices; none where the set is open.

    Each can be given as training wrote it, and a choice by its own words too, as models do that
    were trained on other wordings. A letter alone is none of the ways: models prefer some letters
    to others whatever they stand for.
    """
    if isinstance(task, ChoiceTask) and isinstance(inputs, ChoiceInputs):
        return tuple(
            _choice(task, inputs, index, words) for index, words in enumerate(inputs.choices)
        )
    if isinstance(task, ClassificationTask) and isinstance(inputs, ClassificationInputs):
        labels = inputs.labels or (task.labels if isinstance(task, ClosedSetTask) else ())
        answers = ((label, ClassificationAnswer(label=label)) for label in labels)
        return tuple(Option(label, one, (task.render(one, inputs),)) for label, one in answers)
    if isinstance(task, SmileTask):
        return (
            Option("yes", SmileAnswer(smiling=True), ("Yes", "yes")),
            Option("no", SmileAnswer(smiling=False), ("No", "no")),
        )
    return ()


def option_logprobs_of(
    options: Sequence[Sequence[TokenIds]], logprobs: Mapping[TokenIds, float]
) -> list[float]:
    """Log-probability that an answer begins as each option may, from those of the beginnings.

    Options rank by the sum over their tokens, not by the mean. A sum is the probability of a thing
    that may happen, so those of several wordings add up, and the wording that a model prefers
    counts by itself; a mean favours long names whose later pieces follow from the first ("mobile
    home park"), and would rank otherwise than the same model writes in mode `text`. A beginning
    that another one continues ("bus", "bus stop") counts without what the longer one has: otherwise
    the shorter would win always. No end is scored: how a model ends an answer (a full stop, or
    nothing) says more of its style than of the option.

    Args:
        options: beginnings of each option, as token ids.
        logprobs: of every beginning, natural logarithms.
    """
    best = max(logprobs.values())
    if math.isinf(best):
        return [best] * len(options)
    weights = {ids: math.exp(value - best) for ids, value in logprobs.items()}
    alone = dict(weights)
    for ids, weight in weights.items():
        shorter = (ids[:length] for length in range(len(ids) - 1, 0, -1))
        parent = next((one for one in shorter if one in alone), None)
        if parent is not None:
            alone[parent] -= weight
    # Two options that may begin alike share that beginning.
    owners = Counter(ids for beginnings in options for ids in set(beginnings))
    sums = [
        sum(max(alone[ids], 0.0) / owners[ids] for ids in set(beginnings)) for beginnings in options
    ]
    return [best + math.log(value) if value > 0 else -math.inf for value in sums]


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """Shares of the options given that one of them is the answer; their sum is 1."""
    best = max(logprobs)
    if math.isinf(best):
        return [1 / len(logprobs)] * len(logprobs)
    weights = [math.exp(value - best) for value in logprobs]
    total = sum(weights)
    return [weight / total for weight in weights]


def _choice(task: ChoiceTask, inputs: ChoiceInputs, index: int, words: str) -> Option:
    answer = ChoiceAnswer(choice=index)
    stated = task.render(answer, inputs).removesuffix(".")
    # Words that are blank have no tokens to score.
    return Option(words, answer, (stated, words) if words.strip() else (stated,))
