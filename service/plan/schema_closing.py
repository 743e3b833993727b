"""Keeps the objects of an answer to the properties that their schema names.

JSON Schema allows all others unless `additionalProperties` says otherwise, and a small model goes
on inventing them. An answer without them satisfies the schema all the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from service.plan.schema_walk import all_schemas, subschemas, target

_COMBINING = ("allOf", "anyOf", "oneOf", "$ref")
_OPEN = ("additionalProperties", "patternProperties", "minProperties", "unevaluatedProperties")
# Keywords that say nothing about a value's properties.
_NEUTRAL = frozenset(
    {"type", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"$defs", "definitions", "$schema", "$comment", "discriminator", "nullable"}
)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy whose objects have the named properties alone, where that is certain to be possible.

    Objects that several schemas describe together are left as they are: one of them may require
    what another one does not name. A schema with names of its own (`$id`) is left as it is, too.
    """
    whole = copy.deepcopy(schema)
    known = [one for _, one in all_schemas(whole) if isinstance(one, dict)]
    if any("$id" in one or "$anchor" in one for one in known):
        return schema
    shared = _shared(whole, known)
    for one in known:
        named = one.get("properties")
        if not named or id(one) in shared or not _COMBINED.isdisjoint(one):
            continue
        if set(one.get("required", ())) <= set(named):
            one["additionalProperties"] = False
    return whole


_COMBINED = frozenset((*_COMBINING, *_OPEN))


def _shared(root: dict[str, Any], known: Sequence[dict[str, Any]]) -> set[int]:
    """The schemas that hold for a value together with others, and all in them."""
    rest = [one for one in known if _is_combined(one)]
    found: set[int] = set()
    while rest:
        one = rest.pop()
        if id(one) in found:
            continue
        found.add(id(one))
        below = [part for keys, part in subschemas(one) if keys[0] not in ("$defs", "definitions")]
        rest += [part for part in (*below, target(root, one.get("$ref"))) if isinstance(part, dict)]
    return found


def _is_combined(one: dict[str, Any]) -> bool:
    said = set(one) - _NEUTRAL
    if said.isdisjoint(_COMBINING):
        return False
    # A single reference or choice of whole schemas combines nothing.
    return len(said) > 1 or len(one.get("allOf", ())) > 1
