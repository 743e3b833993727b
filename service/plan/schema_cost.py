"""Detects JSON schemas that are too expensive to compile, from their text alone.

The compiler limits most of its work, but not these: patterns that must match at once (each one
doubles time and memory, until the process is killed), patternProperties (each is compared with all
others), and long patterns (an engine step blocks for seconds).
"""

from __future__ import annotations

from typing import Any

from service.plan.schema_walk import Fault, target, values

MAX_PATTERN_CHARACTERS = 4096
MAX_PATTERN_PROPERTIES = 32
MAX_PATTERNS_AT_ONCE = 8

# Longer chains of references, each to an earlier one, are refused unread.
_MAX_ROUNDS = 64
# Keywords whose subschemas apply to separate members of a value, or to the value itself.
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not")
_COMBINING = ("allOf", "anyOf", "oneOf")


def cost_fault(schema: dict[str, Any]) -> Fault | None:
    """Why the schema is not compiled, and where; None if it may be."""
    objects = [value for _, _, value in values(schema) if isinstance(value, dict)]
    patterns = [one["pattern"] for one in objects if isinstance(one.get("pattern"), str)]
    by_pattern = [
        name
        for one in objects
        if isinstance(one.get("patternProperties"), dict)
        for name in one["patternProperties"]
    ]
    longest = max(map(len, (*patterns, *by_pattern)), default=0)
    if longest > MAX_PATTERN_CHARACTERS:
        return Fault(
            _place_of_pattern(schema, longest),
            f"a pattern has {longest} characters; the limit is {MAX_PATTERN_CHARACTERS}",
        )
    if len(by_pattern) > MAX_PATTERN_PROPERTIES:
        return Fault(
            "", f"it has {len(by_pattern)} patternProperties; the limit is {MAX_PATTERN_PROPERTIES}"
        )
    total = len(patterns) + sum(isinstance(one.get("format"), str) for one in objects)
    nested_ids = any("$id" in one for one in objects if one is not schema)
    if total > MAX_PATTERNS_AT_ONCE and not _Conjunctions(schema, total, nested_ids).are_small():
        return Fault(
            "",
            f"more than {MAX_PATTERNS_AT_ONCE} of its {total} patterns and formats may "
            "apply at once",
        )
    return None


class _Conjunctions:
    """The maximum number of patterns that may apply to one value at once, per subschema.

    Where schemas are combined, the numbers of their parts are added.
    """

    def __init__(self, root: dict[str, Any], total: int, nested_ids: bool) -> None:
        self._root, self._total, self._nested_ids = root, total, nested_ids
        self._known: dict[int, int] = {}
        self._schemas: list[dict[str, Any]] = []
        rest: list[Any] = [root]
        while rest:
            one = rest.pop()
            if isinstance(one, dict) and id(one) not in self._known:
                self._known[id(one)] = 0
                self._schemas.append(one)
                rest += [part for parts in _parts(one) for part in parts]
                rest.append(self._target(one))

    def are_small(self) -> bool:
        """Whether none exceeds the limit, following references."""
        for _ in range(_MAX_ROUNDS):
            changed = False
            for one in reversed(self._schemas):
                count = self._count(one)
                if count > MAX_PATTERNS_AT_ONCE:
                    return False
                changed = changed or count != self._known[id(one)]
                self._known[id(one)] = count
            if not changed:
                return True
        return False

    def _count(self, one: dict[str, Any]) -> int:
        all_of, any_of, one_of, by_name, by_pattern = (
            [self._known.get(id(part), 0) for part in parts] for parts in _parts(one)
        )
        own = sum(isinstance(one.get(name), str) for name in ("pattern", "format"))
        below = max(by_name, default=0) + sum(by_pattern)
        beside = sum(all_of) + max(any_of, default=0) + max(one_of, default=0)
        return max(own, below) + beside + self._referred(one)

    def _referred(self, one: dict[str, Any]) -> int:
        if "$ref" not in one:
            return 0
        target = self._target(one)
        return self._total if target is None else self._known.get(id(target), 0)

    def _target(self, one: dict[str, Any]) -> Any:
        """The target of `$ref`, None if it cannot be determined here."""
        return None if self._nested_ids else target(self._root, one.get("$ref"))


def _place_of_pattern(schema: dict[str, Any], length: int) -> str:
    for place, _, value in values(schema):
        if not isinstance(value, dict):
            continue
        pattern, named = value.get("pattern"), value.get("patternProperties")
        if isinstance(pattern, str) and len(pattern) == length:
            return str(place / "pattern")
        if isinstance(named, dict) and any(len(name) == length for name in named):
            return str(place / "patternProperties")
    return ""


def _parts(one: dict[str, Any]) -> tuple[list[Any], ...]:
    """Subschemas: of `allOf`, `anyOf`, `oneOf`; of separate members; of patternProperties."""
    combined = (value if isinstance(value := one.get(name), list) else [] for name in _COMBINING)
    members = [one[name] for name in _ONE if isinstance(one.get(name), dict)]
    members += [
        part
        for name in ("prefixItems", "items")
        if isinstance(one.get(name), list)
        for part in one[name]
    ]
    members += _values(one, "properties")
    return (*combined, members, _values(one, "patternProperties"))


def _values(one: dict[str, Any], name: str) -> list[Any]:
    return list(one[name].values()) if isinstance(one.get(name), dict) else []
