"""The scores of a run under protocols, by row and pooled for Binary-Locating.

`benchmark.protocols` is imported when it is used, because it needs sacrebleu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError
from benchmark.scoring import RowScore
from lamm_model.tasks.dialects.manner import FREE_TEXT
from lamm_model.tasks.reading.final import final_answer

if TYPE_CHECKING:
    from benchmark.protocols import ProtocolScore, Stored

# The values of `benchmark.protocols.Protocol`, which the options must not import.
PROTOCOLS = (
    "corrected-v1", "upstream-2023-07", "upstream-2023-06", "upstream-intended", "chef-ea57136",
)  # fmt: skip
DEFAULT_PROTOCOLS = ("corrected-v1",)
# Added to the default for answers that were asked as in ChEF.
CHEF_PROTOCOLS = ("chef-ea57136",)
_UPSTREAM = "upstream"
BINARY_LOCATING = "Binary-Locating"
# The forms of Binary-Locating per protocol; the other protocols have both.
_FORMS: Mapping[str, tuple[str, ...]] = {
    "upstream-2023-07": ("2-set",),
    "upstream-2023-06": ("3-set",),
}


class ProtocolsMissingError(BenchmarkError):
    """A package that the protocols need is not installed."""


@dataclass(frozen=True, slots=True)
class ProtocolRow:
    """A line of the protocol table; `reason` says why the score is missing."""

    row: str
    task: str
    protocol: str
    score: ProtocolScore | None
    reason: str = ""


def require_protocols() -> None:
    """Checks that the protocols can be imported.

    Raises:
        ProtocolsMissingError: sacrebleu is not installed.
    """
    try:
        import benchmark.protocols  # noqa: F401, PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sacrebleu":
            raise
        raise ProtocolsMissingError(
            "scores under a protocol need sacrebleu; install it with: pip install 'lamm[bench]'"
        ) from None


def score_protocols(rows: Sequence[RowScore], names: Sequence[str]) -> tuple[ProtocolRow, ...]:
    """Scores all rows under all protocols in `names`, then Binary-Locating over pooled sets.

    Records without an answer are left out.

    Raises:
        ProtocolsMissingError: sacrebleu is not installed.
    """
    require_protocols()
    stored = {row.row.name: _stored(row) for row in rows}
    names = tuple(dict.fromkeys(names))
    scored = [_score_row(row, name, stored[row.row.name]) for row in rows for name in names]
    sets = {row.row.set: stored[row.row.name] for row in rows if row.row.set and row.scored}
    # A single set is not Binary-Locating and has its own row.
    plain = [n for n in names if not any(_unreadable(row, n) for row in rows if row.row.set)]
    pooled = [line for name in plain for line in _pool(name, sets)] if len(sets) > 1 else []
    return (*scored, *pooled)


def _stored(row: RowScore) -> list[Stored]:
    from benchmark.protocols import Stored  # noqa: PLC0415

    return [
        Stored(one.item.sample, final_answer(one.text), one.options, one.item.task, one.scores)
        for one in row.scored
    ]


def _score_row(row: RowScore, name: str, stored: Sequence[Stored]) -> ProtocolRow:
    from benchmark.protocols import score  # noqa: PLC0415

    title, task = row.row.name, row.row.task.name
    if not stored:
        return ProtocolRow(title, task, name, None, "no answers")
    if reason := _unreadable(row, name):
        return ProtocolRow(title, task, name, None, reason)
    try:
        return ProtocolRow(title, task, name, score(task, name, stored))
    except ValueError as error:
        # No rule for the task or for the form of a record; other rows are still scored.
        return ProtocolRow(title, task, name, None, str(error))


def _unreadable(row: RowScore, name: str) -> str | None:
    """Why a protocol does not apply: upstream's rules find numbers in the text themselves."""
    manner = row.row.task.manner
    if manner == FREE_TEXT or not name.startswith(_UPSTREAM):
        return None
    return f"upstream's rules cannot read dialect {manner.dialect}, or a stated frame"


def _pool(name: str, sets: Mapping[str, Sequence[Stored]]) -> list[ProtocolRow]:
    from benchmark.protocols import binary_locating  # noqa: PLC0415

    try:
        forms = binary_locating(name, sets)
    except ValueError as error:
        return [ProtocolRow(BINARY_LOCATING, "locating", name, None, str(error))]
    wanted = _FORMS.get(name, tuple(forms))
    return [
        ProtocolRow(f"{BINARY_LOCATING} {form}", "locating", name, forms.get(form))
        if form in forms
        else ProtocolRow(
            f"{BINARY_LOCATING} {form}", "locating", name, None, f"only {', '.join(sets)} found"
        )
        for form in wanted
    ]
