"""What shuffled options show: whether a model chooses what an option says or where it stands.

Called by `quality`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmark.scoring import OrderCheck, RowScore, ScoredItem
from lamm_model.tasks.metrics import proportion


def order_check(row: RowScore, shuffled: RowScore) -> OrderCheck | None:
    """Compares a multiple-choice row's answers with those to the same options in another order.

    None where no answer could be read in either.
    """
    again = {one.item.sample.id: one for one in shuffled.scored}
    both = [(one, again[one.item.sample.id]) for one in row.scored if one.item.sample.id in again]
    positions = list(_positions([one for pair in both for one in pair]))
    if not positions:
        return None
    chosen = Counter(position for position, _ in positions)
    right = Counter(position for _, position in positions)
    length = max(*chosen, *right) + 1
    read = [(_option(first), _option(second)) for first, second in both]
    comparable = [(a, b) for a, b in read if a is not None and b is not None]
    same = sum(a == b for a, b in comparable)
    return OrderCheck(
        consistency=proportion(same, len(comparable)) if comparable else None,
        position_bias=sum(abs(chosen[i] - right[i]) for i in range(length)) / 2 / len(positions),
        positions=tuple(chosen[i] for i in range(length)),
    )


def _positions(scored: Sequence[ScoredItem]) -> Iterator[tuple[int, int]]:
    """Of each answer that could be read, the chosen position and that of the right option."""
    for one in scored:
        answer = one.item.task.parse(one.text, one.item.inputs).answer
        if answer is not None:
            yield answer.choice, one.item.target.choice


def _option(one: ScoredItem) -> str | None:
    """The words of the chosen option, which stay the same wherever it stands."""
    answer = one.item.task.parse(one.text, one.item.inputs).answer
    return None if answer is None else str(one.item.inputs.choices[answer.choice])
