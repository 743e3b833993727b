"""The tables of a calibration, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from benchmark.calibration.checks import Role
from benchmark.calibration.fit import BINS, FEWEST
from benchmark.calibration.samples import Key, Samples
from benchmark.text import column_table, markdown_table
from lamm_model.tasks.calibration import Check, Curve

_ROLES: tuple[tuple[Role, str], ...] = (
    ("held_out", "Held-out questions, by which features may have been chosen"),
    ("test", "Test questions, by which nothing is chosen"),
)
_ERRORS = ("task", "score of", "n fit", "n", "right", "ECE raw", "ECE", "AUROC")
_AP = ("task", "AP of boxes", "ranked by calibrated score", "by raw score", "not ranked")
_LEFT = ("task", "score of", "AP of boxes")


def tables(curves: Mapping[Key, Curve]) -> Iterator[Table]:
    """The errors of the curves on each kind of questions, and the AP of boxes if there are any."""
    for title, columns, lines in _parts(curves):
        found = column_table(title, columns, _LEFT)
        for cells in lines:
            found.add_row(*cells)
        yield found


def as_markdown(curves: Mapping[Key, Curve], model: str, checkpoint: str) -> str:
    """The same as Markdown, with what the columns mean."""
    text = (
        f"# Calibration of {model}\n\nWeights `{checkpoint}`. ECE is the expected calibration "
        f"error over {BINS} bins of equal width.\n"
    )
    for title, columns, lines in _parts(curves):
        text += f"\n## {title}\n\n" + "\n".join(markdown_table(columns, lines, _LEFT)) + "\n"
    return text


def notes(samples: Samples) -> list[str]:
    """The scores that were too few for a curve."""
    return [
        f"{task}, {kind}: {len(found)} scores are too few for a curve; {FEWEST} are needed"
        for (task, kind), found in samples.items()
        if len(found) < FEWEST
    ]


def _parts(
    curves: Mapping[Key, Curve],
) -> Iterator[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """(title, columns, lines) of each table with lines; the curves alone without any check."""
    checked = [
        (title, [(key, curve, getattr(curve, role)) for key, curve in curves.items()])
        for role, title in _ROLES
    ]
    checked = [one for one in checked if any(check for _, _, check in one[1])]
    for title, found in checked or [("Curves without a check", _unchecked(curves))]:
        yield title, _ERRORS, [_errors(key, curve, check) for key, curve, check in found]
        ap = [line for key, _, check in found if check for line in _precision(key, check)]
        if ap:
            yield f"{title.partition(',')[0]}: average precision", _AP, ap


def _unchecked(curves: Mapping[Key, Curve]) -> list[tuple[Key, Curve, Check | None]]:
    return [(key, curve, None) for key, curve in curves.items()]


def _errors(key: Key, curve: Curve, check: Check | None) -> tuple[str, ...]:
    task, kind = key
    if check is None:
        return task, kind.value, str(curve.n), "0", "-", "-", "-", "-"
    return (
        task, kind.value, str(curve.n), str(check.n), f"{100 * check.hits / check.n:.1f} %",
        f"{check.raw_ece:.3f}", f"{check.ece:.3f}",
        "-" if check.auroc is None else f"{check.auroc:.3f}",
    )  # fmt: skip


def _precision(key: Key, check: Check) -> Iterator[tuple[str, ...]]:
    for name, ap in (check.ap or {}).items():
        yield key[0], name, f"{ap.calibrated:.3f}", f"{ap.raw:.3f}", f"{ap.constant:.3f}"
