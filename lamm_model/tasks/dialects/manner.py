"""The dialect, frame and order of coordinates in which the answers of one model are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lamm_model.tasks.dialects.auto import read_auto
from lamm_model.tasks.dialects.base import MAX_CHARACTERS, Frame, Telling, Told
from lamm_model.tasks.dialects.registry import DIALECTS
from lamm_model.tasks.models import Numbers, PlaceKind
from lamm_model.tasks.reading.coordinates import OVERSHOOT, Group, Scale, Size, is_share, scale_of

LAMM, AUTO = "lamm", "auto"
DIALECT_NAMES = (LAMM, AUTO, *DIALECTS)


@dataclass(frozen=True, slots=True)
class Placed:
    """A place in the answer's frame: shares of the picture's sides, or metres and a yaw.

    `values` is None for a place that cannot be used; `intact`: nothing was repaired or guessed.
    """

    words: str
    values: Numbers | None
    intact: bool
    in_prose: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model writes places.

    Attributes:
        dialect: a name of `DIALECT_NAMES`; `lamm` is the reading of free text.
        frame: the frame of its numbers; None for the dialect's own, or a guess in each text.
        y_first: whether y is written before x, besides the dialects that do so anyway.
    """

    dialect: str = LAMM
    frame: Frame | None = None
    y_first: bool = False

    def __post_init__(self) -> None:
        if self.dialect not in DIALECT_NAMES:
            names = ", ".join(DIALECT_NAMES)
            raise ValueError(f"dialect {self.dialect!r} is not one of {names}")

    def read(self, text: str, size: Size | None) -> tuple[list[Placed], tuple[str, ...]] | None:
        """The places of a text and its faults; None without the dialect's notation.

        Args:
            text: the answer.
            size: width and height of the picture, needed for pixels.
        """
        told = self._told(text[:MAX_CHARACTERS], size)
        if told is None:
            return None
        cut = (f"longer than {MAX_CHARACTERS} characters",) if len(text) > MAX_CHARACTERS else ()
        scale, known = self._scale(told.places, size)
        places = [self._placed(one, scale, known) for one in told.places]
        return places, (*told.faults, *cut)

    def placed_group(self, group: Group, size: Size | None) -> Group:
        """A group of free text in shares, where a frame or the order is stated.

        A unit in the text takes precedence over the frame.
        """
        values = _swapped(group.values) if self._is_y_first(None) else group.values
        frame = self.frame_in_use
        scale = None if frame is None or group.unit is not None else self._divisor(frame, size)
        if scale is None or (frame is not Frame.SHARES and _are_fractions(values)):
            return replace(group, values=values)
        return replace(group, values=tuple(v / scale[i % 2] for i, v in enumerate(values)))

    @property
    def frame_in_use(self) -> Frame | None:
        """The stated frame, or that of the dialect; None where each text is guessed."""
        own = DIALECTS[self.dialect].frame if self.dialect in DIALECTS else None
        return self.frame or own

    def _is_y_first(self, fixed: bool | None) -> bool:
        if fixed is not None:
            return fixed
        return self.y_first or (self.dialect in DIALECTS and DIALECTS[self.dialect].y_first)

    def _told(self, text: str, size: Size | None) -> Telling | None:
        if self.dialect == LAMM:
            return None
        if self.dialect == AUTO:
            found = read_auto(text, size)
            return None if found is None else found[1]
        return DIALECTS[self.dialect].reader(text)

    def _scale(self, places: Sequence[Told], size: Size | None) -> tuple[Scale, bool]:
        """The divisor of places without one of their own, and whether it is stated."""
        frame = self.frame_in_use
        if frame is not None:
            return self._divisor(frame, size), True
        groups = [Group(p.values, None, 0, 0, True) for p in places if p.kind != PlaceKind.BOX_3D]
        known = all(map(is_share, groups))
        return ((1.0, 1.0) if known else scale_of(groups, size)), known

    def _divisor(self, frame: Frame, size: Size | None) -> Scale:
        seen = DIALECTS[self.dialect].seen if self.dialect in DIALECTS else None
        if size is not None and seen is not None and self.frame is None:
            size = seen(size)
        return frame.scale(size)

    def _placed(self, told: Told, scale: Scale, known: bool) -> Placed:
        if told.kind is PlaceKind.BOX_3D:
            return Placed(told.words, told.values, True, told.in_prose)
        values = _swapped(told.values) if self._is_y_first(told.y_first) else told.values
        own = told.scale or scale
        if told.scale is None and self.frame_in_use is not Frame.SHARES and _are_fractions(values):
            # Whole numbers are expected, so these are shares, as the question asks for them.
            own, known = (1.0, 1.0), known and self.frame_in_use is None
        found, intact = _shares(values, own)
        is_known = known or told.scale is not None
        return Placed(told.words, found, intact and is_known, told.in_prose)


FREE_TEXT = Manner()


def _shares(values: Numbers, scale: Scale) -> tuple[Numbers | None, bool]:
    """Shares of 0-1 and whether none was clipped; None far outside or in an unknown frame."""
    if scale is None:
        return None, False
    found = tuple(value / scale[i % 2] for i, value in enumerate(values))
    if any(not -OVERSHOOT <= value <= 1 + OVERSHOOT for value in found):
        return None, False
    clipped = tuple(min(1.0, max(0.0, value)) for value in found)
    return clipped, clipped == found


def _are_fractions(values: Numbers) -> bool:
    return all(0 <= v <= 1 for v in values) and any(v != int(v) for v in values)


def _swapped(values: Numbers) -> Numbers:
    """Pairs of y and x as pairs of x and y."""
    if len(values) % 2:
        return values
    return tuple(values[i ^ 1] for i in range(len(values)))
