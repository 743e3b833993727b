"""How a model writes places: a dialect reads a text, and says what it could not read.

Readers are pure functions of a text. They never raise, whatever the text is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lamm_model.tasks.models import Numbers, PlaceKind
from lamm_model.tasks.reading.coordinates import Scale, Size

# A longer text is cut before it is read, and the answer is partial. Answers have a few kilobytes.
MAX_CHARACTERS = 100_000
# A larger number is not a coordinate.
MAX_NUMBER = 1e6

Pair = tuple[float, float]
_KINDS = {
    2: PlaceKind.POINT, 4: PlaceKind.BOX, 6: PlaceKind.BOX_3D, 7: PlaceKind.BOX_3D
}  # fmt: skip


class Frame(StrEnum):
    """What the coordinates of a picture are parts of; `pixels` needs the picture's size."""

    SHARES = "0-1"
    PERCENT = "0-100"
    PER_MILLE = "0-1000"
    PIXELS = "pixels"

    def scale(self, size: Size | None) -> Scale:
        """The divisor of (x, y); None for pixels of a picture of unknown size."""
        if self is Frame.PIXELS:
            return size
        most = float(self.value.partition("-")[2])
        return most, most


@dataclass(frozen=True, slots=True)
class Told:
    """A place as a text gives it.

    Attributes:
        values: x, y or x, y, x, y in the order of the text, or x, y, z, l, w, h in metres, with
            the yaw in radians where the text states one.
        words: what the text calls it; may be empty.
        scale: the divisor of (x, y), where the notation or the text fixes it.
        y_first: whether y is written before x, where the notation fixes it.
        in_prose: whether `words` are the sentence before the place rather than a label.
    """

    values: Numbers
    words: str = ""
    scale: Pair | None = None
    y_first: bool | None = None
    in_prose: bool = False

    @property
    def kind(self) -> PlaceKind:
        """The kind of place, by the count of its numbers."""
        return _KINDS[len(self.values)]


@dataclass(frozen=True, slots=True)
class Telling:
    """The places of a text in order, and a sentence for each part that could not be read."""

    places: tuple[Told, ...] = ()
    faults: tuple[str, ...] = ()


Reader = Callable[[str], Telling | None]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A notation of places, and the models that write it.

    Attributes:
        name: the value of `--dialect`.
        models: the models that write it, for people.
        example: an answer in it.
        reader: returns None for a text without this notation.
        frame: the frame of its numbers unless the notation itself fixes one; None: not known.
        marks: texts that only this dialect has, so that `auto` can tell it and its frame.
        y_first: whether y is written before x.
        seen: the size of the picture that the model sees, from the size of the one sent.
    """

    name: str
    models: str
    example: str
    reader: Reader
    frame: Frame | None = None
    marks: tuple[str, ...] = ()
    y_first: bool = False
    seen: Callable[[Size], Size] | None = None


def numbers(values: Iterable[object]) -> Numbers | None:
    """Finite numbers of a sensible size as floats; None if any is something else."""
    found: list[float] = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            return None
        found.append(float(value))
    return tuple(found)


def number(text: str) -> float | None:
    """A number in a text that holds nothing else; None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -MAX_NUMBER <= value <= MAX_NUMBER else None


def shown(value: object) -> str:
    """The start of what could not be read, for a fault."""
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def telling(places: Sequence[Told], faults: Sequence[str]) -> Telling | None:
    """What was read; None if the text has nothing of the notation."""
    return Telling(tuple(places), tuple(faults)) if places or faults else None
