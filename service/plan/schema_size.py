"""How long the shortest values of a JSON schema are, and whether there are any.

A schema may need itself: an object that requires another of its own kind has no finite value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from service.plan.schema_walk import Fault, Place, place_of, target

# Longer chains of references, each to an earlier one, are not followed.
_MAX_ROUNDS = 32
_MAX_SIZE = 1 << 20
# Characters of a value whose shortest is not known: a pattern's, a format's, a number's.
_PATTERN, _NUMBER, _LITERAL = 64, 8, 5


class Sizes:
    """Estimates for all schemas in one schema, in characters. A token has at least one."""

    def __init__(self, root: dict[str, Any], known: Sequence[tuple[Place, Any]]) -> None:
        """`known` are the root's schemas, as `all_schemas` gives them; none is malformed."""
        self._root = root
        self._schemas = [(place, one) for place, one in known if isinstance(one, dict)]
        self._sizes: dict[int, float] = {id(one): math.inf for _, one in self._schemas}
        self._complete = False
        for _ in range(_MAX_ROUNDS):
            if not self._update():
                self._complete = True
                break

    @property
    def largest(self) -> int:
        """Size of the largest property or item, with its name and separators."""
        named = [
            len(name) + 8 + self._size(part)
            for _, one in self._schemas
            for name, part in _properties(one).items()
        ]
        # The whole is no part of itself, unless it refers to itself.
        refers = any(target(self._root, one.get("$ref")) is self._root for _, one in self._schemas)
        parts = [size for key, size in self._sizes.items() if refers or key != id(self._root)]
        found = [size for size in (*named, *parts) if math.isfinite(size)]
        return min(int(max(found, default=0)) + 4, _MAX_SIZE)

    def endless(self) -> Fault | None:
        """Where the schema has no finite value; None if it has one."""
        if not self._complete or math.isfinite(self._size(self._root)):
            return None
        place, one = Place(), self._root
        seen: set[int] = set()
        while True:
            seen.add(id(one))
            found = next((keys, part) for keys, part in self._needed(one) if self._is_endless(part))
            keys, below = found
            if not isinstance(below, dict) or keys[0] != "$ref" or id(below) in seen:
                for key in keys:
                    place /= key
            else:
                place = place_of(one["$ref"])
            if not isinstance(below, dict):
                return Fault(str(place), "no value satisfies it")
            if id(below) in seen:
                return Fault(str(place), "it needs itself, so that no finite value satisfies it")
            one = below

    def _is_endless(self, schema: Any) -> bool:
        return math.isinf(self._size(schema))

    def _update(self) -> bool:
        changed = False
        for _, one in reversed(self._schemas):
            size = min(self._measure(one), _MAX_SIZE) if self._has_value(one) else math.inf
            changed = changed or size != self._sizes[id(one)]
            self._sizes[id(one)] = size
        return changed

    def _size(self, schema: Any) -> float:
        if isinstance(schema, dict):
            return self._sizes.get(id(schema), _LITERAL)
        return math.inf if schema is False else _LITERAL

    def _has_value(self, one: dict[str, Any]) -> bool:
        return not any(self._is_endless(part) for keys, part in self._needed(one)
                       if keys[0] not in ("anyOf", "oneOf")) and all(
            any(not self._is_endless(part) for part in one[name])
            for name in ("anyOf", "oneOf") if name in one
        )  # fmt: skip

    def _needed(self, one: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """Schemas without a value of which it has none; of `anyOf` and `oneOf`, all together."""
        if "$ref" in one and (found := target(self._root, one["$ref"])) is not None:
            yield ("$ref",), found
        for index, part in enumerate(one.get("allOf", ())):
            yield ("allOf", index), part
        for name in ("anyOf", "oneOf"):
            if all(map(self._is_endless, one.get(name, ()))):
                for index, part in enumerate(one.get(name, ())):
                    yield (name, index), part
        if one.get("type") == "object":
            for name in one.get("required", ()):
                if name in _properties(one):
                    yield ("properties", name), _properties(one)[name]
        if one.get("type") == "array":
            for keys, part in _first_items(one):
                yield keys, part

    def _measure(self, one: dict[str, Any]) -> float:
        """Characters of a short value; where there are several parts, of all of them."""
        combined = [part for name in ("allOf",) for part in one.get(name, ())]
        if "$ref" in one and (found := target(self._root, one["$ref"])) is not None:
            combined.append(found)
        total = sum(self._size(part) for part in combined)
        for name in ("anyOf", "oneOf"):
            total += min((self._size(part) for part in one.get(name, ())), default=0)
        return total + self._own(one)

    def _own(self, one: dict[str, Any]) -> float:
        if "const" in one:
            return len(json.dumps(one["const"]))
        if "enum" in one:
            return max(len(json.dumps(value)) for value in one["enum"])
        named = one.get("type")
        types = named if isinstance(named, list) else [named]
        return min(self._of_type(kind, one) for kind in types)

    def _of_type(self, kind: str | None, one: dict[str, Any]) -> float:
        if kind == "string":
            has_form = "pattern" in one or "format" in one
            return float(2 + one.get("minLength", 0) + _PATTERN * has_form)
        if kind in ("integer", "number"):
            limits = (one.get(name, 0) for name in ("minimum", "maximum"))
            return float(max(_NUMBER, *(len(str(limit)) for limit in limits)))
        if kind == "array":
            items = [self._size(part) + 2 for _, part in _first_items(one)]
            missing = max(int(one.get("minItems", 0)) - len(items), 0)
            return float(2 + sum(items) + missing * (items[-1] if items else _LITERAL))
        if kind == "object" or (kind is None and "properties" in one):
            properties = _properties(one)
            return 2 + sum(
                len(name) + 6 + self._size(properties.get(name)) for name in one.get("required", ())
            )
        return _LITERAL


def _properties(one: dict[str, Any]) -> dict[str, Any]:
    found = one.get("properties")
    return found if isinstance(found, dict) else {}


def _first_items(one: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The items that an array must have, a repeated one once."""
    count = one.get("minItems", 0)
    prefix = one.get("prefixItems", one["items"] if isinstance(one.get("items"), list) else [])
    for index, part in enumerate(prefix[:count]):
        yield ("prefixItems" if "prefixItems" in one else "items", index), part
    if count > len(prefix) and not isinstance(one.get("items", []), list):
        yield ("items",), one["items"]
