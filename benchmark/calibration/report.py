"""The table of a calibration, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmark.calibration.fit import BINS, FEWEST
from benchmark.calibration.samples import Key, Samples
from benchmark.text import column_table, markdown_table
from lamm_model.tasks.calibration import Curve

_COLUMNS = ("task", "score of", "n fit", "n held out", "right", "ECE raw", "ECE", "AUROC")
_LEFT = ("task", "score of")


def table(curves: Mapping[Key, Curve]) -> Table:
    """One line per curve."""
    found = column_table("Calibration on held-out questions", _COLUMNS, _LEFT)
    for cells in _lines(curves):
        found.add_row(*cells)
    return found


def as_markdown(curves: Mapping[Key, Curve], model: str, checkpoint: str) -> str:
    """The same as Markdown, with what the columns mean."""
    return (
        f"# Calibration of {model}\n\nWeights `{checkpoint}`. ECE is the expected calibration "
        f"error over {BINS} bins of equal width.\n\n"
        + "\n".join(markdown_table(_COLUMNS, _lines(curves), _LEFT))
        + "\n"
    )


def notes(samples: Samples) -> list[str]:
    """The scores that were too few for a curve."""
    return [
        f"{task}, {kind}: {len(found)} scores are too few for a curve; {FEWEST} are needed"
        for (task, kind), found in samples.items()
        if len(found) < FEWEST
    ]


def _lines(curves: Mapping[Key, Curve]) -> Sequence[tuple[str, ...]]:
    return [_cells(key, curve) for key, curve in curves.items()]


def _cells(key: Key, curve: Curve) -> tuple[str, ...]:
    task, kind = key
    held = curve.held_out
    if held is None:
        return task, kind.value, str(curve.n), "0", "-", "-", "-", "-"
    return (
        task, kind.value, str(curve.n), str(held.n), f"{100 * held.hits / held.n:.1f} %",
        f"{held.raw_ece:.3f}", f"{held.ece:.3f}",
        "-" if held.auroc is None else f"{held.auroc:.3f}",
    )  # fmt: skip
