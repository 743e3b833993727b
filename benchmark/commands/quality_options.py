"""The options of `lamm bench quality`, with help that teaches. Called by `options`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands.option_types import above_zero
from benchmark.quality.controls import Control
from benchmark.quality.protocol_scores import DEFAULT_PROTOCOLS, PROTOCOLS
from benchmark.quality.targets import Backend, Mode

QUALITY_HELP = """\
Asks the questions of a suite, or of LAMM's benchmark files, of a running server, and scores the
answers.

  lamm data mini-suite data/mini-suite      makes the mini suite
  lamm serve --checkpoint checkpoints/lamm-mini
  lamm bench quality --suite mini

  lamm bench quality --data LAMM_Dataset --suite all --out results/lamm      the published layout
  lamm bench quality --data LAMM_Dataset --suite 2d --limit 200 --control blank-media
  lamm bench quality --data LAMM_Dataset --out results/lamm --rescore --protocol upstream-2023-07
  lamm bench quality --data LAMM_Dataset --backend openai-chat --url http://host:8000 --model llava

Answers are greedy and kept in OUT/answers.jsonl as they come. A run that was killed, or whose
server died, goes on where it stopped when started again; --rescore reads the kept answers without
any server. --through batch has the server answer when it has room: the questions are uploaded to
/v1/batches, and a client that was killed finds its batches again. A new checkpoint or prompt preset
has another fingerprint, so its questions are asked afresh. Writes OUT/scores.json, OUT/scores.md
and OUT/gallery.html (hits and misses with their pictures). Exit status 1 means that something was
not measured: broken records, or questions without an answer.
"""


def add_quality_options(parser: argparse.ArgumentParser) -> None:
    """Adds what is asked, how, and where the answers go."""
    parser.add_argument(
        "--suite",
        metavar="NAME",
        help="'mini', or a suite's directory; with --data a part of it: all, 2d, 3d or a task "
        "(default: all of --data, or else mini)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="ROOT",
        help="a tree with 2D_Benchmark or 3D_Benchmark in it, as published, or a suite's directory",
    )
    parser.add_argument(
        "--limit",
        type=above_zero(int),
        metavar="N",
        help="ask only N records of each row: a suite's first ones, a seeded draw of a tree's file",
    )
    parser.add_argument(
        "--concurrency",
        type=above_zero(int),
        default=8,
        metavar="N",
        help="questions in flight at once (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/quality"),
        metavar="DIR",
        help="directory of answers and reports (default: %(default)s)",
    )
    _how_options(parser)
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


def _how_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        type=Backend,
        choices=list(Backend),
        default=Backend.LAMM,
        metavar="NAME",
        help="lamm, or openai-chat for any other server of that protocol: standard fields alone, "
        "point clouds are not asked (default: lamm)",
    )
    parser.add_argument(
        "--through",
        choices=("requests", "batch"),
        default="requests",
        metavar="NAME",
        help="requests, --concurrency at once, or batch: in files through /v1/batches "
        "(default: requests)",
    )
    parser.add_argument(
        "--mode",
        type=Mode,
        choices=list(Mode),
        default=Mode.TEXT,
        metavar="NAME",
        help="text, or likelihood: choices and closed sets are answered by the likeliest option, "
        "through /v1/tasks (default: text)",
    )
    parser.add_argument(
        "--control",
        type=Control,
        choices=list(Control),
        action="append",
        default=[],
        metavar="NAME",
        help=f"ask everything again blind, again for several: {', '.join(Control)}",
    )
