"""Terminal tables and result files of load tests; the files have the layout of vLLM."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.answers import write_whole
from benchmark.load.metrics import METRICS
from benchmark.load.sender import without_details
from benchmark.report.figures import number
from benchmark.suite import ERROR_METRICS
from benchmark.text import column_table

# Results also have keys from --metadata.
_RANK = re.compile(rf"(p[\d.]+)_(?:{'|'.join(METRICS)})_ms")
# Smaller delays come from the event loop.
_LATE_S = 0.1


def throughput_table(results: Sequence[dict[str, Any]]) -> Table:
    """One row per concurrency: counts and throughput, next to the baseline if there is one."""
    cut = any(row.get("cancelled") for row in results)
    good = any(row.get("request_goodput") is not None for row in results)
    columns = ["concurrency", "done", "failed", *(["disconnected"] if cut else []), "req/s"]
    columns += ["good req/s"] if good else []
    columns += ["out tok/s"]
    baseline = next((r["baseline"] for r in results if "baseline" in r), None)
    if baseline is not None:
        columns += ["baseline tok/s", "ratio"]
    beside = "" if baseline is None else f" next to {baseline}"
    result = column_table(f"{results[0]['model_id']}: throughput{beside}", columns, ())
    for row in results:
        cells = [
            _concurrency(row),
            str(row["completed"]),
            str(row["failed"]),
            *([str(row["cancelled"])] if cut else []),
            f"{row['request_throughput']:.2f}",
            *([f"{row['request_goodput']:.2f}"] if good else []),
            f"{row['output_throughput']:.1f}",
        ]
        if baseline is not None:
            cells += [f"{row['baseline_output_throughput']:.1f}", _ratio(row)]
        result.add_row(*cells)
    return result


def latency_table(results: Sequence[dict[str, Any]], metrics: Sequence[str]) -> Table:
    """One row per concurrency and metric, in milliseconds."""
    ranks = sorted(
        {found[1] for key in results[0] if (found := _RANK.fullmatch(key))},
        key=lambda rank: float(rank[1:]),
    )
    statistics = ["mean", "std", *ranks]
    result = column_table("latency, ms", ["concurrency", "metric", *statistics], ())
    for row in results:
        # The baseline's line follows the server's, if it has latencies.
        sources = [(row, ""), (row.get("baseline_result"), ", baseline")]
        for name in metrics:
            for source, suffix in sources:
                if source is None:
                    continue
                values = [source.get(f"{statistic}_{name}_ms") for statistic in statistics]
                cells = ["-" if value is None else f"{value:.1f}" for value in values]
                result.add_row(_concurrency(row), f"{name}{suffix}", *cells)
    return result


def quality_table(results: Sequence[dict[str, Any]]) -> Table | None:
    """The scores of the questions among the requests; None without questions."""
    if not any("quality" in row for row in results):
        return None
    name = next(row["quality"]["suite"] for row in results if "quality" in row)
    columns = ["concurrency", "row", "n", "metric", "score", "95 %", "chance", "target"]
    result = column_table(f"answers to questions of {name}, under this load", columns, ())
    for row in results:
        for score in row.get("quality", {}).get("rows", ()):
            metric = score["metric"]
            ends = [_score(score[end], metric) for end in ("low", "high")]
            result.add_row(
                _concurrency(row),
                score["row"],
                str(score["n"]),
                metric,
                _score(score["value"], metric),
                "-" if score["low"] is None else " - ".join(ends),
                _score(score["chance"], metric),
                _score(score["target"], metric),
            )
    return result


def notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """Failures, disconnects, delays, cache hits and scores that the tables do not show."""
    lines = []
    for row in results:
        where = f"concurrency {_concurrency(row)}"
        if row["failed"]:
            reasons = sorted(row["error_counts"], key=row["error_counts"].get, reverse=True)
            lines.append(f"{where}: {row['failed']} failed: {'; '.join(reasons[:3])}")
        if row.get("cancelled"):
            lines.append(f"{where}: {row['cancelled']} disconnected, not counted elsewhere")
        if (late := _late(row)) is not None:
            lines.append(f"{where}: {late}")
        if row["short_outputs"]:
            lines.append(f"{where}: some outputs do not have the requested length")
        for source, whose in ((row, ""), (row.get("baseline_result") or {}, " of the baseline")):
            if cached := source.get("total_cached_tokens"):
                share = cached / max(1, source["total_input_tokens"])
                lines.append(
                    f"{where}: {100 * share:.0f} % of prompt tokens{whose} came from a cache"
                )
        if quality := row.get("quality"):
            lines.append(
                f"{where}: {quality['correct']} of {quality['answered']} questions correct, "
                f"{quality['correct_throughput']:.2f} correct answers/s"
            )
            low = [score["row"] for score in quality["rows"] if score["below_target"]]
            if low:
                lines.append(f"{where}: below target under this load: {', '.join(low)}")
    return lines


def _late(row: dict[str, Any]) -> str | None:
    """A note on delayed requests of an open loop, which latencies do not include."""
    waits: Sequence[float] = row.get("queue_times") or ()
    is_open = row["request_rate"] != "inf" or "ramp_up_strategy" in row
    if not is_open or max(waits, default=0.0) < _LATE_S:
        return None
    return (
        f"requests were sent up to {max(waits):.2f} s after they were due "
        f"({sum(waits) / len(waits):.2f} s on average); latencies do not include this delay"
    )


def save(
    results: Sequence[dict[str, Any]], directory: Path, filename: str | None, detailed: bool = False
) -> list[Path]:
    """Writes one JSON file per result, named by concurrency; returns the paths."""
    paths = []
    for row in results:
        path = directory / _file_name(row, filename, alone=len(results) == 1)
        kept = row if detailed else without_details(row)
        write_whole(path, json.dumps(kept, indent=2) + "\n")
        paths.append(path)
    return paths


def _file_name(row: dict[str, Any], filename: str | None, alone: bool) -> str:
    limit = row["max_concurrency"]
    suffix = "" if limit is None else f"-concurrency{limit}"
    if filename is not None:
        stem = Path(filename)
        return filename if alone else f"{stem.stem}{suffix}{stem.suffix}"
    rate = f"{row['request_rate']}qps"
    if "ramp_up_strategy" in row:
        first, last = row["ramp_up_start_rps"], row["ramp_up_end_rps"]
        rate = f"ramp-up-{row['ramp_up_strategy']}-{first:g}qps-{last:g}qps"
    model = str(row["model_id"]).rsplit("/", 1)[-1]
    return f"{row.get('label') or row['backend']}-{rate}{suffix}-{model}-{row['date']}.json"


def _ratio(row: dict[str, Any]) -> str:
    """The median of the rounds' ratios, with the lowest and the highest of several."""
    ratios = row["round_speedups"]
    spread = f" ({min(ratios):.2f} - {max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{row['speedup']:.2f}x{spread}"


def _concurrency(row: dict[str, Any]) -> str:
    limit = row["max_concurrency"]
    return "unbounded" if limit is None else str(limit)


def _score(value: float | None, metric: str) -> str:
    """Errors as numbers of objects, all other metrics in percent."""
    if value is None:
        return "-"
    return f"{number(value, metric)}{'' if metric.startswith(ERROR_METRICS) else ' %'}"
