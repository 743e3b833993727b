"""What of a JSON schema costs too much to compile, told from its text alone. Pure.

Called by `grammar_options`. The compiler has limits of its own for most of its work, and none for
these: patterns that must hold at once (every one more doubles the time, and then the memory, until
the process dies of it), properties by pattern (each is compared with all others), and long patterns
(a step of the engine stands still for seconds).
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

MAX_PATTERN_CHARACTERS = 4096
MAX_PATTERN_PROPERTIES = 32
MAX_PATTERNS_AT_ONCE = 8

# Longer chains of references, each to one that stands before it, are refused unread.
_MAX_ROUNDS = 64
# Where schemas stand in a schema: by themselves, in a list, or under names.
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not")
_LISTS = ("prefixItems", "items")
_COMBINING = ("allOf", "anyOf", "oneOf")


def cost_fault(schema: dict[str, Any]) -> str | None:
    """Why the schema is not compiled, in words for its sender; None where nothing is wrong."""
    objects = list(_objects(schema))
    patterns = [one["pattern"] for one in objects if isinstance(one.get("pattern"), str)]
    by_pattern = [
        name
        for one in objects
        if isinstance(one.get("patternProperties"), dict)
        for name in one["patternProperties"]
    ]
    longest = max(map(len, (*patterns, *by_pattern)), default=0)
    if longest > MAX_PATTERN_CHARACTERS:
        return f"a pattern has {longest} characters; the limit is {MAX_PATTERN_CHARACTERS}"
    if len(by_pattern) > MAX_PATTERN_PROPERTIES:
        return f"it has {len(by_pattern)} patternProperties; the limit is {MAX_PATTERN_PROPERTIES}"
    total = len(patterns) + sum(isinstance(one.get("format"), str) for one in objects)
    nested_ids = any("$id" in one for one in objects if one is not schema)
    if total > MAX_PATTERNS_AT_ONCE and not _Conjunctions(schema, total, nested_ids).are_small():
        return (
            f"more than {MAX_PATTERNS_AT_ONCE} of its {total} patterns and formats may have to "
            "hold at once"
        )
    return None


class _Conjunctions:
    """How many patterns may have to hold at once for any one value, at most, in each subschema.

    Where schemas are combined, those of their parts are added up, whichever parts they are.
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
        """Whether none is above the limit, however references lead."""
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
        """What `$ref` names, None where that cannot be told here."""
        reference = one.get("$ref")
        if not isinstance(reference, str) or self._nested_ids or not reference.startswith("#"):
            return None
        found: Any = self._root
        for part in urllib.parse.unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict):
                found = found.get(name)
            else:
                return None
        return found if reference in ("#", "") or reference.startswith("#/") else None


def _parts(one: dict[str, Any]) -> tuple[list[Any], ...]:
    """Subschemas: of `allOf`, `anyOf`, `oneOf`; of members that differ; of members by pattern."""
    combined = (value if isinstance(value := one.get(name), list) else [] for name in _COMBINING)
    members = [one[name] for name in _ONE if isinstance(one.get(name), dict)]
    members += [part for name in _LISTS if isinstance(one.get(name), list) for part in one[name]]
    members += _values(one, "properties")
    return (*combined, members, _values(one, "patternProperties"))


def _values(one: dict[str, Any], name: str) -> list[Any]:
    return list(one[name].values()) if isinstance(one.get(name), dict) else []


def _objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in it, be it a schema or not."""
    rest: list[Any] = [schema]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            yield one
            rest += one.values()
        elif isinstance(one, list):
            rest += one
