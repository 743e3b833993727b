"""Plots as inline SVG whose colours follow the light or dark theme of the page.

Drawn by matplotlib; ids are made unique per plot, and metadata and namespaces, which HTML does not
need, are removed because they contain external addresses.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.files import LoadTest, Run, StoredRow
from benchmark.report.load_tables import in_order

# Placeholders for CSS variables; no series has these colours.
_INK, _FAINT = "#010203", "#040506"
_VARIABLES: Mapping[str, str] = {_INK: "var(--ink)", _FAINT: "var(--line)"}
# Colours of Okabe and Ito (2008), distinguishable with any colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osDPX*"
_CONTROL_MARKERS = {"blank-media": "<", "shuffled-options": "v", "text-only": "^"}
_COUNTS = ("mae", "rmse")
_STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name does not start a formula
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def score_plot(runs: Sequence[Run]) -> str | None:
    """Primary metric of each row with interval, chance and controls; None without any share."""
    names = list(dict.fromkeys(row.name for run in runs for row in run.scores.rows if _shown(row)))
    if not names:
        return None
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "scores"}):
        figure = Figure(figsize=(10.5, 1.1 + 0.34 * len(names) * (1 + 0.35 * (len(runs) - 1))))
        axes = figure.add_subplot()
        for index, run in enumerate(runs):
            _draw_run(axes, run, names, index, len(runs))
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel("percent, with 95 % intervals")
        axes.grid(axis="x", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, fontsize=8)
        return _svg(figure, "scores")


def load_plot(tests: Sequence[LoadTest]) -> str | None:
    """Throughput and time to first token over concurrency, one line per server.

    None if no server has two points.
    """
    series: dict[str, list[tuple[float, float, float | None]]] = {}
    for test in in_order(tests):
        limit, result = test.result.get("max_concurrency"), test.result
        if isinstance(limit, int):
            ttft = result.get("p50_ttft_ms", result.get("median_ttft_ms"))
            series.setdefault(test.label, []).append(
                (limit, float(result["output_throughput"]), ttft)
            )
    if not any(len(points) > 1 for points in series.values()):
        return None
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "load"}):
        figure = Figure(figsize=(10.5, 3.4))
        throughput, latency = figure.subplots(1, 2)
        for index, (label, points) in enumerate(series.items()):
            style = {"color": _colour(index), "marker": _MARKERS[index % len(_MARKERS)]}
            where = [point[0] for point in points]
            throughput.plot(where, [point[1] for point in points], label=label, **style)
            known = [(at, ttft) for at, _, ttft in points if ttft is not None]
            latency.plot([at for at, _ in known], [ttft for _, ttft in known], **style)
        for axes, label in ((throughput, "output tokens/s"), (latency, "TTFT p50, ms")):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("maximum requests in flight")
            axes.set_title(label, fontsize=9)
            axes.set_ylim(bottom=0)
            axes.grid(linewidth=0.6)
        throughput.legend(fontsize=8)
        return _svg(figure, "load")


def _draw_run(axes: Axes, run: Run, names: Sequence[str], index: int, count: int) -> None:
    rows = {row.name: row for row in run.scores.rows}
    colour, shift = _colour(index), (index - (count - 1) / 2) * 0.6 / max(count, 2)
    label, first_chance, controls = run.label, True, set[str]()
    for at, name in enumerate(names):
        row = rows.get(name)
        if row is None or not _shown(row) or row.score is None:
            continue
        y, value = at + shift, 100 * row.score
        low, high = (100 * v for v in row.interval_95 or (row.score, row.score))
        axes.errorbar(
            value, y, xerr=[[max(0, value - low)], [max(0, high - value)]], color=colour,
            fmt=_MARKERS[index % len(_MARKERS)], capsize=2, markersize=5, label=label,
        )  # fmt: skip
        label = "_"
        if row.chance is not None and index == 0:
            chance = "chance" if first_chance else "_"
            axes.plot([100 * row.chance] * 2, [at - 0.38, at + 0.38], ":", color=_INK, label=chance)
            first_chance = False
        for control, found in row.controls.items():
            if found.score is not None:
                title = "_" if control in controls else f"{control}, {run.label}"
                axes.plot(
                    100 * found.score, y, _CONTROL_MARKERS.get(control, "x"),
                    color=colour, fillstyle="none", markersize=6, label=title,
                )  # fmt: skip
                controls.add(control)


def _shown(row: StoredRow) -> bool:
    """Whether the row is shown: errors in objects would need another axis."""
    return row.score is not None and not row.metric.startswith(_COUNTS)


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _svg(figure: Figure, name: str) -> str:
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
    )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text
