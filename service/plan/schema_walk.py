"""The parts of a JSON schema, with their places as JSON pointers (RFC 6901)."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Keywords with subschemas: a single one, a list, or an object of them.
ONE = (
    "items", "additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if",
    "then", "else", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a schema is refused, and where: a JSON pointer into it, "" for the whole."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """A key on the way to a part of the schema; `above` is the rest of the way."""

    above: Place | None = None
    key: str | int = ""

    def __str__(self) -> str:
        keys: list[str] = []
        place: Place | None = self
        while place is not None and place.above is not None:
            keys.append(str(place.key)[:_MAX_SHOWN].replace("~", "~0").replace("/", "~1"))
            place = place.above
        shown = "".join(f"/{key}" for key in reversed(keys))
        return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."

    def __truediv__(self, key: str | int) -> Place:
        return Place(self, key)


def values(schema: Any) -> Iterator[tuple[Place, int, Any]]:
    """Every value in it with its place and depth, the outer ones first."""
    rest: list[tuple[Place, int, Any]] = [(Place(), 0, schema)]
    while rest:
        place, depth, value = rest.pop()
        yield place, depth, value
        if isinstance(value, dict):
            rest += [(place / key, depth + 1, value[key]) for key in reversed(value)]
        elif isinstance(value, list):
            numbered = reversed(list(enumerate(value)))
            rest += [(place / index, depth + 1, one) for index, one in numbered]


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The schemas directly in it, with the keys that lead to each."""
    for name in ONE:
        if name in schema and not isinstance(schema[name], list):
            yield (name,), schema[name]
    for name in LISTS:
        if isinstance(schema.get(name), list):
            for index, part in enumerate(schema[name]):
                yield (name, index), part
    for name in MAPS:
        if isinstance(schema.get(name), dict):
            for key, part in schema[name].items():
                yield (name, key), part


def all_schemas(root: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The schema and all schemas in it, once each, with what its references name elsewhere."""
    rest: list[tuple[Place, Any]] = [(Place(), root)]
    known: set[int] = set()
    while rest:
        place, schema = rest.pop()
        if id(schema) in known and isinstance(schema, dict):
            continue
        known.add(id(schema))
        yield place, schema
        if isinstance(schema, dict):
            found = target(root, schema.get("$ref"))
            if isinstance(found, dict) and id(found) not in known:
                # Its own place if it is among the schemas, which are read first.
                rest.insert(0, (place / "$ref", found))
            for keys, part in reversed(list(subschemas(schema))):
                below = place
                for key in keys:
                    below /= key
                rest.append((below, part))


def place_of(reference: str) -> Place:
    """The place that a reference names."""
    place = Place()
    for part in urllib.parse.unquote(reference[1:]).split("/")[1:]:
        place /= part.replace("~1", "/").replace("~0", "~")
    return place


def target(root: dict[str, Any], reference: Any) -> Any:
    """What a reference such as `#/$defs/a` names in the schema, None if nothing."""
    if not isinstance(reference, str) or not (reference in ("#", "") or reference[:2] == "#/"):
        return None
    found: Any = root
    for part in urllib.parse.unquote(reference[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
            found = found[int(name[:9])]
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            return None
    return found
