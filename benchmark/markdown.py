"""Text from outside within Markdown. Called by all that writes a table or a list of notes."""

from __future__ import annotations


def cell(text: str) -> str:
    """Text on one line that ends no cell and begins no HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
