"""The base of the tasks whose answers have places: the readings of a text's numbers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from typing_extensions import override

from lamm_model.tasks.base import AnswerT, InputsT, PlaceSpan, Task, WrittenPlace
from lamm_model.tasks.dialects.manner import Manner, Placed
from lamm_model.tasks.models import Numbers
from lamm_model.tasks.places.notations import Notation, Reading
from lamm_model.tasks.reading.coordinates import Group, scale_of, tidy
from lamm_model.tasks.reading.final import answer_range, final_answer
from lamm_model.tasks.rotated_boxes import yaw_fault


@dataclass(frozen=True, slots=True)
class ReadText:
    """A tidy text, all its groups of numbers, and the readings of those that are places."""

    text: str
    numbers: list[Group]
    places: dict[Group, Reading]


@dataclass(frozen=True, slots=True)
class ToldPlace:
    """A place that a dialect read, as the task takes it; `used` is None for one it cannot use."""

    placed: Placed
    used: Numbers | None
    intact: bool


@dataclass(frozen=True, slots=True)
class ToldText:
    """The places of a text in a dialect, and what could not be read."""

    places: list[ToldPlace]
    faults: tuple[str, ...]


class PlaceTask(Task[InputsT, AnswerT]):
    """A task whose answers have places, written in one `notation`.

    The inputs may have `size`, the width and height of the picture, so that pixels can be read.
    """

    notation: ClassVar[Notation]

    @override
    def in_manner(self, manner: Manner) -> Self:
        """This task for the answers of a model that writes places in another manner."""
        other = copy.copy(self)
        other.manner = manner
        return other

    @override
    def written_places(self, text: str, inputs: InputsT) -> list[WrittenPlace]:
        read = self._read(final_answer(text), inputs)
        found = ((group, read.places.get(group, Reading())) for group in read.numbers)
        return [
            WrittenPlace(read.text[group.start : group.end], one.given, one.used)
            for group, one in found
        ]

    @override
    def place_spans(self, text: str, inputs: InputsT) -> list[PlaceSpan]:
        start, end = answer_range(text)
        # The answer follows a mark, so that tidying does not join it with what is before it.
        offset = len(tidy(text[:start]))
        return [one.moved(offset) for one in self._place_spans(text[start:end], inputs)]

    @abstractmethod
    def _place_spans(self, text: str, inputs: InputsT) -> list[PlaceSpan]:
        """`place_spans` of an answer without thoughts, as `_parse` reads it."""

    def _read(self, text: str, inputs: InputsT) -> ReadText:
        text = tidy(text)
        numbers = self.notation.numbers(text)
        usable = [group for group in numbers if self._is_usable(group, text)]
        size = getattr(inputs, "size", None)
        placed = {group: group for group in usable}
        if self.notation.is_flat:
            placed = {group: self.manner.placed_group(group, size) for group in usable}
        scale = scale_of(list(placed.values()), size)
        if self.manner.frame_in_use is not None and self.notation.is_flat:
            # Numbers outside the stated frame are not tried in another one.
            scale = scale if any(group.unit for group in usable) else None
        return ReadText(text, numbers, {g: self.notation.read(p, scale) for g, p in placed.items()})

    def _told(self, text: str, inputs: InputsT) -> ToldText | None:
        """What the dialect reads; None with free text, or without the dialect's notation."""
        read = self.manner.read(text, getattr(inputs, "size", None))
        if read is None:
            return None
        places = [self._taken(one) for one in read[0]]
        faults = [self._fault(one.placed) for one in places if one.used is None]
        return ToldText(places, (*read[1], *faults))

    def _fault(self, placed: Placed) -> str:
        words = repr(placed.words.strip()[-40:])
        if placed.values is not None and (fault := yaw_fault(placed.values)):
            return f"{words}: {fault}"
        return f"the place of {words} is outside its frame, or no {self.notation.field}"

    def _taken(self, placed: Placed) -> ToldPlace:
        if placed.values is None:
            return ToldPlace(placed, None, False)
        group = Group(placed.values, None, 0, 0, bracketed=True)
        if not self.notation.is_place(group):
            return ToldPlace(placed, None, False)
        reading = self.notation.read(group, None)
        return ToldPlace(placed, reading.used, placed.intact and reading.intact)

    def _is_usable(self, group: Group, text: str) -> bool:  # noqa: ARG002 - for subclasses
        return self.notation.is_place(group)
