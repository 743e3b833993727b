"""Text from outside for files and terminals. Called by `client_answers`, `answers` and `judge`."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def spellable(text: str) -> str:
    """The text with `?` for each lone surrogate, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf8", errors="replace").decode("utf8")


def told(text: str) -> str:
    """A server's words on one line, without what a terminal takes for a command."""
    return spellable(_CONTROLS.sub(" ", text[:300]))
