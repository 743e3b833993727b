"""Report tables of load tests and judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.report.figures import span
from benchmark.report.files import LoadTest, StoredJudgement
from benchmark.report.stamps import Stamp
from benchmark.report.tables import Cell, CellKind, ReportTable

_ABSENT = "-"
_LOAD_COLUMNS = (
    ("done", "completed", "{:.0f}"),
    ("failed", "failed", "{:.0f}"),
    ("cancelled", "cancelled", "{:.0f}"),
    ("req/s", "request_throughput", "{:.2f}"),
    ("good req/s", "request_goodput", "{:.2f}"),
    ("out tok/s", "output_throughput", "{:.1f}"),
    ("TTFT p50, ms", "p50_ttft_ms", "{:.1f}"),
    ("TTFT p99, ms", "p99_ttft_ms", "{:.1f}"),
    ("ITL p50, ms", "p50_itl_ms", "{:.1f}"),
    ("ITL p99, ms", "p99_itl_ms", "{:.1f}"),
    ("E2EL p99, ms", "p99_e2el_ms", "{:.1f}"),
    ("baseline tok/s", "baseline_output_throughput", "{:.1f}"),
    ("ratio", "speedup", "{:.2f}"),
    ("correct answers", "quality.accuracy", "{:.1%}"),
)
# The keys that must be equal in comparable load tests.
_WORK = (
    "output_len_mix", "input_word_mix", "ignore_eos", "num_images", "num_clouds", "unique_images",
    "unique_clouds", "cancel_rate", "goodput",
)  # fmt: skip
_JUDGED_COLUMNS = (
    "systems", "judge", "n", "wins", "ties", "losses", "orders disagreed", "unparsed, %",
    "win rate", "upstream's counting", "first shown preferred",
)  # fmt: skip


def load_table(tests: Sequence[LoadTest]) -> ReportTable:
    """One line per test, sorted by label and concurrency; columns without values are left out."""
    used = [c for c in _LOAD_COLUMNS if any(_get(test.result, c[1]) is not None for test in tests)]
    rows = tuple(
        (
            Cell(test.label, CellKind.HEAD, note=test.file.name),
            Cell(_concurrency(test.result), CellKind.HEAD),
            Cell(_offered(test.result), CellKind.HEAD),
            *(Cell(_cell(test.result, key, form)) for _, key, form in used),
        )
        for test in in_order(tests)
    )
    return ReportTable(
        id="load",
        title="Latency and throughput",
        caption="TTFT: time to first token; ITL: time between chunks of text; E2EL: whole request.",
        columns=("server", "concurrency", "requests/s offered", *(name for name, _, _ in used)),
        rows=rows,
        heads=3,
        stamps=_stamps(tests),
    )


def judgement_table(judgements: Sequence[StoredJudgement]) -> ReportTable:
    """One line per pair of systems and judge."""
    rows = tuple(
        (
            Cell(" against ".join(one.systems), CellKind.HEAD),
            Cell(one.judge, CellKind.HEAD, note=" ".join(one.notes)),
            Cell(str(one.n)),
            *(Cell(str(one.counts.get(key, 0))) for key in ("win", "tie", "loss")),
            Cell(str(one.counts.get("disagreed", 0))),
            Cell(f"{100 * one.unparsed:.1f}"),
            Cell(_rate(one.win_rate) + span(one.interval_95, "win rate")),
            Cell(_rate(one.upstream_win_rate), note=f"n {one.upstream_n}"),
            Cell(_rate(one.first_shown_preferred)),
        )
        for one in judgements
    )
    return ReportTable(
        id="judgements",
        title="Pairwise judgements",
        caption=(
            "Percent. Win rates count ties and disagreements between the two orders as half; "
            "upstream's counting shows the first system first and leaves out ties. An unbiased "
            "judge prefers the answer shown first in 50 % of its decided verdicts."
        ),
        columns=_JUDGED_COLUMNS,
        rows=rows,
        heads=2,
    )


def in_order(tests: Sequence[LoadTest]) -> list[LoadTest]:
    """By label, then by concurrency, unbounded last."""
    return sorted(tests, key=lambda t: (t.label, t.result.get("max_concurrency") or float("inf")))


def _stamps(tests: Sequence[LoadTest]) -> tuple[Stamp, ...]:
    """A stamp if the tests have different workloads; missing keys are ignored."""
    told = {key: [test.result.get(key) for test in tests] for key in _WORK}
    known = {key: [v for v in values if v is not None] for key, values in told.items()}
    different = [key for key, values in known.items() if any(v != values[0] for v in values)]
    if not different:
        return ()
    text = f"The tests differ in {', '.join(different)}: their numbers are not comparable."
    return (Stamp(tuple(dict.fromkeys(test.label for test in tests)), text, grave=True),)


def _offered(result: Mapping[str, Any]) -> str:
    if "ramp_up_strategy" in result:
        return f"{result.get('ramp_up_start_rps')} to {result.get('ramp_up_end_rps')}"
    return str(result.get("request_rate", _ABSENT))


def _concurrency(result: Mapping[str, Any]) -> str:
    limit = result.get("max_concurrency")
    return "unbounded" if limit is None else str(limit)


def _cell(result: Mapping[str, Any], key: str, form: str) -> str:
    value = _get(result, key)
    return _ABSENT if value is None else form.format(value)


def _get(result: Mapping[str, Any], key: str) -> float | None:
    name, _, inner = key.partition(".")
    value = result.get(name)
    if inner:
        value = value.get(inner) if isinstance(value, Mapping) else None
    if value is None and key.startswith("p50_"):
        # vLLM has a separate key for the median.
        value = result.get(f"median_{key.removeprefix('p50_')}")
    return float(value) if isinstance(value, int | float) else None


def _rate(value: float | None) -> str:
    return _ABSENT if value is None else f"{100 * value:.1f}"
