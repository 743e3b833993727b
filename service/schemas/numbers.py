"""The base of request bodies with numbers: true and false are none.

Python's booleans are integers, so pydantic reads `true` as 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

# Of a camera's pose, whose numbers are the deepest: the camera, its pose, and a row of it.
_MAX_DEPTH = 3


class NumberFields(BaseModel):
    """Refuses booleans in every field whose type has numbers and no booleans.

    Numbers as strings are accepted.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or info.field_name not in _numeric_fields(cls):
            return value
        found = _boolean(value)
        if found is not None:
            place, boolean = found
            if not place:
                raise PydanticCustomError("number_type", "must be a number")
            word = "true" if boolean else "false"
            raise PydanticCustomError(
                "numbers_type", "must have numbers; {place} is {word}",
                {"place": place, "word": word},
            )  # fmt: skip
        return value


@functools.cache
def _numeric_fields(model: type[BaseModel]) -> frozenset[str]:
    kinds = {name: set(_leaves(field.annotation)) for name, field in model.model_fields.items()}
    return frozenset(
        name for name, found in kinds.items() if found & {int, float} and bool not in found
    )


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types within a type, those of dataclasses' fields included; models check their own."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        hints = get_type_hints(annotation)
        for field in fields(annotation):
            yield from _leaves(hints[field.name])
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _leaves(argument)


def _boolean(value: Any, depth: int = _MAX_DEPTH) -> tuple[str, bool] | None:
    """The first boolean within lists and objects, and its place there."""
    if isinstance(value, bool):
        return "", value
    if not depth or not isinstance(value, list | dict):
        return None
    parts = value.values() if isinstance(value, dict) else value
    # A prompt may have a million token ids, which are compared by type at the speed of C.
    if not {bool, list, dict} & set(map(type, parts)):
        return None
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        found = _boolean(part, depth - 1)
        if found is not None:
            place = f"[{key}]" if isinstance(key, int) else f".{key[:64]}"
            return place + found[0], found[1]
    return None
