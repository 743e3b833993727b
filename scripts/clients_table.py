"""Writes the tables of docs/clients.md from what the last whole `make clients` saw.

`--check` writes nothing and exits with 1 where a table is not what was seen. A path as the last
argument names another file with the same markers; `--results DIR` names another folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "clients.md"
RESULTS = ROOT / "build" / "clients"
TABLES = {"works": "calls that work", "refused": "calls that are refused"}


@dataclass(frozen=True, slots=True)
class Row:
    """One client, or one subject of it, with the versions that ran."""

    client: str
    subject: str
    versions: tuple[str, ...]
    calls: tuple[str, ...]

    def __str__(self) -> str:
        name = f"{self.client} {', '.join(self.versions)}"
        about = f": {self.subject}" if self.subject else ""
        return f"| {name}{about} | {'; '.join(self.calls)} |"


def table(calls: list[dict[str, Any]], outcome: str) -> str:
    """A row per client and subject, in the order in which they ran."""
    seen = list(_rows(calls, outcome))
    return "\n".join([f"| client | {TABLES[outcome]} |", "| --- | --- |", *map(str, seen), ""])


def written(text: str, calls: list[dict[str, Any]]) -> str:
    """The document with its tables replaced.

    Raises:
        ValueError: a table's marker is missing.
    """
    for outcome in TABLES:
        begin, end = f"<!-- {outcome}: scripts/clients_table.py -->\n\n", "<!-- end -->\n"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"the markers of the table {outcome!r} are missing")
        text = f"{before}{begin}{table(calls, outcome)}\n{end}{after}"
    return text


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("document", type=Path, nargs="?", default=DOCUMENT)
    given = parser.parse_args(arguments)
    files = sorted(given.results.glob("*.json"))
    if not files:
        print(f"{given.results} holds no results; run `make clients`")
        return 1
    calls = [call for file in files for call in json.loads(file.read_text("utf8"))]
    old = given.document.read_text("utf8")
    new = written(old, calls)
    if new == old:
        return 0
    if given.check:
        print(f"{given.document}: the tables are not what ran; run scripts/clients_table.py")
        return 1
    given.document.write_text(new, "utf8")
    return 0


def _rows(calls: list[dict[str, Any]], outcome: str) -> Iterator[Row]:
    for client, subject in dict.fromkeys((one["client"], one["subject"]) for one in calls):
        own = [one for one in calls if (one["client"], one["subject"]) == (client, subject)]
        versions = tuple(dict.fromkeys(one["version"] for one in own))
        names = dict.fromkeys(one["call"] for one in own)
        chosen = tuple(
            name + _only(versions, ran)
            for name in names
            if (ran := tuple(_versions(own, name, outcome)))
        )
        if chosen:
            yield Row(client, subject, versions, chosen)


def _versions(own: Iterable[dict[str, Any]], name: str, outcome: str) -> Iterator[str]:
    """Those with which every call of the name had the outcome."""
    outcomes: dict[str, set[str]] = {}
    for one in own:
        if one["call"] == name:
            outcomes.setdefault(one["version"], set()).add(one["outcome"])
    return (version for version, seen in outcomes.items() if seen == {outcome})


def _only(versions: tuple[str, ...], ran: tuple[str, ...]) -> str:
    """Which versions a call is about, if not all of them."""
    return "" if set(ran) == set(versions) else f" ({', '.join(ran)})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
