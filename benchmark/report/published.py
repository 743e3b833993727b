"""The published results of LAMM's README as typed data, from `published_results.yaml`.

Called by the report, which draws the published tables again with our figures beside them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

RESULTS_FILE = "published_results.yaml"
Value = float | Literal["failed"] | None


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedResult(_Strict):
    """One line of a published table.

    Attributes:
        rows: what a suite may call its row of this data set.
        computed: what the published metric's scorer computes, where its name says something else.
        unit: percent, or a number of objects.
        direction: where better is.
        values: by system; a system that the README does not name there is left out.
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

    def best(self, systems: tuple[str, ...]) -> float | None:
        """The best number among some systems; None where there is none."""
        numbers = [v for s in systems if isinstance(v := self.values.get(s), float)]
        if not numbers:
            return None
        return max(numbers) if self.direction == "up" else min(numbers)


class PublishedTable(_Strict):
    """A table of the README: the systems in its columns, the results in its lines, by id."""

    id: str
    title: str
    columns: tuple[str, ...]
    results: tuple[str, ...]


class PublishedResults(_Strict):
    """All of it. `systems` maps a system's id to its name; `notes` are the README's own faults."""

    source: str
    systems: dict[str, str]
    results: tuple[PublishedResult, ...]
    tables: tuple[PublishedTable, ...]
    notes: tuple[str, ...]

    @model_validator(mode="after")
    def _ids_are_known(self) -> Self:
        known = {result.id for result in self.results}
        for table in self.tables:
            if missing := set(table.results) - known:
                raise ValueError(f"table {table.id}: no result {sorted(missing)}")
            if missing := set(table.columns) - set(self.systems):
                raise ValueError(f"table {table.id}: no system {sorted(missing)}")
        return self

    def of(self, table: PublishedTable) -> tuple[PublishedResult, ...]:
        """A table's results, in its order."""
        by_id = {result.id: result for result in self.results}
        return tuple(by_id[id_] for id_ in table.results)


def load_published() -> PublishedResults:
    """Reads the file that the package ships."""
    text = files("benchmark.report").joinpath(RESULTS_FILE).read_text(encoding="utf8")
    return PublishedResults.model_validate(yaml.safe_load(text))
