"""Types of optional fields: null means the default, and fields without effect take any value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, PydanticUseDefault, core_schema


class NullIsAbsent:
    """Annotation of a field with a default: null has the same effect as leaving the field out.

    Typed clients write every field that they know, and null for those that are not set.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_default_if_null, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _default_if_null(value: Any) -> Any:
    if value is None:
        raise PydanticUseDefault
    return value


def _drop(_: Any) -> None:
    return None


# A field that nothing reads: any value is accepted, and none is kept in memory.
Unread = Annotated[Any, AfterValidator(_drop)]


def refused(reason: str) -> PydanticCustomError:
    """The error of a value that is not supported; `reason` completes its message."""
    return PydanticCustomError("refused", "is not supported: {reason}", {"reason": reason})


class Refused:
    """Annotation of an optional field that is not supported: null and values that ask for nothing
    are accepted.

    Ignoring other values would give another answer than the client asked for.
    """

    def __init__(self, reason: str, *nothing: bool | int | str | list[Any]) -> None:
        """`reason` completes the error message; `nothing` are the accepted values besides null."""
        self._reason, self._nothing = reason, nothing

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"enum": [None, *self._nothing], "description": f"not supported: {self._reason}"}

    def _check(self, value: Any) -> Any:
        # Compared with its type: 0 is not false.
        known = ((type(one), one) for one in self._nothing)
        if value is not None and (type(value), value) not in known:
            raise refused(self._reason)
        return value
