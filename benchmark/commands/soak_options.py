"""The options of `lamm bench soak`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands.option_types import above_zero, address, share
from benchmark.suite import MINI_SUITE

NO_SUITE = "none"
SOAK_HELP = """\
Many clients for minutes: does the service keep its promises under load?

  lamm serve --checkpoint checkpoints/lamm-mini & echo $!
  lamm bench soak --clients 256 --minutes 5 --server-pid PID

Each client asks one question after another; a share of the requests disconnects at a random moment
of its life; every picture is another one. Promises: no request hangs, no answer differs from the
same request's answer alone (each finished one is asked again afterwards, one at a time), no 5xx but
the 429 and 503 of back-pressure with Retry-After, no lost connection, memory does not grow, probes
stay quick, no file stays open, nothing stays behind in the engine. Writes OUT/soak.json, soak.md
and, where matplotlib is there, soak.svg. Exit status 1: a promise was broken, or not measured.

Answers alone come from the same server, whose caches the crowd has filled; --reference-url names
another server with the same weights, started afresh, which rules out a cache that holds what was
computed wrong.
"""


def add_soak_options(parser: argparse.ArgumentParser) -> None:
    """All options but the server's."""
    # Seconds without a byte: here they make a request hung.
    parser.set_defaults(timeout=60.0)
    _crowd_options(parser)
    _promise_options(parser)


def _crowd_options(parser: argparse.ArgumentParser) -> None:
    crowd = parser.add_argument_group("crowd")
    crowd.add_argument(
        "--clients",
        type=above_zero(int),
        default=256,
        help="how many at once (default: %(default)s)",
    )
    crowd.add_argument(
        "--minutes", type=above_zero(float), default=5.0, help="how long (default: %(default)g)"
    )
    crowd.add_argument("--seconds", type=above_zero(float), help="in place of --minutes")
    crowd.add_argument(
        "--num-prompts", type=above_zero(int), help="requests in all, in place of --minutes"
    )
    crowd.add_argument(
        "--cancel-rate",
        type=share,
        default=0.3,
        metavar="SHARE",
        help="share of the requests that disconnect (default: %(default)g)",
    )
    crowd.add_argument(
        "--suite",
        default=MINI_SUITE,
        help="whose questions are asked, about its media changed a little: 'mini', a suite's "
        "directory, or 'none' for drawn media (default: %(default)s)",
    )
    crowd.add_argument(
        "--data", type=Path, help="the suite's directory (default: data/mini-suite for 'mini')"
    )
    crowd.add_argument(
        "--media", choices=["images", "clouds", "both"], default="images",
        help="which media are asked about (default: %(default)s)",
    )  # fmt: skip
    crowd.add_argument("--seed", type=int, default=0, help="of media and disconnects (default: 0)")


def _promise_options(parser: argparse.ArgumentParser) -> None:
    promises = parser.add_argument_group("promises")
    promises.add_argument(
        "--deadline",
        type=above_zero(float),
        default=300.0,
        metavar="SECONDS",
        help="a request that lasts longer hangs, bytes or not (default: %(default)g)",
    )
    promises.add_argument(
        "--verify",
        type=above_zero(int),
        metavar="N",
        help="compare N answers, drawn evenly (default: every finished one)",
    )
    promises.add_argument(
        "--reference-url",
        type=address,
        metavar="URL",
        help="who gives the answers alone (default: the same server)",
    )
    promises.add_argument(
        "--server-pid",
        type=above_zero(int),
        metavar="PID",
        help="whose memory is sampled, children included (default: what /metrics tells)",
    )
    promises.add_argument(
        "--warm-up",
        type=float,
        metavar="SECONDS",
        help="left out of the memory's slope (default: a fifth of the test, at most 60)",
    )
    promises.add_argument(
        "--max-memory-slope", type=above_zero(float), default=1.0, metavar="MB",
        help="a minute (default: %(default)g)",
    )  # fmt: skip
    promises.add_argument(
        "--max-probe-p99", type=above_zero(float), default=50.0, metavar="MS",
        help="of each probe (default: %(default)g)",
    )  # fmt: skip
    promises.add_argument(
        "--probe-interval", type=above_zero(float), default=0.1, metavar="SECONDS",
        help="between two questions to a probe (default: %(default)g)",
    )  # fmt: skip
    promises.add_argument(
        "--out",
        type=Path,
        default=Path("results/soak"),
        help="directory of the result (default: %(default)s)",
    )
