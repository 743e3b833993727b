"""Words for a text that is not JSON."""

from __future__ import annotations

import re

# Written by Python's json and by pydantic's parser; the rest of their texts is not passed on.
_PLACE = re.compile(r"\bline (\d{1,10}) column (\d{1,10})")


def json_fault(error: object) -> str:
    """`is not valid JSON`, with the line and column that the parser's error names.

    Both count from 1; column 0 is the end of the line before.
    """
    found = _PLACE.search(str(error))
    where = f" (line {found[1]}, column {found[2]})" if found else ""
    return f"is not valid JSON{where}"
