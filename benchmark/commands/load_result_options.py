"""Options of `lamm bench load` on scores, result files and baseline. Called by `load_options`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands.option_types import above_zero, list_of, pair_of, share
from benchmark.load.metrics import GOODPUT_METRICS, METRICS

PLOT_FORMATS = ("png", "svg")


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Scores, result files and the baseline beside them."""
    _suite_options(parser)
    _result_options(parser)
    _baseline_options(parser)


def _suite_options(parser: argparse.ArgumentParser) -> None:
    suite = parser.add_argument_group("quality", "a suite's questions among the requests, scored")
    suite.add_argument("--suite", help="'mini', or a suite's directory (default: no questions)")
    suite.add_argument(
        "--data", type=Path, help="the suite's directory (default: data/mini-suite for 'mini')"
    )
    suite.add_argument(
        "--suite-share",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="share of the requests that are questions (default: 0.5)",
    )


def _result_options(parser: argparse.ArgumentParser) -> None:
    result = parser.add_argument_group("result")
    result.add_argument(
        "--percentile-metrics",
        type=list_of(_metric),
        default=tuple(METRICS),
        metavar="NAME[,NAME...]",
        help=f"latencies in the table: {','.join(METRICS)} (default: all)",
    )
    result.add_argument(
        "--metric-percentiles",
        type=list_of(_rank),
        default=(50.0, 90.0, 99.0),
        metavar="P[,P...]",
        help="percentiles in the result files (default: 50,90,99)",
    )
    result.add_argument(
        "--goodput",
        type=_objective,
        nargs="+",
        default=[],
        metavar="NAME:MS",
        help="count the requests that keep these limits, such as ttft:500 tpot:50 e2el:2000",
    )
    result.add_argument("--save-result", action="store_true", help="write a JSON file a test")
    result.add_argument(
        "--save-detailed", action="store_true", help="the same, with every request's times and text"
    )
    result.add_argument(
        "--plot",
        choices=PLOT_FORMATS,
        nargs="?",
        const=PLOT_FORMATS[0],
        help="write a picture beside each JSON file, and one of all tests (default format: png)",
    )
    result.add_argument(
        "--result-dir",
        type=Path,
        default=Path("results/load"),
        help="folder of the result files (default: %(default)s)",
    )
    result.add_argument("--result-filename", help="name of the file (default: made from the test)")
    result.add_argument("--label", help="first part of the file's name (default: the backend)")
    result.add_argument(
        "--metadata", type=pair_of("="), nargs="+", default=[], metavar="NAME=VALUE",
        help="written into the result files",
    )  # fmt: skip


def _baseline_options(parser: argparse.ArgumentParser) -> None:
    baseline = parser.add_argument_group(
        "baseline", "run in turns with the server, on the same prompts; needs the training extra"
    )
    baseline.add_argument(
        "--baseline",
        choices=["transformers"],
        help="transformers' generate in static batches of the concurrency",
    )
    baseline.add_argument("--checkpoint", type=Path, help="the weights that the server serves")
    baseline.add_argument(
        "--baseline-device", default="cpu", help="torch's name of it (default: cpu)"
    )
    baseline.add_argument(
        "--baseline-dtype",
        default="float32",
        choices=["float32", "float16", "bfloat16"],
        help="precision; take the server's (default: float32)",
    )


def _metric(text: str) -> str:
    if text not in METRICS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(METRICS)}")
    return text


def _rank(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"percentile {text} is not within 0 and 100")
    return value


def _objective(text: str) -> tuple[str, float]:
    name, value = pair_of(":")(text)
    if name not in GOODPUT_METRICS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(GOODPUT_METRICS)}")
    return name, above_zero(float)(value)
