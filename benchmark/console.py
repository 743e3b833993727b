"""Tables on a terminal, whole. Called by the sub-commands."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 200


def print_whole(table: Table, console: Console) -> None:
    """A table as wide as it needs, however narrow a log's console is: cut names tell nothing.

    Brackets in the names of rows and models are those names', and no markup.
    """
    options = console.options.update(width=_WIDEST, markup=False)
    width = max(console.width, Measurement.get(console, options, table).maximum)
    whole = Console(
        file=console.file, width=width, force_terminal=console.is_terminal, markup=False
    )
    whole.print(table)
