"""Types of optional fields: null means the default, and fields without effect take any value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticUseDefault, core_schema


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
