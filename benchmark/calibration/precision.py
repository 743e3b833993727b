"""Average precision of boxes: ranked by their calibrated scores, raw ones, or not at all.

`benchmark.protocols` is imported when it is used, because it needs sacrebleu.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmark.answers import Answer
from benchmark.suite import Item
from lamm_model.tasks.calibration import Curve, Precision, place_features, raw_place

_DIGITS = 4
Told = Mapping[str, float]  # the log-probabilities of one place
Rank = Callable[[Told, int], float]


def box_precision(
    task: str, answered: Sequence[tuple[Item, Answer]], curve: Curve
) -> dict[str, Precision] | None:
    """AP at each IoU of the task's benchmark; None if the places of the task are no boxes.

    Args:
        task: the task's name; answers of other tasks are left out.
        answered: questions with their answers. One that could not be read has no boxes; those
            whose places have no log-probabilities are left out.
        curve: of the task's places.
    """
    from benchmark.protocols import Protocol, Stored, scorer_of  # noqa: PLC0415
    from benchmark.protocols.corrected_places import BoxScorer  # noqa: PLC0415

    def calibrated(told: Told, _numbers: int) -> float:
        return curve(place_features(told["logprob"], told.get("label_logprob")))

    def raw(told: Told, numbers: int) -> float:
        return raw_place(told["logprob"], told.get("label_logprob"), numbers)

    scorer = scorer_of(task, Protocol.CORRECTED_V1)
    if not isinstance(scorer, BoxScorer):
        return None
    mine = [(i, a, told) for i, a in answered if (told := _told(task, i, a)) is not None]
    ranks = {"calibrated": calibrated, "raw": raw, "constant": _constant}
    found = {
        name: scorer.precisions(
            [
                Stored(
                    item.sample, answer.text, scores={k: rank(*one) for k, one in places.items()}
                )
                for item, answer, places in mine
            ]
        )
        for name, rank in ranks.items()
    }
    return {
        metric: Precision.model_validate(
            {name: round(values[metric], _DIGITS) for name, values in found.items()}
        )
        for metric in found["constant"]
    }


def _constant(_told: Told, _numbers: int) -> float:
    return 1.0


def _told(task: str, item: Item, answer: Answer) -> dict[str, tuple[Told, int]] | None:
    """By path, what is known of a place and how many numbers it has; None for unscored answers."""
    # An answer by likelihood has no places.
    if item.task.name != task or answer.options is not None:
        return None
    read = item.task.parse(answer.text, item.inputs).answer
    places = () if read is None else tuple(read.places())
    if answer.logprobs is None:
        return None if places else {}
    return {place.path: (answer.logprobs[place.path], len(place.values)) for place in places}
