"""Words for a text that is not JSON."""

from __future__ import annotations

import codecs
import re

# Written by Python's json and by pydantic's parser; the rest of their texts is not passed on.
_PLACE = re.compile(r"\bline (\d{1,10}) column (\d{1,10})")
_GZIP = b"\x1f\x8b"
_WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32 begins with the same or with NUL
# Parts of the parsers' texts for JSON that is well formed as far as its author can see.
_REASONS = (
    ("recursion", "nests lists and objects too deeply"),
    ("number out of range", "has a number with too many digits"),
    ("invalid unicode code point", "is not UTF-8"),
    ("end of hex escape", "has half of a surrogate pair"),
    ("surrogate", "has half of a surrogate pair"),
)


def json_fault(error: object, text: bytes | bytearray | str = b"") -> str:
    """What is wrong with a JSON text, with the line and column that the parser's error names.

    Both count from 1; column 0 is the end of the line before. `text` is what was parsed, if the
    caller has it: texts in another encoding are named by their first bytes.
    """
    head = text[:4].encode(errors="replace") if isinstance(text, str) else bytes(text[:4])
    if head.startswith(_GZIP):
        return "is compressed with gzip, but not declared so (Content-Encoding: gzip)"
    if head.startswith(_WIDE_BOMS) or b"\0" in head:
        return "is UTF-16 or UTF-32; expected UTF-8"
    told = str(error)
    found = _PLACE.search(told)
    if told.startswith("EOF while parsing a value") and (not text or text.isspace()):
        return "is empty; expected JSON"
    where = f" (line {found[1]}, column {found[2]})" if found else ""
    reason = next((words for part, words in _REASONS if part in told), "is not valid JSON")
    return f"{reason}{where}"
