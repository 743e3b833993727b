"""The results of fault tests as a table, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmark.answers import write_whole
from benchmark.text import markdown_table

# Columns and their widths on a terminal.
_WIDTHS = {"fault": 28, "promise": 38, "seen": 70, "": None}
_WORDS = {True: "kept", False: "BROKEN"}


@dataclass(frozen=True, slots=True)
class Check:
    """One fault with its promise, the observations, and whether the promise was kept."""

    name: str
    fault: str
    promise: str
    seen: str
    kept: bool
    seconds: float


def line(check: Check) -> str:
    """One finished check as a log line."""
    return f"{_WORDS[check.kept]}: {check.fault} ({check.seconds:.1f} s)"


def table(checks: Sequence[Check]) -> Table:
    """The table of checks for a terminal."""
    made = Table(title="faults", show_lines=True)
    for column, width in _WIDTHS.items():
        made.add_column(column, max_width=width)
    for check in checks:
        made.add_row(*_cells(check))
    return made


def write(checks: Sequence[Check], checkpoint: str, started: str, out: Path) -> list[Path]:
    """Writes `faults.json` and `faults.md` to `out`; returns the paths."""
    value = {
        "checkpoint": checkpoint,
        "date": started,
        "passed": all(check.kept for check in checks),
        "faults": [asdict(check) for check in checks],
    }
    write_whole(out / "faults.json", json.dumps(value, indent=2) + "\n")
    write_whole(out / "faults.md", _as_markdown(checks, checkpoint, started))
    return [out / "faults.json", out / "faults.md"]


def _as_markdown(checks: Sequence[Check], checkpoint: str, started: str) -> str:
    kept = sum(check.kept for check in checks)
    lines = [
        f"# Faults: {kept} of {len(checks)} promises kept",
        "",
        f"{checkpoint}, {started}, {sum(check.seconds for check in checks):.0f} s.",
        "",
        *markdown_table(tuple(_WIDTHS), map(_cells, checks), _WIDTHS),
    ]
    return "\n".join(lines) + "\n"


def _cells(check: Check) -> tuple[str, ...]:
    return check.fault, check.promise, check.seen, _WORDS[check.kept]
