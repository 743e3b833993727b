"""OCR answers without words: there is no text, or it is illegible."""

from __future__ import annotations

import re

from lamm_model.tasks.reading.denials import says_unknown

_TEXT = r"(?:words?|text|texts|letters?|writing|writings|inscriptions?|characters|lettering|signs?)"
_NONE = re.compile(
    rf"(?:\bno|n't|\bnot|\bwithout)\s+(?:\w+\s+){{0,3}}?{_TEXT}\b"
    r"|\bnothing\b(?:\W*$"
    r"|\s+(?:\w+\s+){0,2}(?:written|readable|legible|visible|in|on|here|at all)\b)"
    r"|^\W*none\W*$",
    re.IGNORECASE,
)
_ILLEGIBLE = re.compile(
    r"(?:\bnot|n't)\s+(?:\w+\s+){0,2}?(?:legible|readable|visible|clear)\b"
    r"|\b(?:illegible|unreadable)\b|\btoo\s+(?:\w+\s+){0,2}?(?:blurry|blurred|small|dark|faint)\b",
    re.IGNORECASE,
)


def shows_no_text(text: str) -> bool:
    """Whether an answer says that there is no text."""
    return bool(_NONE.search(text))


def cannot_read(text: str) -> bool:
    """Whether an answer says that the text is illegible or not known."""
    return bool(_ILLEGIBLE.search(text)) or says_unknown(text)
