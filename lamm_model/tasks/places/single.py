"""Tasks whose answer is one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from typing_extensions import override

from lamm_model.tasks.base import AnswerT, InputsT, ParseResult, PlaceSpan
from lamm_model.tasks.dialects.manner import LAMM
from lamm_model.tasks.metrics import Estimate, proportion
from lamm_model.tasks.places.base import PlaceTask, ReadText, ToldText
from lamm_model.tasks.reading.coordinates import Group
from lamm_model.tasks.reading.places import is_denied
from lamm_model.tasks.reading.words import tokens


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
    def _parse(self, text: str, inputs: InputsT) -> ParseResult[AnswerT]:
        """The first place; others beside it, a repair or a guessed frame make it partial."""
        told = self._told(text, inputs)
        if told is not None:
            return self._from_dialect(told, inputs)
        read = self._read(text, inputs)
        found = [one for one in read.places.values() if one.used is not None]
        if not found:
            return ParseResult.unparsed()
        bracketed = next(iter(read.places)).bracketed
        whole = found[0].intact and bracketed and self._is_alone(read)
        whole = whole and self.manner.dialect == LAMM
        answer = self.answer_model.model_validate({self.notation.field: found[0].used})
        return ParseResult.of(answer, sure=whole)

    def _from_dialect(self, told: ToldText, inputs: InputsT) -> ParseResult[AnswerT]:
        """The first place that a dialect read, of those with the name that was asked for if any."""
        name = tokens(self.sought(inputs) or "")
        usable = [one for one in told.places if one.used is not None]
        named = [one for one in usable if name and tokens(one.placed.words) == name]
        chosen = named or usable
        if not chosen:
            return ParseResult.unparsed(told.faults)
        faults = told.faults
        if len({one.used for one in chosen}) > 1:
            faults = (*faults, f"{len(chosen)} places; expected 1")
        answer = self.answer_model.model_validate({self.notation.field: chosen[0].used})
        return ParseResult.of(answer, sure=chosen[0].intact and not faults, faults=faults)

    def sought(self, inputs: InputsT) -> str | None:  # noqa: ARG002 - for subclasses
        """The name of what is asked for, where a list of places may have one of that name."""
        return None

    @override
    def render(self, answer: AnswerT, inputs: InputsT) -> str:
        """`[0.512, 0.340]`, the place alone."""
        [place] = answer.places()
        return self.notation.write(place.values)

    @override
    def _place_spans(self, text: str, inputs: InputsT) -> list[PlaceSpan]:
        read = self._read(text, inputs)
        found = (group for group, one in read.places.items() if one.used is not None)
        return [PlaceSpan((group.start, group.end)) for group in found][:1]

    @override
    def place_hits(
        self, answer: AnswerT, target: AnswerT, inputs: InputsT, order: Sequence[int]
    ) -> list[bool]:
        return [self.is_hit(answer, target)]

    @override
    def is_hit(self, answer: AnswerT | None, target: AnswerT) -> bool:
        """Right at the last of the thresholds."""
        return answer is not None and self.is_near(answer, target, self.thresholds[-1])

    @override
    def _metrics(self, pairs: Sequence[tuple[AnswerT | None, AnswerT]]) -> Mapping[str, Estimate]:
        """The share of right answers at each threshold; an unparsed answer is wrong."""
        return {
            self.metric.format(one): proportion(
                sum(a is not None and self.is_near(a, t, one) for a, t in pairs), len(pairs)
            )
            for one in self.thresholds
        }

    @override
    def form(self, inputs: InputsT) -> str | None:
        return f"answer: {self.notation.pattern}"

    def _is_alone(self, read: ReadText) -> bool:
        """Whether the text has no numbers but those of one place."""
        places = {one.used for one in read.places.values() if one.used is not None}
        return len(places) == 1 and list(read.places) == read.numbers

    @override
    def _is_usable(self, group: Group, text: str) -> bool:
        return super()._is_usable(group, text) and not is_denied(text, group)
