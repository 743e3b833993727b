"""Scores of stored answers with what they are about: a right answer or place, or a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmark.answers import Answer
from benchmark.suite import Item
from lamm_model.tasks.calibration import (
    Scored,
    answer_features,
    likelihood_features,
    place_features,
    raw_answer,
    raw_place,
)


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One score: its features, the model's own probability (`raw`), and whether it was right."""

    features: Mapping[str, float]
    raw: float
    hit: bool


Key = tuple[str, Scored]  # the task's name, and what is scored
Samples = Mapping[Key, list[ScoredSample]]


def gathered(answered: Iterable[tuple[Item, Answer]]) -> dict[Key, list[ScoredSample]]:
    """All scores of some answers. An answer that could not be read has none."""
    found: dict[Key, list[ScoredSample]] = {}
    for item, answer in answered:
        for kind, sample in _samples(item, answer):
            found.setdefault((item.task.name, kind), []).append(sample)
    return found


def _samples(item: Item, answer: Answer) -> Iterator[tuple[Scored, ScoredSample]]:
    read = item.task.parse(answer.text, item.inputs).answer
    if read is None:
        return
    hit = item.task.is_hit(read, item.target)
    if answer.options is not None:
        best = max(answer.options, key=lambda one: float(one["probability"]))
        features = likelihood_features(float(best["probability"]))
        yield Scored.LIKELIHOOD, ScoredSample(features, float(best["probability"]), hit)
        return
    if answer.logprobs is None:
        return
    whole = answer.logprobs[""]["logprob"]
    places = list(read.places())
    told = [answer.logprobs[place.path] for place in places]
    raws = [
        raw_place(one["logprob"], one.get("label_logprob"), len(place.values))
        for one, place in zip(told, places, strict=True)
    ]
    yield Scored.ANSWER, ScoredSample(answer_features(whole), raw_answer(whole, raws), hit)
    order = sorted(range(len(places)), key=lambda index: -raws[index])
    hits = item.task.place_hits(read, item.target, item.inputs, order)
    for one, raw, right in zip(told, raws, hits, strict=True):
        features = place_features(one["logprob"], one.get("label_logprob"))
        yield Scored.PLACE, ScoredSample(features, raw, right)
