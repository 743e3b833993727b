"""The result of a check, as text (complaints and a table) and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from training.datasets.check import CheckReport, FileSummary
from training.datasets.complaints import ComplaintLog, Kind

_SHARES = (0.5, 0.95, 1.0)
_WIDEST, _COMPLAINTS_WIDTH = 200, 50


def print_report(report: CheckReport, failing: Iterable[Kind], console: Console) -> None:
    """Prints the kept complaints by kind, then a table of the files."""
    failing = frozenset(failing)
    print_complaints(report.complaints, failing, console)
    table = _table(report)
    # As wide as needed, however narrow the console of a log: wrapped names are unreadable.
    width = Measurement.get(console, console.options.update(width=_WIDEST), table).maximum
    wide = Console(file=console.file, width=width, force_terminal=console.is_terminal)
    wide.print(table)
    errors = report.complaints.total(failing)
    warnings = report.complaints.total() - errors
    console.print(
        f"{sum(summary.records for summary in report.files)} usable records in "
        f"{len(report.files)} files, {report.distinct_media} media: "
        f"{errors} errors, {warnings} warnings"
    )


def print_complaints(log: ComplaintLog, failing: frozenset[Kind], console: Console) -> None:
    """Prints the kept complaints by kind."""
    for kind, total in log.by_kind().items():
        severity = "error" if kind in failing else "warning"
        heading = Text(f"{kind}: {total} ({severity}) - {kind.meaning}", style="bold")
        console.print(heading, soft_wrap=True)
        examples = log.examples(kind)
        for complaint in examples:
            # Text: brackets in file names and messages are not markup.
            console.print(Text(f"  {complaint}"), soft_wrap=True)
        if total > len(examples):
            console.print(f"  ... and {total - len(examples)} more")


def as_json(report: CheckReport, failing: Iterable[Kind]) -> dict[str, Any]:
    """The result as a JSON object, with the kept complaints; `totals` counts them all."""
    failing = frozenset(failing)
    totals = report.complaints.by_kind()
    return {
        "root": str(report.root),
        "limit_length": report.limit_length,
        "errors": report.complaints.total(failing),
        "warnings": report.complaints.total() - report.complaints.total(failing),
        "fail_on": sorted(failing),
        "totals": totals,
        "distinct_media": report.distinct_media,
        "files": [_file_json(summary, report) for summary in report.files],
        "complaints": [
            {
                "kind": c.kind,
                "file": c.file,
                "index": c.index,
                "id": c.record_id,
                "message": c.message,
            }
            for kind in totals
            for c in report.complaints.examples(kind)
        ],
    }


def _table(report: CheckReport) -> Table:
    with_lengths = any(summary.lengths.histogram for summary in report.files)
    table = Table(box=box.SIMPLE_HEAD, title=f"published layout in {report.root}")
    table.add_column("file", no_wrap=True)
    numbers = ["records", "published", "media"]
    numbers += ["tokens", "p95", "longest"] if with_lengths else []
    numbers += ["cut", "lost"] if report.limit_length is not None else []
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("complaints", max_width=_COMPLAINTS_WIDTH)
    folder = None
    for summary in report.files:
        if summary.found.dataset.folder != folder:
            folder = summary.found.dataset.folder
            table.add_row(Text(folder, style="bold"))
        lengths = summary.lengths
        row = [f"  {summary.found.path.stem}", str(summary.records), _published(summary)]
        row.append(str(summary.media))
        if with_lengths:
            row += [str(lengths.quantile(share)) for share in _SHARES]
        if report.limit_length is not None:
            row += [str(lengths.shortened), str(lengths.dropped)]
        counts = report.complaints.of_file(summary.found.name)
        row.append(", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none")
        table.add_row(*(Text(cell) for cell in row))
    if report.limit_length is not None:
        table.caption = (
            f"tokens: median; cut, lost: records whose last turns, or all turns, exceed "
            f"{report.limit_length} tokens"
        )
    return table


def _published(summary: FileSummary) -> str:
    count = summary.found.dataset.count
    if count is None:
        return "-"
    return f"{count[0]}" if len(count) == 1 else f"about {count[-1] // 1000}k"


def _file_json(summary: FileSummary, report: CheckReport) -> dict[str, Any]:
    dataset, lengths = summary.found.dataset, summary.lengths
    described: dict[str, Any] = {
        "file": summary.found.name,
        "task": dataset.task,
        "records": summary.records,
        "published": None if dataset.count is None else [dataset.count[0], dataset.count[-1]],
        "media": summary.media,
        "complaints": report.complaints.of_file(summary.found.name),
    }
    if lengths.histogram:
        described["tokens"] = {f"p{share * 100:g}": lengths.quantile(share) for share in _SHARES}
    if report.limit_length is not None:
        described |= {"shortened": lengths.shortened, "dropped": lengths.dropped}
    return described
