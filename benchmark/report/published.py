"""The published results in LAMM's README by revision, from `published_results.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

RESULTS_FILE = "published_results.yaml"
Value = float | Literal["failed"] | None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Revision(_Strict):
    """A revision of the README: its date (YYYY-MM-DD), the source, and what it changed."""

    date: str
    source: str
    change: str


class PublishedResult(_Strict):
    """One line of a published table.

    Attributes:
        rows: names of this data set's row in suites.
        computed: what the published scorer computes, if it differs from the metric's name.
        unit: percent, or a number of objects.
        direction: direction of better values.
        values: by system, in the first revision; systems without a published value are left out.
        revised: by date of a later revision, the values that it replaced.
    """

    id: str
    task: str
    dataset: str
    metric: str
    computed: str | None = None
    unit: Literal["percent", "count"] = "percent"
    direction: Literal["up", "down"] = "up"
    rows: tuple[str, ...]
    values: dict[str, Value]
    revised: dict[str, dict[str, Value]] = {}

    def value(self, column: Column) -> Value:
        """The value of a system in a revision; None if there is none."""
        value = self.values.get(column.system)
        for date, replaced in sorted(self.revised.items()):
            if column.date is not None and date <= column.date:
                value = replaced.get(column.system, value)
        return value

    def best(self, columns: Sequence[Column]) -> float | None:
        """The best number among some columns, or None."""
        numbers = [v for column in columns if isinstance(v := self.value(column), float)]
        if not numbers:
            return None
        return max(numbers) if self.direction == "up" else min(numbers)


class Column(NamedTuple):
    """A system in a published table; `date` is that of the revision if its values were replaced."""

    system: str
    title: str
    date: str | None = None


class PublishedTable(_Strict):
    """A table of the README: ids of its systems (columns) and results (rows)."""

    id: str
    title: str
    columns: tuple[str, ...]
    results: tuple[str, ...]


class PublishedResults(_Strict):
    """All published results.

    Attributes:
        revisions: the revisions to show, oldest first.
        systems: names by id.
        notes: errors of the README, and facts that it does not state.
    """

    revisions: tuple[Revision, ...]
    systems: dict[str, str]
    results: tuple[PublishedResult, ...]
    tables: tuple[PublishedTable, ...]
    notes: tuple[str, ...]

    @model_validator(mode="after")
    def _ids_are_known(self) -> Self:
        known = {result.id for result in self.results}
        for table in self.tables:
            if missing := set(table.results) - known:
                raise ValueError(f"table {table.id}: unknown results {sorted(missing)}")
            if missing := set(table.columns) - set(self.systems):
                raise ValueError(f"table {table.id}: unknown systems {sorted(missing)}")
        dates = {revision.date for revision in self.revisions}
        for result in self.results:
            if missing := set(result.revised) - dates:
                raise ValueError(f"result {result.id}: unknown revisions {sorted(missing)}")
        return self

    @property
    def dates(self) -> tuple[str, ...]:
        """The dates of the revisions, oldest first."""
        return tuple(revision.date for revision in self.revisions)

    def shown(self, dates: Sequence[str]) -> Self:
        """The results with only some revisions as columns; all of them without dates.

        Raises:
            ValueError: there is no revision of a date.
        """
        if missing := [date for date in dates if date not in self.dates]:
            raise ValueError(f"revision {missing[0]!r} is not one of {', '.join(self.dates)}")
        kept = tuple(one for one in self.revisions if not dates or one.date in dates)
        return self.model_copy(update={"revisions": kept})

    def columns(self, table: PublishedTable) -> tuple[Column, ...]:
        """The columns of a table: one per revision for systems whose values were replaced."""
        results = self.of(table)
        found: list[Column] = []
        for system in table.columns:
            name = self.systems[system]
            if any(system in values for one in results for values in one.revised.values()):
                # The newest first: it is the one that the published checkpoints belong to.
                dates = reversed(self.dates)
                found += [Column(system, f"{name}, {date}", date) for date in dates]
            else:
                found.append(Column(system, name))
        return tuple(found)

    def of(self, table: PublishedTable) -> tuple[PublishedResult, ...]:
        """The results of a table in order."""
        by_id = {result.id: result for result in self.results}
        return tuple(by_id[id_] for id_ in table.results)


def load_published() -> PublishedResults:
    """Reads the file in the package."""
    text = files("benchmark.report").joinpath(RESULTS_FILE).read_text(encoding="utf8")
    return PublishedResults.model_validate(yaml.safe_load(text))
