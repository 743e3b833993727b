"""Objects keep to the properties that their schema names, where that cannot exclude an answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from service.plan.schema_closing import closed

TEXT: dict[str, Any] = {"type": "string"}
NAMED: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
CLOSED = {**NAMED, "additionalProperties": False}
TO_A = {"$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (NAMED, CLOSED),
        ({"type": "array", "items": NAMED}, {"type": "array", "items": CLOSED}),
        ({"properties": {"b": NAMED}},
         {"properties": {"b": CLOSED}, "additionalProperties": False}),
        ({"anyOf": [NAMED, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({**TO_A, "$defs": {"a": NAMED}}, {**TO_A, "$defs": {"a": CLOSED}}),
        ({"allOf": [TO_A], "title": "A", "$defs": {"a": NAMED}},
         {"allOf": [TO_A], "title": "A", "$defs": {"a": CLOSED}}),
        ({"properties": {"properties": NAMED}},
         {"properties": {"properties": CLOSED}, "additionalProperties": False}),
    ],
)  # fmt: skip
def test_whole_objects_are_closed(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert closed(schema) == expected
    assert schema == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {**NAMED, "additionalProperties": TEXT},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "patternProperties": {"^b": TEXT}},
        {**NAMED, "minProperties": 2},
        {**NAMED, "required": ["a", "b"]},
        {**NAMED, "anyOf": [{"required": ["b"]}, {"required": ["c"]}]},
        {"allOf": [NAMED, {"properties": {"b": NAMED}, "required": ["b"]}]},
        {"properties": {"a": TEXT}, **TO_A, "$defs": {"a": NAMED}},
        {"type": "array", "items": {**TO_A, "required": ["b"]}, "$defs": {"a": NAMED}},
        {"$id": "https://a.example/", **NAMED},
        {"const": NAMED},
    ],
)
def test_what_may_need_other_properties_stays_open(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema
