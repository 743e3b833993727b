"""Reliability diagrams: the share of right answers over the score, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmark.calibration.fit import bins
from benchmark.calibration.samples import Key, Samples
from benchmark.load.plot import require_matplotlib, write_figure
from lamm_model.tasks.calibration import Curve, Scored

_COLUMNS = 4
_INCHES = 2.7
_RAW, _CALIBRATED = "#d55e00", "#0072b2"  # of Okabe and Ito (2008)
_DOT = 260.0  # area of a bin that has every score, in square points


def save_plot(curves: Mapping[Key, Curve], others: Samples, path: Path) -> Path | None:
    """Writes one panel per curve, its scores in bins whose dots grow with their number.

    None without scores of other questions than those of the fit.

    Raises:
        BenchmarkError: matplotlib is not installed, or the file cannot be written.
    """
    keys = [key for key in curves if others.get(key)]
    if not keys:
        return None
    require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - only plots need it

    rows = -(-len(keys) // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _INCHES, rows * _INCHES), layout="constrained")
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).flat)
    for axes, key in zip(panels, keys, strict=False):
        curve, samples = curves[key], others[key]
        hits = [one.hit for one in samples]
        sides = (
            ("raw", _RAW, [one.raw for one in samples]),
            ("calibrated", _CALIBRATED, [curve(one.features) for one in samples]),
        )
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for label, colour, values in sides:
            found = bins(values, hits)
            areas = [8 + _DOT * n / len(samples) for _, _, n in found]
            means, shares = [one[0] for one in found], [one[1] for one in found]
            axes.plot(means, shares, color=colour, linewidth=1)
            axes.scatter(means, shares, areas, color=colour, alpha=0.7, label=label, linewidths=0)
        task, kind = key
        axes.set_title(task if kind is Scored.ANSWER else f"{task}, {kind}", fontsize=9)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.tick_params(labelsize=8)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    figure.supxlabel("score", fontsize=9)
    figure.supylabel("share that is right", fontsize=9)
    handles = [
        figure.axes[0].plot([], [], "o", color=colour, label=label)[0]
        for label, colour in (("raw", _RAW), ("calibrated", _CALIBRATED))
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    return write_figure(figure, path)
