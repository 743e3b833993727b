"""Tasks whose answer is a list of labelled places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from lamm_model.tasks.base import AnswerT, InputsT, ParseResult, PlaceSpan
from lamm_model.tasks.classification import MAX_LABELS, ClassificationInputs
from lamm_model.tasks.dialects.manner import LAMM
from lamm_model.tasks.grammar import any_of
from lamm_model.tasks.metrics import (
    DetectionCounts,
    Estimate,
    matched_counts,
    precision_recall_f1,
)
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.places.base import PlaceTask, ToldText
from lamm_model.tasks.places.spans import label_span
from lamm_model.tasks.reading.places import (
    cut_short,
    label_pattern_fault,
    labelled,
    says_nothing_is_there,
    stated_label,
)
from lamm_model.tasks.reading.words import tokens

FoundPlace = tuple[str | None, Numbers]


class SoughtInputs(ClassificationInputs):
    """`labels`: the closed set to look for, one or more; with None the model uses its own words."""

    labels: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=MAX_LABELS)


class PlacesTask(PlaceTask[InputsT, AnswerT]):
    """A task whose answer is a list of labelled places.

    The inputs may have `labels`, the closed set to look for.

    Attributes:
        question: the prompt without its closed set, `{noun}` for the medium's name.
        things: the prompt's word for what is looked for.
        thresholds: overlaps at which `score` counts; None for a task whose places have no area.
        needs_labels: whether a place without a label is left out.
    """

    question: ClassVar[str]
    things: ClassVar[str] = "objects"
    thresholds: ClassVar[tuple[float | None, ...]] = (0.5,)
    needs_labels: ClassVar[bool] = True

    @override
    def prompt(self, inputs: InputsT) -> str:
        """Asks for labels and places; a closed set is written out."""
        question = self.question.format(noun=self.noun)
        labels = self._labels(inputs)
        if labels is None:
            return question
        return f"{question} {self.things.capitalize()} may be: {', '.join(labels)}."

    @override
    def _parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """Every place with the label before it (or after it, where the first one has none before).

        Places that were clipped, reordered, cut short, in a guessed frame or in none, places
        without a label, and places of things outside the closed set make the result partial; the
        last two are left out.
        """
        told = self._told(text, inputs)
        if told is not None:
            return self._from_dialect(told, inputs)
        read = self._read(text, inputs)
        labels = self._labels(inputs)
        if not read.places:
            if says_nothing_is_there(read.text, labels):
                return ParseResult.of(self._answer((), inputs), sure=True)
            return ParseResult.unparsed()
        usable = list(read.places)
        there = list(labelled(read.text, usable, labels))
        found = [
            (label, used) for label, group in there if (used := read.places[group].used) is not None
        ]
        chosen = self._chosen(found, inputs)
        if not chosen:
            return ParseResult.unparsed()
        whole = (
            usable == read.numbers
            and usable[0].bracketed
            and not cut_short(read.text, usable)
            and len(usable) == len(there) == len(chosen)
            and all(read.places[group].intact for group in usable)
            and self.manner.dialect == LAMM
        )
        return ParseResult.of(self._answer(chosen, inputs), sure=whole)

    def _from_dialect(self, told: ToldText, inputs: InputsT) -> ParseResult[AnswerT]:
        """The places that a dialect read, under the same rules."""
        labels = self._labels(inputs)
        found: list[FoundPlace] = []
        faults = [*told.faults]
        for one in told.places:
            label, is_denied = stated_label(one.placed.words, labels, in_prose=one.placed.in_prose)
            if one.used is not None and not is_denied:
                found.append((label, one.used))
        chosen = self._chosen(found, inputs)
        if len(chosen) < len(found):
            faults.append(f"{len(found) - len(chosen)} places of other things or without a label")
        if not chosen and (told.places or faults):
            return ParseResult.unparsed(tuple(faults))
        intact = all(one.intact for one in told.places)
        whole = not faults and intact and len(found) == len(told.places)
        return ParseResult.of(self._answer(chosen, inputs), sure=whole, faults=tuple(faults))

    @override
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """`coat [0.10, 0.20, 0.45, 0.60]; sneaker [...]`, or that nothing is there."""
        written = [(p.label, self.notation.write(p.values)) for p in answer.places()]
        if not written:
            return f"There are no {self.things}."
        return "; ".join(f"{label} {place}" if label else place for label, place in written)

    @override
    def _place_spans(self, text: str, inputs: InputsT) -> list[PlaceSpan]:
        read, labels = self._read(text, inputs), self._labels(inputs)
        usable = list(read.places)
        found = [
            ((label, used), group)
            for label, group in labelled(read.text, usable, labels)
            if (used := read.places[group].used) is not None
        ]
        # `_chosen` filters, so its places are found again by identity, in order.
        rest = iter(found)
        spans: list[PlaceSpan] = []
        for one in self._chosen([place for place, _ in found], inputs):
            group = next(group for place, group in rest if place is one)
            label = label_span(read.text, usable, group, one[0], labels)
            spans.append(PlaceSpan((group.start, group.end), label))
        return spans

    @override
    def place_hits(
        self, answer: AnswerT, target: AnswerT, inputs: InputsT, order: Sequence[int]
    ) -> list[bool]:
        """At the last of the thresholds: each place is a hit if it adds to the match."""
        places = [(place.label, place.values) for place in answer.places()]
        hits, tried, matched = [False] * len(places), list[FoundPlace](), 0
        for index in order:
            tried.append(places[index])
            counts = self.counts(self._answer(tried, inputs), target, self.thresholds[-1])
            right = counts.true_positives
            hits[index], matched = right > matched, right
        return hits

    @override
    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Every object found, none made up, at the last of the thresholds."""
        return answer is not None and self.counts(answer, target, self.thresholds[-1]).f1 == 1.0

    @override
    def _metrics(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """`precision`, `recall` and `f1` over all objects; an unparsed answer found none."""
        scores: dict[str, Estimate] = {}
        for threshold in self.thresholds:
            counts = [self.counts(answer, target, threshold) for answer, target in pairs]
            suffix = "" if threshold is None else f"@{threshold}"
            scores |= precision_recall_f1(counts, suffix)
        return scores

    def counts(
        self, answer: AnswerT | None, target: AnswerT, threshold: float | None
    ) -> DetectionCounts:
        """One-to-one matches of same label and an overlap of at least `threshold`."""
        return matched_counts(
            () if answer is None else tuple(answer.places()),
            tuple(target.places()),
            lambda seen, there: (
                tokens(seen.label or "") == tokens(there.label or "")
                and self.notation.overlap(seen.values, there.values) >= (threshold or 0)
            ),
        )

    @override
    def form(self, inputs: InputsT) -> str | None:
        """A list of the labels with a place each, or that nothing is there."""
        labels = self._labels(inputs)
        for label in labels or ():
            if fault := label_pattern_fault(label):
                raise ValueError(fault)
        if not labels:
            return None
        return "\n".join([
            'answer: NOTHING | item ("; " item)*',
            'item: LABEL " " PLACE',
            f"NOTHING: {any_of([self.render(self._answer((), inputs), inputs)])}",
            f"LABEL: {any_of(labels)}",
            f"PLACE: {self.notation.pattern}",
        ])  # fmt: skip

    @override
    def words(self, answer: AnswerT, inputs: InputsT) -> str:
        return "nothing found"

    def _labels(self, inputs: InputsT) -> Sequence[str] | None:
        labels: Sequence[str] | None = getattr(inputs, "labels", None)
        return labels

    def _chosen(
        self,
        found: list[FoundPlace],
        inputs: InputsT,
    ) -> list[FoundPlace]:
        """The places that make the answer: all or none of them have a label, one of the set."""
        labels = self._labels(inputs)
        named = [one for one in found if one[0] is not None]
        if named:
            return [one for one in named if labels is None or one[0] in labels]
        return [] if self.needs_labels else found

    def _answer(
        self,
        found: Sequence[FoundPlace],
        inputs: InputsT,  # noqa: ARG002 - for subclasses
    ) -> AnswerT:
        objects = [{"label": label, self.notation.field: place} for label, place in found]
        return self.answer_model.model_validate({"objects": objects})
