"""Plots of load tests: latencies and throughput of one test, and a sweep over several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError
from benchmark.load.metrics import percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (12.0, 8.0)
_SWEEP_INCHES = (12.0, 4.5)
_BINS = 60


def require_matplotlib() -> None:
    """Raises BenchmarkError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise BenchmarkError("plots need matplotlib; install it with: pip install 'lamm[bench]'")


def save_plots(
    results: Sequence[Mapping[str, Any]], files: Sequence[Path], format: str
) -> list[Path]:
    """Writes a plot next to each JSON file, and one of all results if there are several."""
    pictures = []
    for result, file in zip(results, files, strict=True):
        pictures.append(write_figure(run_figure(result), file.with_suffix(f".{format}")))
    if len(results) > 1:
        # Named after the first test, without its concurrency.
        stem = files[0].stem.replace(f"-concurrency{results[0]['max_concurrency']}", "")
        sweep = files[0].with_name(f"{stem}-sweep.{format}")
        pictures.append(write_figure(sweep_figure(results), sweep))
    return pictures


def run_figure(result: Mapping[str, Any]) -> Figure:
    """Latency distributions, and throughput and requests in flight over time, of one test.

    Args:
        result: a result with the keys of `--save-detailed`, times in seconds.

    Raises:
        BenchmarkError: a key is missing.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - only plots need it

    missing = [key for key in ("ttfts", "itls", "start_times", "output_lens") if key not in result]
    if missing:
        raise BenchmarkError(
            f"the result has no {', '.join(missing)}; run `lamm bench load` with --save-detailed"
        )
    figure = Figure(figsize=_INCHES, layout="constrained")
    figure.suptitle(_title(result))
    (ttft, itl), (throughput, in_flight) = figure.subplots(2, 2)
    done = _done(result)
    firsts = [1000 * result["ttfts"][index] for index in done]
    _distribution(ttft, "time to first token", "requests", firsts)
    gaps = [1000 * gap for index in done for gap in result["itls"][index]]
    _distribution(itl, "inter-token latency", "gaps", gaps)
    _throughput(throughput, result, done)
    _in_flight(in_flight, result)
    return figure


def sweep_figure(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Throughput over concurrency and latency over throughput, of several tests of one server."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only plots need it

    figure = Figure(figsize=_SWEEP_INCHES, layout="constrained")
    figure.suptitle(f"{results[0]['model_id']}: throughput and latency")
    by_concurrency, ttft, tpot = figure.subplots(1, 3)
    rows = sorted(results, key=_concurrency)
    rates = [row["output_throughput"] for row in rows]
    names = [str(row["max_concurrency"] or "unbounded") for row in rows]
    by_concurrency.plot(names, rates, marker="o", label="server")
    if all("baseline_output_throughput" in row for row in rows):
        beside = [row["baseline_output_throughput"] for row in rows]
        by_concurrency.plot(names, beside, marker="s", linestyle="--", label=rows[0]["baseline"])
        by_concurrency.legend()
    by_concurrency.set(xlabel="requests in flight", ylabel="output tokens/s")
    by_concurrency.set_ylim(bottom=0)
    for axes, metric in ((ttft, "ttft"), (tpot, "tpot")):
        _latency_by_throughput(axes, rows, metric)
    return figure


def _latency_by_throughput(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    for key, name in ((f"median_{metric}_ms", "median"), (f"p99_{metric}_ms", "p99")):
        points = [(row["output_throughput"], row[key], row) for row in rows if key in row]
        if not points:
            continue
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", label=name)
        for x, y, row in points if name == "p99" else ():
            limit = str(row["max_concurrency"] or "unbounded")
            axes.annotate(limit, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="output tokens/s", ylabel=f"{metric}, ms")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend()


def _distribution(axes: Axes, name: str, of: str, values: Sequence[float]) -> None:
    axes.set(title=name, xlabel="ms", ylabel=f"share of {of}")
    axes.set_ylim(0, 1.02)
    if not values:
        axes.text(0.5, 0.5, "nothing measured", ha="center", transform=axes.transAxes)
        return
    axes.ecdf(values)
    ordered = sorted(values)
    for rank, style in ((50, ":"), (99, "--")):
        value = percentile(ordered, rank)
        axes.axvline(value, linestyle=style, color="grey", label=f"p{rank} {value:.1f} ms")
    axes.legend(loc="lower right")


def _throughput(axes: Axes, result: Mapping[str, Any], done: Sequence[int]) -> None:
    """Output tokens per second over time; tokens are spread evenly over a request's chunks."""
    times: list[float] = []
    weights: list[float] = []
    first = min(result["start_times"], default=0.0)
    for index in done:
        chunks = _chunk_times(result, index)
        times += [time - first for time in chunks]
        weights += [result["output_lens"][index] / len(chunks)] * len(chunks)
    axes.set(title="output tokens over time", xlabel="s", ylabel="tokens/s")
    if not times:
        return
    bins = min(_BINS, max(5, len(done)))
    width = max(times) / bins or 1.0
    rates = [weight / width for weight in weights]
    axes.hist(times, bins=bins, range=(0.0, width * bins), weights=rates, histtype="stepfilled")
    axes.axhline(result["output_throughput"], linestyle="--", color="black", label="mean")
    axes.legend()


def _in_flight(axes: Axes, result: Mapping[str, Any]) -> None:
    first = min(result["start_times"], default=0.0)
    edges: list[tuple[float, int]] = []
    for index, start in enumerate(result["start_times"]):
        edges += [(start - first, 1), (start - first + _latency(result, index), -1)]
    edges.sort()
    counts = list(accumulate(step for _, step in edges))
    axes.step([time for time, _ in edges], counts, where="post")
    axes.set(title="requests in flight", xlabel="s", ylabel="requests")
    axes.set_ylim(bottom=0)


def _done(result: Mapping[str, Any]) -> list[int]:
    """Indices of the successful requests."""
    errors = result.get("errors") or [""] * len(result["ttfts"])
    return [index for index, error in enumerate(errors) if not error]


def _chunk_times(result: Mapping[str, Any], index: int) -> list[float]:
    first = result["start_times"][index] + result["ttfts"][index]
    return list(accumulate(result["itls"][index], initial=first))


def _latency(result: Mapping[str, Any], index: int) -> float:
    if "latencies" in result:
        return float(result["latencies"][index])
    # Files of vLLM have no latencies.
    return float(result["ttfts"][index] + sum(result["itls"][index]))


def _title(result: Mapping[str, Any]) -> str:
    limit = result["max_concurrency"] or "unbounded"
    parts = [
        f"{result['model_id']}, concurrency {limit}, {_rate(result)}",
        f"{result['completed']} done, {result['failed']} failed",
    ]
    if result.get("cancelled"):
        parts.append(f"{result['cancelled']} disconnected")
    quality = result.get("quality")
    if quality and quality["accuracy"] is not None:
        parts.append(f"{100 * quality['accuracy']:.1f} % of {quality['answered']} questions right")
    return "; ".join(parts)


def _rate(result: Mapping[str, Any]) -> str:
    if "ramp_up_strategy" in result:
        first, last = result["ramp_up_start_rps"], result["ramp_up_end_rps"]
        return f"{first:g} to {last:g} requests/s"
    rate = result["request_rate"]
    return "closed loop" if rate == "inf" else f"{rate:g} requests/s"


def _concurrency(row: Mapping[str, Any]) -> float:
    return row["max_concurrency"] or float("inf")


def write_figure(figure: Figure, path: Path) -> Path:
    """Saves a figure in the format of the file name's suffix; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
