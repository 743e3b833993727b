"""The options of `lamm bench`, with help that teaches."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmark.load_metrics import METRICS
from benchmark.protocol_scores import DEFAULT_PROTOCOLS, PROTOCOLS
from benchmark.suite import MINI_SUITE

N = TypeVar("N", int, float)
T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"

_QUALITY = """\
Asks a suite's questions of a running server, greedily, and scores the answers.

  lamm data mini-suite data/mini-suite      makes the suite's files
  lamm serve --checkpoint checkpoints/lamm-mini
  lamm bench quality --suite mini

  lamm data suite LAMM_Dataset data/lamm-suite      the published benchmark as a suite
  lamm bench quality --suite data/lamm-suite
  lamm bench quality --suite data/lamm-suite --rescore --protocol upstream-2023-07

Answers are kept in OUT/answers.jsonl as they come. A run that was killed, or whose server died,
goes on where it stopped when started again; --rescore reads the kept answers without any server. A
new checkpoint has another fingerprint, so its questions are asked afresh. Writes OUT/scores.json,
OUT/scores.md and OUT/gallery.html (hits and misses with their pictures). Exit status 1 means that
something was not measured: broken records, or questions without an answer.
"""
_LOAD = """\
Measures latency and throughput. Flags and result keys follow `vllm bench serve`.

  lamm bench load --max-concurrency 1,8,32 --num-prompts 64 --output-lens 8,16,32,128
  lamm bench load --request-rate 4 --num-prompts 100 --save-result
  lamm bench load --max-concurrency 8 --output-lens 8,32,128 --rounds 3 \\
      --baseline transformers --checkpoint checkpoints/lamm-mini

With --request-rate inf (the default) --max-concurrency makes a closed loop: each answer lets the
next request in. With a finite rate requests come when they are due (an open loop), whatever the
server does. Outputs have exact lengths: ignore_eos with max_tokens. ttft: time to first token; itl:
gap between chunks of text; tpot: time per token after the first; e2el: whole request. All in
milliseconds.
"""


def bench_parser() -> argparse.ArgumentParser:
    """The parser of `lamm bench`."""
    parser = argparse.ArgumentParser(
        prog="lamm bench", description="Measures a running server over HTTP."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    quality = commands.add_parser(
        "quality",
        help="task scores with intervals, resumable",
        description=_QUALITY,
        formatter_class=raw,
    )
    load = commands.add_parser(
        "load",
        help="latency and throughput, beside a baseline if wanted",
        description=_LOAD,
        formatter_class=raw,
    )
    for command in (quality, load):
        _server_options(command)
    _quality_options(quality)
    _workload_options(load)
    _result_options(load)
    _baseline_options(load)
    return parser


def _server_options(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument(
        "--url", "--base-url", default=DEFAULT_URL, help="its address (default: %(default)s)"
    )
    server.add_argument("--model", help="model id (default: the first of /v1/models)")
    server.add_argument(
        "--api-key",
        default=os.environ.get("LAMM_API_KEY"),
        help="sent as a bearer token (default: the environment's LAMM_API_KEY)",
    )
    server.add_argument(
        "--timeout",
        type=_above_zero(float),
        default=600.0,
        help="seconds without a byte after which a request is given up (default: %(default)g)",
    )


def _quality_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite", default=MINI_SUITE, help="'mini', or a suite's directory (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, help="the suite's directory (default: data/mini-suite for 'mini')"
    )
    parser.add_argument(
        "--limit", type=_above_zero(int), help="ask only the first LIMIT records of each row"
    )
    parser.add_argument(
        "--concurrency",
        type=_above_zero(int),
        default=8,
        help="questions in flight at once (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/quality"),
        help="directory of answers and reports (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        action="append",
        choices=PROTOCOLS,
        metavar="NAME",
        help="also score under this protocol, again for several: "
        f"{', '.join(PROTOCOLS)} (default: {', '.join(DEFAULT_PROTOCOLS)})",
    )
    parser.add_argument(
        "--rescore", action="store_true", help="score the answers kept in OUT, without a server"
    )


def _workload_options(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("workload")
    work.add_argument("--num-prompts", type=_above_zero(int), default=64, help="requests a round")
    work.add_argument(
        "--max-concurrency",
        type=_list_of(_concurrency),
        default=(8,),
        metavar="N[,N...]",
        help="most requests in flight, several for several tests; 0 is unbounded (default: 8)",
    )
    work.add_argument(
        "--request-rate",
        type=_above_zero(float),
        default=float("inf"),
        help="requests per second; inf sends as soon as a slot is free (default)",
    )
    work.add_argument(
        "--burstiness",
        type=_above_zero(float),
        default=1.0,
        help="shape of the gaps at a finite rate: 1 Poisson (default), below 1 burstier",
    )
    work.add_argument(
        "--output-lens",
        type=_list_of(_above_zero(int)),
        default=(8, 16, 32, 128),
        metavar="N[,N...]",
        help="tokens to generate, mixed in equal shares (default: 8,16,32,128)",
    )
    work.add_argument(
        "--input-words", type=_above_zero(int), default=16, help="words a question (default: 16)"
    )
    work.add_argument(
        "--image", type=Path, nargs="+", default=[], metavar="PATH", help="pictures, taken in turn"
    )
    work.add_argument(
        "--unique-images",
        action="store_true",
        help="change one pixel a request, so that no cache of pictures helps (needs Pillow)",
    )
    work.add_argument("--seed", type=int, default=0, help="of prompts, mix and arrivals")
    work.add_argument(
        "--num-warmups", type=int, default=2, help="requests before measuring (default: 2)"
    )
    work.add_argument(
        "--rounds",
        type=_above_zero(int),
        default=1,
        help="repeat with new prompts and report medians (default: 1)",
    )


def _result_options(parser: argparse.ArgumentParser) -> None:
    result = parser.add_argument_group("result")
    result.add_argument(
        "--percentile-metrics",
        type=_list_of(_metric),
        default=tuple(METRICS),
        metavar="NAME[,NAME...]",
        help=f"latencies in the table: {','.join(METRICS)} (default: all)",
    )
    result.add_argument(
        "--metric-percentiles",
        type=_list_of(_rank),
        default=(50.0, 90.0, 99.0),
        metavar="P[,P...]",
        help="percentiles in the result files (default: 50,90,99)",
    )
    result.add_argument("--save-result", action="store_true", help="write a JSON file a test")
    result.add_argument("--result-dir", type=Path, default=Path("results/load"))
    result.add_argument("--result-filename", help="name of the file (default: made from the test)")


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
    baseline.add_argument("--baseline-device", default="cpu")
    baseline.add_argument(
        "--baseline-dtype", default="float32", choices=["float32", "float16", "bfloat16"]
    )


def _above_zero(kind: type[N]) -> Callable[[str], N]:
    """An argument type: a number of this kind above 0."""

    def read(text: str) -> N:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = kind.__name__
    return read


def _list_of(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """An argument type: values of another type, separated by commas."""

    def read_all(text: str) -> tuple[T, ...]:
        return tuple(read(part.strip()) for part in text.split(","))

    read_all.__name__ = "comma-separated list"
    return read_all


def _concurrency(text: str) -> int | None:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value or None


def _metric(text: str) -> str:
    if text not in METRICS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(METRICS)}")
    return text


def _rank(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"percentile {text} is not within 0 and 100")
    return value
