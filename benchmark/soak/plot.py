"""Plot of a soak test over time: memory with its slope, and the slowest probe per second."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.soak.report import Limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (9.0, 6.0)


def write(result: Mapping[str, Any], limits: Limits, out: Path) -> Path | None:
    """Writes `soak.svg` to `out`; returns None if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return None
    path = out / "soak.svg"
    _figure(result, limits).savefig(path, format="svg", bbox_inches="tight")
    return path


def _figure(result: Mapping[str, Any], limits: Limits) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - only plots need it

    figure = Figure(figsize=_INCHES)
    memory, probes = figure.subplots(2, 1, sharex=True)
    _draw_memory(memory, result["memory"])
    for path, log in result["probes"].items():
        points = log.get("max_ms_by_second", ())
        probes.plot([at for at, _ in points], [ms for _, ms in points], label=path, linewidth=0.9)
    probes.axhline(limits.probe_p99_ms, linestyle=":", color="black", linewidth=0.9)
    probes.set_title("slowest probe of each second, ms; dotted: the limit of the 99th percentile")
    probes.set_ylim(bottom=0)
    probes.set_xlabel("seconds")
    probes.legend(fontsize=8)
    for axes in (memory, probes):
        axes.grid(linewidth=0.4)
        axes.title.set_fontsize(9)
    return figure


def _draw_memory(axes: Axes, memory: Mapping[str, Any]) -> None:
    samples = memory["samples"]
    axes.set_title("resident memory, MB")
    if not samples:
        return
    axes.plot([one[0] for one in samples], [one[1] for one in samples], label="server and children")
    if all(one[2] is not None for one in samples):
        axes.plot([one[0] for one in samples], [one[2] for one in samples], label="children")
    slope = memory["slope_mb_per_min"]
    if slope is not None:
        kept = [one for one in samples if one[0] >= memory["warm_up_s"]]
        middle = kept[len(kept) // 2]
        ends = [kept[0][0], kept[-1][0]]
        line = [middle[1] + slope / 60 * (at - middle[0]) for at in ends]
        axes.plot(ends, line, "--", color="black", linewidth=0.9, label=f"{slope:+.2f} MB/min")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
