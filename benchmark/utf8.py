"""Text that UTF-8 can spell, for files. Called by `client`, `answers` and `judge`."""

from __future__ import annotations


def spellable(text: str) -> str:
    """The text with `?` for each lone surrogate, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf8", errors="replace").decode("utf8")
