"""Validation errors in our own words, limited in number and length.

Messages are made from pydantic's error types and contexts; its own texts are not passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.schemas.json_fault import json_fault

_MAX_ERRORS = 3
_MAX_VALUE = 64
# Parts of an error's location that name a branch of the schema, not a part of the request.
_BRANCHES = frozenset(
    {"body", "text", "parts", "image_url", "point_cloud_url", "file", "constrained-str"}
    | {"texts", "tokens", "lists"}
    | {"items", "message", "function_call", "function_call_output"}
    | {"input_text", "output_text", "refusal", "input_image", "input_file"}
)

_TEMPLATES: Mapping[str, str] = {
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be above {gt}",
    "less_than": "must be below {lt}",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_unicode": "must be valid Unicode",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "must be an integer of reasonable size",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dataclass_type": "must be an object",
    "tuple_type": "must be a list",
    "unexpected_keyword_argument": "is not a known field",
    "too_long": "must have at most {max_length} entries; it has {actual_length}",
    "too_short": "must have at least {min_length} entries",
    "literal_error": "must be one of {expected}",
    "union_tag_invalid": "has the unknown type {tag!r}; it must be one of {expected_tags}",
    "union_tag_not_found": "must be a string, a list of parts, or a part with a `type`",
    "json_invalid": "{fault}",
    "none_required": "must be left out or null",
    "extra_forbidden": "is not a known field",
    "wrong_medium": "has {found}; this task takes {takes}",
    # Raised by our own validators, with our own messages.
    "value_error": "is not valid: {error}",
    "prompt_type": "must be text, a list of texts, or token ids",
    "cloud_field": "is not valid: {refusal}",
    "one_source": "must have either url or file_id",
    "one_file": "must have either file_id or file_data",
    "one_image": "must have either image_url or file_id",
    "no_schema": "has type json_schema but no schema",
    "number_type": "must be a number",
    "numbers_type": "must have numbers; {place} is {word}",
    "refused": "is not supported: {reason}",
}


def describe_validation(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """(message, param of the first error) of pydantic's error list."""
    shown = [_describe(error) for error in errors[:_MAX_ERRORS]]
    more = len(errors) - len(shown)
    message = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
    return message, place(errors[0]["loc"]) or None


def place(location: Sequence[str | int]) -> str:
    """`("body", "messages", 0, "content", "parts", 1)` -> `messages[0].content[1]`."""
    text = ""
    branch_allowed = True
    for index, whole in enumerate(location):
        if isinstance(whole, int):
            text += f"[{whole}]"
            branch_allowed = True
            continue
        part = whole[: _MAX_VALUE * 2]  # a key may be megabytes
        if part in _BRANCHES and branch_allowed and _is_branch(location, index):
            branch_allowed = part != "parts"
        elif "[" not in part:
            text += f".{part}" if text else part
            branch_allowed = True
    return text[: _MAX_VALUE * 2]


def _is_branch(location: Sequence[str | int], index: int) -> bool:
    """A tag comes first, after `content`, `prompt` or `stop`, or after a part's index."""
    if index == 0:
        return location[index] == "body"
    before = location[index - 1]
    if before in ("content", "prompt", "stop", "input", "output"):
        return True
    return isinstance(before, int) and ("parts" in location or "items" in location)


def _describe(error: Mapping[str, Any]) -> str:
    kind = str(error["type"])
    where = "the request body" if kind == "json_invalid" else place(error["loc"])
    context = {name: str(value)[:256] for name, value in (error.get("ctx") or {}).items()}
    if kind == "json_invalid":
        context["fault"] = json_fault(context.get("error", ""), error.get("input") or b"")
    try:
        what = _TEMPLATES.get(kind, "has a value that is not allowed").format(**context)
    except KeyError:
        what = "has a value that is not allowed"
    value = error.get("input")
    if kind not in ("missing", "json_invalid") and isinstance(value, str | int | float):
        what += f"; it is {_shown(value)}"
    return f"{where or 'the request body'} {what}"


def _shown(value: str | float) -> str:
    """The beginning of the value, at a bounded cost."""
    if isinstance(value, str):
        return repr(value[:_MAX_VALUE])[:_MAX_VALUE]
    if isinstance(value, int) and value.bit_length() > _MAX_VALUE * 4:
        return "a number with too many digits"  # Python refuses to spell out the longest
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)[:_MAX_VALUE]
