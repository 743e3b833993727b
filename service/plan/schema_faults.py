"""Finds the faults of a JSON schema before it is compiled, with their places.

The compiler reports few faults, and none with its place; some show only in the middle of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from service.plan.schema_size import Sizes
from service.plan.schema_walk import (
    MAPS,
    Fault,
    all_schemas,
    target,
    values,
)

# The compiler reads 128 levels of JSON, a few of which are the service's own.
MAX_DEPTH = 120
# No answer has as many tokens.
MAX_LENGTH = 1 << 20
# What the compiler can count to.
_MAX_COUNT = (1 << 32) - 1
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_PAIRS = (
    *((f"min{what}", f"max{what}") for what in ("Length", "Items", "Properties")),
    ("minimum", "maximum"),
)
_ALTERNATIVES = ("anyOf", "oneOf")


def schema_fault(schema: dict[str, Any]) -> tuple[Fault | None, int]:
    """The schema's first fault, and an upper bound of the tokens of its largest property or item.

    The bound is that of `GrammarSource.reserve`; it has no meaning for a faulty schema.
    """
    if (fault := _value_fault(schema)) is not None:
        return fault, 0
    known = list(all_schemas(schema))
    # Names given by `$id` and `$anchor` are left to the compiler.
    named = any(isinstance(one, dict) and not {"$id", "$anchor"}.isdisjoint(one)
                for _, one in known)  # fmt: skip
    for place, one in known:
        if (found := _fault(schema, one, named)) is not None:
            return Fault(f"{place}{found.place}", found.reason), 0
    sizes = Sizes(schema, known)
    endless = sizes.endless()
    return endless, sizes.largest


def _value_fault(schema: dict[str, Any]) -> Fault | None:
    """Numbers, texts and depths that JSON or the compiler cannot express."""
    if "x-guidance" in schema:
        return Fault("/x-guidance", "unsupported keywords: x-guidance")
    for place, depth, value in values(schema):
        if depth > MAX_DEPTH:
            return Fault(str(place), f"it is nested too deeply; the limit is {MAX_DEPTH} levels")
        if isinstance(value, float) and not math.isfinite(value):
            return Fault(str(place), "the number is not finite")
        texts = value if isinstance(value, dict) else [value] if isinstance(value, str) else ()
        if not all(map(_is_unicode, texts)):
            return Fault(
                str(place).encode(errors="replace").decode(), "a text is not valid Unicode"
            )
    return None


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _fault(root: dict[str, Any], one: Any, named: bool) -> Fault | None:
    if isinstance(one, bool):
        return None
    if not isinstance(one, dict):
        return Fault("", f"a schema must be an object, true or false; it is {_shown(one)}")
    for name, check in _CHECKS.items():
        if name in one and (reason := check(one[name])):
            return Fault(f"/{name}", reason)
    for low, high in _PAIRS:
        if low in one and high in one and one[low] > one[high]:
            return Fault(
                f"/{low}", f"no value satisfies it: {low} is {one[low]}, {high} {one[high]}"
            )
    return None if named else _reference_fault(root, one)


def _reference_fault(root: dict[str, Any], one: dict[str, Any]) -> Fault | None:
    reference = one.get("$ref")
    if reference is None:
        return None
    if not (reference in ("#", "") or reference.startswith("#/")):
        return Fault("/$ref", "a $ref points outside the schema; only #/... is supported")
    found = target(root, reference)
    if not isinstance(found, dict | bool):
        return Fault("/$ref", f"a $ref has no target in the schema: {reference[:64]!r}")
    return None


def _type_fault(value: Any) -> str | None:
    named = value if isinstance(value, list) else [value]
    for one in named:
        if one not in _TYPES:
            return f"a type is not a JSON type: {_shown(one)}; the types are {', '.join(_TYPES)}"
    return None if named else "no value satisfies it: it is an empty list"


def _length_fault(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return f"must be a whole number of at least 0; it is {_shown(value)}"
    return None if value <= _MAX_COUNT else f"must be at most {_MAX_COUNT}; it is {_shown(value)}"


def _minimum_length_fault(value: Any) -> str | None:
    if (fault := _length_fault(value)) is not None or value <= MAX_LENGTH:
        return fault
    return f"no answer is that long: it is {_shown(value)}; the limit is {MAX_LENGTH}"


def _number_fault(value: Any) -> str | None:
    # `true` is the exclusiveMinimum of draft 4.
    return None if isinstance(value, int | float) else f"must be a number; it is {_shown(value)}"


def _multiple_fault(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return f"must be a number above 0; it is {_shown(value)}"
    return None


def _text_fault(value: Any) -> str | None:
    return None if isinstance(value, str) else f"must be a string; it is {_shown(value)}"


def _names_fault(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return None
    return "must be a list of strings"


def _map_fault(value: Any) -> str | None:
    return None if isinstance(value, dict) else f"must be an object; it is {_shown(value)}"


def _values_fault(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"must be a list; it is {_shown(value)}"
    return None if value else "no value satisfies it: it is an empty list"


def _list_fault(value: Any) -> str | None:
    return None if isinstance(value, list) else f"must be a list; it is {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "an integer of more than 64 bits"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)[:64]


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "type": _type_fault,
    **dict.fromkeys(_LENGTHS, _length_fault),
    **{name: _minimum_length_fault for name in _LENGTHS if name.startswith("min")},
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number_fault),
    "multipleOf": _multiple_fault,
    **dict.fromkeys(("pattern", "format", "$ref"), _text_fault),
    "required": _names_fault,
    **dict.fromkeys(MAPS, _map_fault),
    **dict.fromkeys(("enum", *_ALTERNATIVES), _values_fault),
    **dict.fromkeys(("allOf", "prefixItems"), _list_fault),
}
