"""The options of `lamm bench load`; flags that `vllm bench serve` has too have its names."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmark.commands.load_result_options import add_result_options
from benchmark.commands.option_types import above_zero, at_least_zero, list_of, pair_of, share
from benchmark.load.requests import BACKENDS, LAMM

LOAD_HELP = """\
Measures latency and throughput. Flags and result keys follow `vllm bench serve`.

  lamm bench load --max-concurrency 1,8,32 --num-prompts 64 --output-lens 8,16,32,128
  lamm bench load --request-rate 4 --num-prompts 100 --goodput ttft:500 tpot:50 --save-result
  lamm bench load --image-sizes 336x336 --unique-images --suite mini --suite-share 0.25 --plot
  lamm bench load --max-concurrency 64 --cancel-rate 0.3
  lamm bench load --backend openai-chat --url http://other-server:8000/v1
  lamm bench load --max-concurrency 8 --output-lens 8,32,128 --rounds 3 \\
      --baseline transformers --checkpoint checkpoints/lamm-mini

With --request-rate inf (the default) --max-concurrency makes a closed loop: each answer lets the
next request in. With a finite rate or a ramp-up requests come when they are due (an open loop),
whatever the server does; given there too, --max-concurrency holds them back. Outputs have exact
lengths: ignore_eos with max_tokens. ttft: time to first token; itl: gap between chunks of text;
tpot: time per token after the first; e2el: whole request. All in milliseconds.
"""


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """All options but the server's."""
    _backend_options(parser)
    _arrival_options(parser)
    _workload_options(parser)
    _media_options(parser)
    add_result_options(parser)


def _backend_options(parser: argparse.ArgumentParser) -> None:
    backend = parser.add_argument_group("protocol")
    backend.add_argument(
        "--backend",
        choices=BACKENDS,
        default=LAMM,
        help="openai-chat sends standard fields alone, for any other server (default: %(default)s)",
    )
    backend.add_argument(
        "--ignore-eos",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="ask for outputs of an exact length (default: with --backend lamm)",
    )
    backend.add_argument(
        "--extra-body", type=_json_object, default={}, metavar="JSON", help="added to every request"
    )
    backend.add_argument(
        "--header", type=pair_of("="), nargs="+", default=[], metavar="NAME=VALUE",
        help="sent with every request",
    )  # fmt: skip


def _arrival_options(parser: argparse.ArgumentParser) -> None:
    arrivals = parser.add_argument_group("arrivals")
    arrivals.add_argument(
        "--max-concurrency",
        type=list_of(_concurrency),
        metavar="N[,N...]",
        help="most requests in flight, several for several tests; 0 is unbounded (default: 8; "
        "unbounded at a finite rate)",
    )
    arrivals.add_argument(
        "--request-rate",
        type=above_zero(float),
        default=float("inf"),
        help="requests a second; inf sends as soon as a slot is free (default: inf)",
    )
    arrivals.add_argument(
        "--burstiness",
        type=above_zero(float),
        default=1.0,
        help="shape of the gaps at a finite rate: 1 Poisson, below 1 burstier (default: 1)",
    )
    arrivals.add_argument(
        "--ramp-up-strategy",
        choices=["linear", "exponential"],
        help="let the rate grow over the test, in place of --request-rate",
    )
    arrivals.add_argument(
        "--ramp-up-start-rps", type=above_zero(float), metavar="RATE", help="requests/s at first"
    )
    arrivals.add_argument(
        "--ramp-up-end-rps", type=above_zero(float), metavar="RATE", help="requests/s at the end"
    )
    arrivals.add_argument(
        "--cancel-rate",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="share of the requests that disconnect at a random moment (default: 0)",
    )


def _workload_options(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("workload")
    work.add_argument(
        "--num-prompts", type=above_zero(int), default=64, help="requests a round (default: 64)"
    )
    work.add_argument(
        "--output-lens",
        "--output-len",
        type=list_of(above_zero(int)),
        default=(8, 16, 32, 128),
        metavar="N[,N...]",
        help="tokens to generate, mixed in equal shares (default: 8,16,32,128)",
    )
    work.add_argument(
        "--input-words",
        type=list_of(above_zero(int)),
        default=(16,),
        metavar="N[,N...]",
        help="words a question, mixed in equal shares (default: 16)",
    )
    work.add_argument(
        "--seed", type=int, default=0, help="of prompts, mix, media and arrivals (default: 0)"
    )
    work.add_argument(
        "--num-warmups",
        type=at_least_zero,
        default=2,
        help="requests before measuring (default: 2)",
    )
    work.add_argument(
        "--rounds",
        type=above_zero(int),
        default=1,
        help="repeat with new prompts and report medians (default: 1)",
    )


def _media_options(parser: argparse.ArgumentParser) -> None:
    media = parser.add_argument_group("media", "taken in turn; without any, requests are text")
    media.add_argument(
        "--image", type=Path, nargs="+", default=[], metavar="PATH", help="picture files"
    )
    media.add_argument(
        "--image-sizes", type=list_of(_size), default=(), metavar="WxH[,...]",
        help="pictures drawn at these sizes",
    )  # fmt: skip
    media.add_argument(
        "--unique-images",
        action="store_true",
        help="another picture a request, so that no cache of pictures helps: drawn anew, or a "
        "file with one pixel changed",
    )
    media.add_argument(
        "--cloud", type=Path, nargs="+", default=[], metavar="PATH", help="point-cloud files"
    )
    media.add_argument(
        "--cloud-points", type=list_of(above_zero(int)), default=(), metavar="N[,N...]",
        help="point clouds made of so many points",
    )  # fmt: skip
    media.add_argument(
        "--unique-clouds",
        action="store_true",
        help="another cloud a request: made anew, or an npy file with one point moved by 1 cm",
    )


def _concurrency(text: str) -> int | None:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value or None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 336x224")
    return int(width), int(height)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value
