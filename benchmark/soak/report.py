"""The promises of a soak test, kept or broken, as a table, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.answers import write_whole
from benchmark.text import cell, markdown_table

_SHOWN = 5
# Connections of probes and of the last requests may still be closing.
SPARE_FILES = 16
_COLUMNS = ("promise", "limit", "measured", "")
_WORDS = {True: "kept", False: "BROKEN", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits: memory slope in MB per minute, 99th percentile of probes in ms."""

    memory_mb_per_min: float = 1.0
    probe_p99_ms: float = 50.0


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; `kept` is None if it was not measured, which does not pass."""

    name: str
    limit: str
    measured: str
    kept: bool | None


def promises(result: Mapping[str, Any], limits: Limits) -> list[Promise]:
    """The promises with their measurements."""
    outcomes = result["outcomes"]
    return [
        _count("hung requests", outcomes["hung"]),
        _wrong_answers(result["verification"], outcomes["finished"]),
        _count("5xx other than 429 and 503", outcomes["server_error"]),
        _count("refusals without Retry-After", result["refusals_without_retry_after"]),
        _count(
            "connections lost, broken streams, valid requests rejected",
            outcomes["lost"] + outcomes["broken"] + outcomes["rejected"],
        ),
        _memory(result["memory"]["slope_mb_per_min"], limits),
        *_open_files(result.get("open_files", ())),
        *(_probe(path, log, limits) for path, log in result["probes"].items()),
        _left_behind(result["left_behind"]),
    ]


def passed(kept: Sequence[Promise]) -> bool:
    """Whether every promise was measured and kept."""
    return all(promise.kept is True for promise in kept)


def table(kept: Sequence[Promise]) -> Table:
    """The table of promises for a terminal."""
    made = Table(title="promises")
    for column in _COLUMNS:
        made.add_column(column)
    for promise in kept:
        made.add_row(*_cells(promise))
    return made


def write(result: Mapping[str, Any], kept: Sequence[Promise], out: Path) -> list[Path]:
    """Writes `soak.json` and `soak.md` to `out`; returns the paths."""
    whole = {**result, "promises": [asdict(promise) for promise in kept], "passed": passed(kept)}
    write_whole(out / "soak.json", json.dumps(whole, indent=2) + "\n")
    write_whole(out / "soak.md", as_markdown(result, kept))
    return [out / "soak.json", out / "soak.md"]


def as_markdown(result: Mapping[str, Any], kept: Sequence[Promise]) -> str:
    """The report: verdict, promises, test conditions, and examples of failures."""
    spec, outcomes, checked = result["spec"], result["outcomes"], result["verification"]
    lines = [
        f"# Soak test of {result['model']}: {'passed' if passed(kept) else 'FAILED'}",
        "",
        f"{spec['clients']} clients for {result['seconds']:.0f} s on {result['date']}, "
        f"{100 * spec['cancel_rate']:.0f} % of the requests disconnecting at random moments, "
        f"different media in every request ({spec['media']}, {spec['suite']}, "
        f"seed {spec['seed']}).",
        "",
        *markdown_table(_COLUMNS, map(_cells, kept), _COLUMNS),
        "",
        "## Test",
        "",
        f"- {sum(outcomes.values())} requests, "
        f"{result['finished_per_s']:.1f} finished per second: "
        + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items()),
        _latency_line(result["latency_ms"]),
        f"- {checked['checked']} of {outcomes['finished']} finished answers were compared with the "
        f"answer to the same request alone, from {result['reference']}; "
        f"{_share(checked['cached_tokens'], checked['prompt_tokens'])} of their prompt tokens "
        "came from a cache.",
        f"- {checked['distinct_answers']} different answers; the most common one makes up "
        f"{100 * checked['commonest_answer_share']:.0f} %.",
        f"- Memory: {_memory_line(result['memory'])}",
        f"- CPU of the client process: {100 * result['client_cpu_share']:.0f} % of a core.",
    ]
    lines += _examples(result)
    return "\n".join(lines) + "\n"


def _cells(promise: Promise) -> tuple[str, ...]:
    return promise.name, promise.limit, promise.measured, _WORDS[promise.kept]


def _count(name: str, count: int) -> Promise:
    return Promise(name, "0", str(count), count == 0)


def _wrong_answers(found: Mapping[str, Any], finished: int) -> Promise:
    wrong, checked = len(found["wrong"]), found["checked"]
    unanswered = len(found["unanswered"])
    measured = f"{wrong} of {checked} compared ({finished} finished)"
    if unanswered:
        measured += f", {unanswered} without an answer alone"
    kept = None if checked == 0 else wrong == 0 and unanswered == 0
    return Promise("wrong answers", "0", measured, kept)


def _memory(slope: float | None, limits: Limits) -> Promise:
    limit = f"under {limits.memory_mb_per_min:g} MB/min"
    if slope is None:
        return Promise("memory slope after warm-up", limit, "not measured", None)
    return Promise(
        "memory slope after warm-up",
        limit,
        f"{slope:+.2f} MB/min",
        slope < limits.memory_mb_per_min,
    )


def _open_files(counts: Sequence[int | None]) -> list[Promise]:
    """Open descriptors before and after the test; empty if not available."""
    if len(counts) != 2 or counts[0] is None or counts[1] is None:
        return []
    before, after = counts[0], counts[1]
    measured = f"{before} before, {after} after"
    limit = f"at most {SPARE_FILES} more than before"
    return [Promise("open files", limit, measured, after - before <= SPARE_FILES)]


def _probe(path: str, log: Mapping[str, Any], limits: Limits) -> Promise:
    limit = f"p99 under {limits.probe_p99_ms:g} ms, none failed"
    name = f"probe {path}"
    if "p99_ms" not in log or set(log["answers"]) == {"404"}:
        kept = False if log["failed"] and "404" not in log["answers"] else None
        return Promise(name, limit, f"{log['asked']} asked: {_answers(log)}", kept)
    measured = (
        f"p50 {log['p50_ms']:.1f}, p99 {log['p99_ms']:.1f}, max {log['max_ms']:.0f} ms; "
        f"{log['failed']} of {log['asked']} failed"
    )
    return Promise(name, limit, measured, not log["failed"] and log["p99_ms"] < limits.probe_p99_ms)


def _answers(log: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} x {answer}" for answer, count in log["answers"].items()) or "none"


def _left_behind(left: Mapping[str, Any] | None) -> Promise:
    name, limit = "requests left in the engine", "0 within 30 s"
    if left is None:
        return Promise(name, limit, "not measured", None)
    count = left["running"] + left["waiting"]
    return Promise(name, limit, f"{count} after {left['seconds']:.1f} s", count == 0)


def _latency_line(latency: Mapping[str, float]) -> str:
    if not latency:
        return "- No request finished."
    shown = ", ".join(f"{name} {value:.0f} ms" for name, value in latency.items())
    return f"- Latency of finished requests: {shown}."


def _memory_line(memory: Mapping[str, Any]) -> str:
    samples = memory["samples"]
    if not samples:
        return "not measured; give --server-pid."
    children = samples[-1][2]
    of_children = "" if children is None else f" ({children:.0f} in its children)"
    return (
        f"{samples[0][1]:.0f} MB at the start, {max(sample[1] for sample in samples):.0f} MB max, "
        f"{samples[-1][1]:.0f} MB at the end{of_children}, from {memory['source']}; Theil-Sen "
        f"slope without the first {memory['warm_up_s']:.0f} s."
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _examples(result: Mapping[str, Any]) -> list[str]:
    lines = []
    for one in result["verification"]["wrong"][:_SHOWN]:
        lines.append(
            f"- request {one['request']}, {one['question']!r}: {one['in_crowd']} in the crowd, "
            f"{one['alone']} alone"
        )
    lines += [f"- no answer alone: {why}" for why in result["verification"]["unanswered"][:_SHOWN]]
    for outcome, errors in result["examples"].items():
        lines += [f"- {outcome.replace('_', ' ')}: {error}" for error in errors]
    return ["", "## Failures", "", *map(cell, lines)] if lines else []
