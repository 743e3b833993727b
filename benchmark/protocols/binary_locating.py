"""Binary-Locating: whether a point is in the object, pooled over two or three sets.

The July form pools VOC2012 and LSP; the June form adds FSC147.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from benchmark.protocols import upstream_text as read
from benchmark.protocols.corrected_places import LocatingScorer
from benchmark.protocols.results import (
    ItemScore,
    Protocol,
    ProtocolScore,
    Rule,
    Scorer,
    Stored,
    make_item,
    mean_over,
    measure,
    ratio,
    share,
)
from benchmark.protocols.upstream import near
from lamm_model.tasks.targets import read_joints

FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"2-set": ("VOC2012", "LSP"), "3-set": ("VOC2012", "LSP", "FSC147")}
)
# Upstream leaves out pictures of FSC147 with this many objects or more.
MANY = 10


class UpstreamLocatingScorer(Scorer):
    """Any point in an object, with the label mentioned anywhere; surplus points cost nothing."""

    rules = (Rule("accuracy", share("hits", "there"), "any number of points is free"),)

    def __init__(self, *, repaired: bool) -> None:
        self._repaired = repaired

    def item(self, stored: Stored) -> ItemScore:
        """Hits and objects of one picture, depending on the form of its target."""
        task = stored.task
        inputs, _ = task.read_sample(stored.sample)
        target = stored.sample.target
        if "objects" in target:
            hits, there = self._in_boxes(target["objects"], stored.text)
        elif "joints" in target:
            hits, there = _in_body(target["joints"], stored), 1
        else:
            width, height = stored.sample.size or (1, 1)
            points = [(row[0] / width, row[1] / height) for row in target["points"]]
            there = len(points) if len(points) < MANY else 0
            hits = sum(near(stored.text, point) for point in points) if there else 0
        status = task.parse(stored.text, inputs).status
        return make_item(
            stored, status, {"hits": hits, "there": there}, cluster=stored.sample.media
        )

    def _in_boxes(self, objects: Sequence[Mapping[str, object]], text: str) -> tuple[int, int]:
        points = read.numbers(text, 2)
        hits = 0
        for there in objects:
            label, box = str(there["label"]), there["bbox"]
            if isinstance(box, list | tuple) and read.mentions(
                label, text, repaired=self._repaired
            ):
                hits += any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in points)
        return hits, len(objects)


def _in_body(rows: Sequence[Sequence[float]], stored: Stored) -> bool:
    joints = read_joints(rows)
    width, height = stored.sample.size or (1, 1)
    left, right = min(x for x, _ in joints), max(x for x, _ in joints)
    top, bottom = min(y for _, y in joints), max(y for _, y in joints)
    return any(
        left < x * width < right and top < y * height < bottom
        for x, y in read.numbers(stored.text, 2)
    )


def locating_scorer(protocol: Protocol) -> Scorer:
    """The scorer of one set of Binary-Locating under a protocol."""
    if protocol is Protocol.CORRECTED_V1:
        return LocatingScorer()
    return UpstreamLocatingScorer(repaired=protocol is Protocol.UPSTREAM_INTENDED)


def binary_locating(
    protocol: Protocol | str, sets: Mapping[str, Sequence[Stored]]
) -> dict[str, ProtocolScore]:
    """The 2-set form, and the 3-set form if `sets` has FSC147; objects are pooled.

    The metric `macro_NAME`, NAME being the first metric, is the mean over the sets.

    Raises:
        ValueError: VOC2012 or LSP is missing, or the protocol is unknown.
    """
    protocol = Protocol(protocol)
    missing = [name for name in FORMS["2-set"] if name not in sets]
    if missing:
        raise ValueError(f"sets are {sorted(sets)}; {', '.join(missing)} missing")
    scorer = locating_scorer(protocol)
    scores: dict[str, ProtocolScore] = {}
    for form, names in FORMS.items():
        if all(name in sets for name in names):
            items = [
                _of_set(name, item, scorer) for name in names for item in scorer.items(sets[name])
            ]
            scores[form] = _pooled(protocol, form, scorer, items)
    return scores


def _pooled(
    protocol: Protocol, form: str, scorer: Scorer, items: Sequence[ItemScore]
) -> ProtocolScore:
    first = scorer.rules[0]
    macro = Rule(
        f"macro_{first.name}",
        lambda s: mean_over(s, "set", lambda name: ratio(s[f"hit|{name}"], s[f"set|{name}"])),
        "mean over the sets",
    )
    return ProtocolScore(
        protocol=protocol,
        task=f"binary_locating {form}",
        primary=first.name,
        metrics=measure(items, (*scorer.rules, macro)),
        items=tuple(items),
        chance=None,
        faults=Counter(fault for item in items for fault in item.faults),
    )


def _of_set(name: str, item: ItemScore, scorer: Scorer) -> ItemScore:
    hit = "guarded" if isinstance(scorer, LocatingScorer) else "hits"
    numbers = {
        **item.numbers,
        f"set|{name}": item.numbers["there"],
        f"hit|{name}": item.numbers[hit],
    }
    return replace(item, id=f"{name}/{item.id}", cluster=f"{name}/{item.cluster}", numbers=numbers)
