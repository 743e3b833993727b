"""Numbers and the units beside them: lengths and shares, and the angle of a yaw."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
UNIT = r"(?:%|px|pixels?|m|metres?|meters?)"
ANGLE = r"(?:rad(?:ians?)?|deg(?:rees?)?|\u00b0)"
DEGREES = "deg"


def is_angle(unit: str) -> bool:
    """Whether a unit is one of angles."""
    return re.fullmatch(ANGLE, unit) is not None


def kind_of(units: Sequence[str]) -> str | None:
    """The unit of a group of numbers: "%", "px", "m", or "deg" if one is in degrees; else None.

    Radians are the unit of a yaw without one.
    """
    if any(is_angle(unit) and not unit.startswith("rad") for unit in units):
        return DEGREES
    lengths = [unit for unit in units if not is_angle(unit)]
    if not lengths:
        return None
    return "%" if lengths[0] == "%" else "px" if lengths[0].startswith("p") else "m"
