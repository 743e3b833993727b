"""The published results in LAMM's README, from `published_results.yaml`."""

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
        rows: names of this data set's row in suites.
        computed: what the published scorer computes, if it differs from the metric's name.
        unit: percent, or a number of objects.
        direction: direction of better values.
        values: by system; systems without a published value are left out.
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
        """The best number among some systems, or None."""
        numbers = [v for s in systems if isinstance(v := self.values.get(s), float)]
        if not numbers:
            return None
        return max(numbers) if self.direction == "up" else min(numbers)


class PublishedTable(_Strict):
    """A table of the README: ids of its systems (columns) and results (rows)."""

    id: str
    title: str
    columns: tuple[str, ...]
    results: tuple[str, ...]


class PublishedResults(_Strict):
    """All published results. `systems` maps ids to names; `notes` list errors in the README."""

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
                raise ValueError(f"table {table.id}: unknown results {sorted(missing)}")
            if missing := set(table.columns) - set(self.systems):
                raise ValueError(f"table {table.id}: unknown systems {sorted(missing)}")
        return self

    def of(self, table: PublishedTable) -> tuple[PublishedResult, ...]:
        """The results of a table in order."""
        by_id = {result.id: result for result in self.results}
        return tuple(by_id[id_] for id_ in table.results)


def load_published() -> PublishedResults:
    """Reads the file in the package."""
    text = files("benchmark.report").joinpath(RESULTS_FILE).read_text(encoding="utf8")
    return PublishedResults.model_validate(yaml.safe_load(text))
