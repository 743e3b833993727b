"""Bases of the tasks whose answers have places: a list of labelled places, or one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from lamm_model.tasks.base import (
    AnswerT,
    InputsT,
    ParseResult,
    ParseStatus,
    Task,
    WrittenPlace,
)
from lamm_model.tasks.grammar import any_of
from lamm_model.tasks.metrics import (
    DetectionCounts,
    Estimate,
    matched_counts,
    precision_recall_f1,
    proportion,
)
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.notations import Notation, Reading
from lamm_model.tasks.reading.coordinates import Group, tidy
from lamm_model.tasks.reading.places import (
    cut_short,
    is_denied,
    label_pattern_fault,
    labelled,
    says_nothing_is_there,
)
from lamm_model.tasks.reading.words import tokens

FoundPlace = tuple[str | None, Numbers]


@dataclass(frozen=True, slots=True)
class ReadText:
    """A tidy text, all its groups of numbers, and the readings of those that are places."""

    text: str
    numbers: list[Group]
    places: dict[Group, Reading]


class PlaceTask(Task[InputsT, AnswerT]):
    """A task whose answers have places, written in one `notation`.

    The inputs may have `size`, the width and height of the picture, so that pixels can be read.
    """

    notation: ClassVar[Notation]

    @override
    def written_places(self, text: str, inputs: InputsT) -> list[WrittenPlace]:
        read = self._read(text, inputs)
        nowhere = Reading(None, None, False)
        found = ((group, read.places.get(group, nowhere)) for group in read.numbers)
        return [
            WrittenPlace(read.text[group.start : group.end], one.given, one.used)
            for group, one in found
        ]

    def _read(self, text: str, inputs: InputsT) -> ReadText:
        text = tidy(text)
        numbers = self.notation.numbers(text)
        usable = [group for group in numbers if self._is_usable(group, text)]
        scale = self.notation.scale(usable, getattr(inputs, "size", None))
        return ReadText(text, numbers, {g: self.notation.read(g, scale) for g in usable})

    def _is_usable(self, group: Group, text: str) -> bool:  # noqa: ARG002 - for subclasses
        return self.notation.is_place(group)


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
    def parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """Every place with the label before it (or after it, where the first one has none before).

        Places that were clipped, reordered, cut short, in a guessed frame or in none, and places
        without a label make the result partial.
        """
        read = self._read(text, inputs)
        labels = self._labels(inputs)
        if not read.places:
            if says_nothing_is_there(read.text, labels):
                return ParseResult(self._answer((), inputs), ParseStatus.OK)
            return ParseResult.unparsed()
        usable = list(read.places)
        there = list(labelled(read.text, usable, labels))
        found: list[FoundPlace] = []
        for label, group in there:
            place = read.places[group].used
            if place is not None:
                found.append((label, place))
        chosen = self._chosen(found, inputs)
        if not chosen:
            return ParseResult.unparsed()
        whole = (
            usable == read.numbers
            and usable[0].bracketed
            and not cut_short(read.text, usable)
            and len(usable) == len(there) == len(chosen)
            and all(read.places[group].intact for group in usable)
        )
        status = ParseStatus.OK if whole else ParseStatus.PARTIAL
        return ParseResult(self._answer(chosen, inputs), status)

    @override
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """`coat [0.10, 0.20, 0.45, 0.60]; sneaker [...]`, or that nothing is there."""
        written = [(p.label, self.notation.write(p.values)) for p in answer.places()]
        if not written:
            return f"There are no {self.things}."
        return "; ".join(f"{label} {place}" if label else place for label, place in written)

    @override
    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Every object found, none made up, at the last of the thresholds."""
        return answer is not None and self.counts(answer, target, self.thresholds[-1]).f1 == 1.0

    @override
    def score(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """`precision`, `recall` and `f1` over all objects; an unparsed answer found none."""
        if not pairs:
            return {}
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
        inputs: InputsT,  # noqa: ARG002 - for subclasses
    ) -> list[FoundPlace]:
        """The places that make the answer: all or none of them have a label."""
        named = [one for one in found if one[0] is not None]
        return named if named or self.needs_labels else found

    def _answer(
        self,
        found: Sequence[FoundPlace],
        inputs: InputsT,  # noqa: ARG002 - for subclasses
    ) -> AnswerT:
        objects = [{"label": label, self.notation.field: place} for label, place in found]
        return self.answer_model.model_validate({"objects": objects})


class OnePlaceTask(PlaceTask[InputsT, AnswerT]):
    """A task whose answer is one place.

    Attributes:
        metric: name of the share of right answers, `{}` for the threshold.
        thresholds: what `is_near` takes; a hit is right at the last one.
    """

    metric: ClassVar[str]
    thresholds: ClassVar[tuple[float, ...]]

    @abstractmethod
    def is_near(self, answer: AnswerT, target: AnswerT, threshold: float) -> bool:
        """Whether an answer is right at a threshold."""

    @override
    def parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """The first place; others beside it, a repair or a guessed frame make it partial."""
        read = self._read(text, inputs)
        found = [one for one in read.places.values() if one.used is not None]
        if not found:
            return ParseResult.unparsed()
        bracketed = next(iter(read.places)).bracketed
        whole = found[0].intact and bracketed and self._is_alone(read)
        answer = self.answer_model.model_validate({self.notation.field: found[0].used})
        return ParseResult(answer, ParseStatus.OK if whole else ParseStatus.PARTIAL)

    @override
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """`[0.512, 0.340]`, the place alone."""
        [place] = answer.places()
        return self.notation.write(place.values)

    @override
    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Right at the last of the thresholds."""
        return self._is_right(answer, target, self.thresholds[-1])

    @override
    def score(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """The share of right answers at each threshold; an unparsed answer is wrong."""
        if not pairs:
            return {}
        return {
            self.metric.format(one): proportion(
                sum(self._is_right(a, t, one) for a, t in pairs), len(pairs)
            )
            for one in self.thresholds
        }

    @override
    def form(self, inputs: InputsT) -> str | None:
        """One place."""
        return f"answer: {self.notation.pattern}"

    def _is_alone(self, read: ReadText) -> bool:
        """Whether the text has no numbers but those of one place."""
        places = {one.used for one in read.places.values() if one.used is not None}
        return len(places) == 1 and list(read.places) == read.numbers

    def _is_right(self, answer: AnswerT | None, target: AnswerT, threshold: float) -> bool:
        return answer is not None and self.is_near(answer, target, threshold)

    @override
    def _is_usable(self, group: Group, text: str) -> bool:
        return super()._is_usable(group, text) and not is_denied(text, group)
