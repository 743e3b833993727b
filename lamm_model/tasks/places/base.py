"""The base of the tasks whose answers have places: the readings of a text's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from lamm_model.tasks.base import AnswerT, InputsT, Task, WrittenPlace
from lamm_model.tasks.places.notations import Notation, Reading
from lamm_model.tasks.reading.coordinates import Group, scale_of, tidy


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
        found = ((group, read.places.get(group, Reading())) for group in read.numbers)
        return [
            WrittenPlace(read.text[group.start : group.end], one.given, one.used)
            for group, one in found
        ]

    def _read(self, text: str, inputs: InputsT) -> ReadText:
        text = tidy(text)
        numbers = self.notation.numbers(text)
        usable = [group for group in numbers if self._is_usable(group, text)]
        scale = scale_of(usable, getattr(inputs, "size", None))
        return ReadText(text, numbers, {g: self.notation.read(g, scale) for g in usable})

    def _is_usable(self, group: Group, text: str) -> bool:  # noqa: ARG002 - for subclasses
        return self.notation.is_place(group)
