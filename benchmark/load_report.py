"""What a load test looks like: terminal tables and result files in vLLM's layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.answers import write_whole


def throughput_table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a concurrency: what was done and how fast, beside the baseline if there was one."""
    columns = ["concurrency", "done", "failed", "req/s", "out tok/s"]
    baseline = next((r["baseline"] for r in results if "baseline" in r), None)
    if baseline is not None:
        columns += ["baseline tok/s", "ratio"]
    beside = "" if baseline is None else f" beside {baseline}"
    result = _table(f"{results[0]['model_id']}: throughput{beside}", columns)
    for row in results:
        cells = [
            _concurrency(row),
            str(row["completed"]),
            str(row["failed"]),
            f"{row['request_throughput']:.2f}",
            f"{row['output_throughput']:.1f}",
        ]
        if baseline is not None:
            cells += [f"{row['baseline_output_throughput']:.1f}", f"{row['speedup']:.2f}x"]
        result.add_row(*cells)
    return result


def latency_table(results: Sequence[dict[str, Any]], metrics: Sequence[str]) -> Table:
    """One line a concurrency and metric, in milliseconds."""
    ranks = sorted(
        {key.split("_")[0] for key in results[0] if key.startswith("p") and key.endswith("_ms")},
        key=lambda rank: float(rank[1:]),
    )
    statistics = ["mean", "std", *ranks]
    result = _table("latency, ms", ["concurrency", "metric", *statistics])
    for row in results:
        for name in metrics:
            values = [row.get(f"{statistic}_{name}_ms") for statistic in statistics]
            cells = ["-" if value is None else f"{value:.1f}" for value in values]
            result.add_row(_concurrency(row), name, *cells)
    return result


def notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """What keeps the table from telling the whole story, a sentence each."""
    lines = []
    for row in results:
        where = f"concurrency {_concurrency(row)}"
        if row["failed"]:
            lines.append(f"{where}: {row['failed']} failed: {'; '.join(row['errors'][:3])}")
        if row["short_outputs"]:
            lines.append(f"{where}: some outputs were not of the length asked for")
        if row["total_cached_tokens"]:
            share = row["total_cached_tokens"] / max(1, row["total_input_tokens"])
            lines.append(f"{where}: {100 * share:.0f} % of prompt tokens came from a cache")
    return lines


def save(results: Sequence[dict[str, Any]], directory: Path, filename: str | None) -> list[Path]:
    """Writes one JSON file a result, named by its concurrency; returns the paths."""
    paths = []
    for row in results:
        limit = row["max_concurrency"]
        suffix = "" if limit is None else f"-concurrency{limit}"
        model = str(row["model_id"]).rsplit("/", 1)[-1]
        name = f"{row['backend']}-{row['request_rate']}qps{suffix}-{model}-{row['date']}.json"
        if filename is not None:
            stem = Path(filename)
            name = filename if len(results) == 1 else f"{stem.stem}{suffix}{stem.suffix}"
        write_whole(directory / name, json.dumps(row, indent=2) + "\n")
        paths.append(directory / name)
    return paths


def _table(title: str, columns: Sequence[str]) -> Table:
    result = Table(title=title)
    for column in columns:
        result.add_column(column, justify="right", no_wrap=True)
    return result


def _concurrency(row: dict[str, Any]) -> str:
    limit = row["max_concurrency"]
    return "unbounded" if limit is None else str(limit)
