"""Log-probabilities and shares of a closed set's options, from those of their texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

TokenIds = tuple[int, ...]


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
