"""Text for terminals, Markdown and files, much of it from outside: answers, names, messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 200
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def print_whole(table: Table, console: Console) -> None:
    """Prints a table at the width it needs, even on a narrow console, so that no name is cut.

    Brackets in the names of rows and models are not read as markup.
    """
    options = console.options.update(width=_WIDEST, markup=False)
    width = max(console.width, Measurement.get(console, options, table).maximum)
    whole = Console(
        file=console.file, width=width, force_terminal=console.is_terminal, markup=False
    )
    whole.print(table)


def print_notes(notes: Iterable[str], console: Console) -> None:
    """Prints notes as a list."""
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)


def print_written(paths: Iterable[Path], console: Console) -> None:
    """Prints the files that a command has written."""
    for path in paths:
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


def column_table(title: str, columns: Sequence[str], left: Collection[str]) -> Table:
    """A terminal table without rows; the columns `left` are left-aligned, the others right."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[str]
) -> list[str]:
    """The lines of a Markdown table; see `column_table`."""
    rules = ("---" if column in left else "---:" for column in columns)
    lines = [columns, tuple(rules), *(tuple(map(cell, row)) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(text: str) -> str:
    """Escapes text for one cell of a Markdown table: one line, no column separator, no HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def spellable(text: str) -> str:
    """Replaces lone surrogates, which JSON can contain and UTF-8 cannot, with `?`."""
    return text.encode("utf8", errors="replace").decode("utf8")


def told(text: str) -> str:
    """A server's message on one line, without terminal control characters."""
    return spellable(_CONTROLS.sub(" ", text[:300]))
