"""Log-probabilities and probabilities of a closed set's options, from those of their texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

TokenIds = tuple[int, ...]


def option_logprobs_of(
    options: Sequence[Sequence[TokenIds]], logprobs: Mapping[TokenIds, float]
) -> list[float]:
    """Log-probability that an answer begins with each option, from those of its texts.

    Options rank by the sum over their tokens, not by the mean. Sums are probabilities of events, so
    that those of several wordings add up and the wording that the model prefers dominates. A mean
    favours long names whose later tokens follow from the first ("mobile home park"), and would rank
    options differently from mode `text` of the same model. If another text continues a text ("bus",
    "bus stop"), the longer one's probability is subtracted; otherwise the shorter would always win.
    The end of an answer is not scored: a final full stop depends on the model's style, not on the
    option.

    Args:
        options: texts that each option may begin with, as token ids.
        logprobs: natural logarithm of the probability of every text.
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
    # Two options with the same text share its probability.
    owners = Counter(ids for beginnings in options for ids in set(beginnings))
    sums = [
        sum(max(alone[ids], 0.0) / owners[ids] for ids in set(beginnings)) for beginnings in options
    ]
    return [best + math.log(value) if value > 0 else -math.inf for value in sums]


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """Probabilities of the options, given that one of them is the answer; they sum to 1."""
    best = max(logprobs)
    if math.isinf(best):
        return [1 / len(logprobs)] * len(logprobs)
    weights = [math.exp(value - best) for value in logprobs]
    total = sum(weights)
    return [weight / total for weight in weights]
