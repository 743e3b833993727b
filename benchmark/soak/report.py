"""What a soak test found: promises kept or not, as JSON and as one page of Markdown.

Called by `soak`; pure functions of the result.
"""

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
# Connections of probes and of whoever asked last may be closing still.
SPARE_FILES = 16
_COLUMNS = ("promise", "limit", "measured", "")
_WORDS = {True: "kept", False: "BROKEN", None: "not measured"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the promises end: memory in MB per minute, 99th percentile of probes in ms."""

    memory_mb_per_min: float = 1.0
    probe_p99_ms: float = 50.0


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; `kept` is None where it was not measured, which is no pass."""

    name: str
    limit: str
    measured: str
    kept: bool | None


def promises(result: Mapping[str, Any], limits: Limits) -> list[Promise]:
    """The promises, each beside what was measured."""
    outcomes = result["outcomes"]
    return [
        _count("hung requests", outcomes["hung"]),
        _wrong_answers(result["verification"], outcomes["finished"]),
        _count("5xx other than 429 and 503", outcomes["server_error"]),
        _count("refusals without Retry-After", result["refusals_without_retry_after"]),
        _count(
            "connections lost, broken streams, good requests rejected",
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
    """The promises for a terminal."""
    made = Table(title="promises")
    for column in _COLUMNS:
        made.add_column(column)
    for promise in kept:
        made.add_row(*_cells(promise))
    return made


def write(result: Mapping[str, Any], kept: Sequence[Promise], out: Path) -> list[Path]:
    """Writes `soak.json` and `soak.md` into `out`; returns the paths."""
    whole = {**result, "promises": [asdict(promise) for promise in kept], "passed": passed(kept)}
    write_whole(out / "soak.json", json.dumps(whole, indent=2) + "\n")
    write_whole(out / "soak.md", as_markdown(result, kept))
    return [out / "soak.json", out / "soak.md"]


def as_markdown(result: Mapping[str, Any], kept: Sequence[Promise]) -> str:
    """The page: verdict, promises, what was done, and the first examples of all that went wrong."""
    spec, outcomes, checked = result["spec"], result["outcomes"], result["verification"]
    lines = [
        f"# Soak test of {result['model']}: {'passed' if passed(kept) else 'FAILED'}",
        "",
        f"{spec['clients']} clients for {result['seconds']:.0f} s on {result['date']}, "
        f"{100 * spec['cancel_rate']:.0f} % of the requests disconnecting at random moments, "
        f"every request with media of its own ({spec['media']}, {spec['suite']}, "
        f"seed {spec['seed']}).",
        "",
        *markdown_table(_COLUMNS, map(_cells, kept), _COLUMNS),
        "",
        "## What was done",
        "",
        f"- {sum(outcomes.values())} requests, "
        f"{result['finished_per_s']:.1f} finished a second: "
        + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items()),
        _latency_line(result["latency_ms"]),
        f"- Of {outcomes['finished']} finished answers {checked['checked']} were compared with the "
        f"answer alone, asked of {result['reference']} afterwards; "
        f"{_share(checked['cached_tokens'], checked['prompt_tokens'])} of those prompts' tokens "
        "came from a cache.",
        f"- {checked['distinct_answers']} different answers; the commonest makes up "
        f"{100 * checked['commonest_answer_share']:.0f} %.",
        f"- Memory: {_memory_line(result['memory'])}",
        f"- The clients' own process took {100 * result['client_cpu_share']:.0f} % of a core.",
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
        measured += f", {unanswered} had no answer alone"
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
    """Descriptors before the crowd and after it; nothing where they cannot be counted."""
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
        f"p50 {log['p50_ms']:.1f}, p99 {log['p99_ms']:.1f}, most {log['max_ms']:.0f} ms; "
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
    return f"- Latency of the finished: {shown}."


def _memory_line(memory: Mapping[str, Any]) -> str:
    samples = memory["samples"]
    if not samples:
        return "not measured; give --server-pid."
    children = samples[-1][2]
    of_children = "" if children is None else f" ({children:.0f} of them its children's)"
    return (
        f"{samples[0][1]:.0f} MB at first, {max(sample[1] for sample in samples):.0f} MB at most, "
        f"{samples[-1][1]:.0f} MB at the end{of_children}, from {memory['source']}; the slope is "
        f"Theil and Sen's, without the first {memory['warm_up_s']:.0f} s."
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
    return ["", "## Examples", "", *map(cell, lines)] if lines else []
