"""Finds the part of a JSON schema that cannot be compiled, by compiling its parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

from service.engine.base import GrammarError, GrammarKind, GrammarQueueTimeoutError, GrammarSource
from service.engine.grammar.compiler import GrammarCompiler
from service.plan.schema_walk import Place, place_of, subschemas, target, values

_MAX_COMPILED = 64
_MAX_S = 2.0
_DEFINITIONS = ("$defs", "definitions")
_INSIDE = re.compile(r"#/(\$defs|definitions)/")
# Beginning of the reason -> the keyword at fault.
_KEYWORDS = (
    ("a pattern", "pattern"), ("the format", "format"), ("oneOf", "oneOf"),
    ("unsupported keywords: ", ""), ("no value satisfies it, or", "pattern"),
)  # fmt: skip


async def place_of_fault(schema: dict[str, Any], reason: str, compiler: GrammarCompiler) -> str:
    """JSON pointer of the smallest part that is refused alone, as far as it can be told in time.

    `reason` is why the whole schema is refused.
    """
    search = _Search(schema, compiler)
    with contextlib.suppress(TimeoutError, GrammarQueueTimeoutError):
        async with asyncio.timeout(_MAX_S):
            await search.run()
    return str(_keyword(search.place, search.found, reason))


class _Search:
    """Goes down from the whole schema; `place` and `found` are the part reached."""

    def __init__(self, schema: dict[str, Any], compiler: GrammarCompiler) -> None:
        self._root, self._compiler, self._compiled = schema, compiler, 0
        self.place, self.found = Place(), schema

    async def run(self) -> None:
        seen: set[int] = set()
        while id(self.found) not in seen:
            seen.add(id(self.found))
            if not await self._go_down():
                break

    async def _go_down(self) -> bool:
        for keys, part in subschemas(self.found):
            if keys[0] not in _DEFINITIONS and await self._is_refused(part):
                for key in keys:
                    self.place /= key
                self.found = part
                return True
        reference = self.found.get("$ref")
        below = target(self._root, reference)
        if not isinstance(reference, str) or not await self._is_refused(below):
            return False
        self.place, self.found = place_of(reference), below
        return True

    async def _is_refused(self, part: Any) -> bool:
        if not isinstance(part, dict) or self._compiled >= _MAX_COMPILED or not _stands_alone(part):
            return False
        self._compiled += 1
        known = {name: self._root[name] for name in _DEFINITIONS if name in self._root}
        text = json.dumps({**known, **part})
        try:
            await self._compiler.check(GrammarSource(GrammarKind.JSON_SCHEMA, text))
        except GrammarError:
            return True
        return False


def _stands_alone(part: dict[str, Any]) -> bool:
    """Whether all that it refers to is in the definitions of the whole schema."""
    references = [
        value["$ref"] for _, _, value in values(part) if isinstance(value, dict) and "$ref" in value
    ]
    return all(isinstance(one, str) and _INSIDE.match(one) for one in references)


def _keyword(place: Place, found: dict[str, Any], reason: str) -> Place:
    for beginning, keyword in _KEYWORDS:
        if reason.startswith(beginning):
            wanted = keyword or reason.removeprefix(beginning).split(",")[0]
            return place / wanted if wanted in found else place
    return place
