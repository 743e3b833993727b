"""Why a grammar cannot be compiled, in words of our own. Torch-free."""

from __future__ import annotations

import re

_UNIMPLEMENTED = re.compile(r"Unimplemented keys: \[([^\]]*)\]")
# llguidance's error -> the message for the client.
_REASONS = (
    ("retrieving it failed", "a $ref points outside the schema; only #/... is supported"),
    ("Pointer", "a $ref has no target in the schema"),
    (
        "regex parse error",
        "a pattern is not a valid regular expression, or uses look-around or back-references",
    ),
    ("Invalid type", "a type is not a JSON type"),
    ("Unsatisfiable", "no value satisfies it"),
    ("Unknown format", "the format is unknown"),
    (
        "oneOf constraints",
        "oneOf needs alternatives that exclude one another, such as by a const; use anyOf",
    ),
    (
        "min/maxProperties only",
        "minProperties and maxProperties need every key in properties to be required",
    ),
    ("regex for integer range", "minimum and maximum exclude all integers of 64 bits"),
    ("regex for float range", "minimum and maximum exclude all numbers, or are too large"),
    ("intersection", "it combines schemas that refer to themselves"),
    ("limit", "it is too complex"),
    ("fuel", "it is too complex"),
    ("too", "it is too complex"),
)
_KEYWORD = re.compile(r"[\w$-]{1,64}")


def reason_of(message: str) -> str:
    """The reason for the client, from llguidance's message."""
    found = _UNIMPLEMENTED.search(message)
    if found:
        keywords = _KEYWORD.findall(found[1])[:8]
        return f"unsupported keywords: {', '.join(keywords)}"
    for sign, reason in _REASONS:
        if sign in message:
            return reason
    return "it cannot be compiled"
