"""The options of `lamm bench faults`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.commands.option_types import above_zero
from benchmark.faults.run import NAMES

FAULTS_HELP = """\
Starts servers of its own, hurts each in every way that it promises to survive, and sees whether it
does: requests and steps that break inside the engine, a step that hangs, the engine's death, a
decoding process killed, clients that leave, a full disk, SIGTERM once and twice, SIGKILL.

  lamm bench faults
  lamm bench faults --only sigterm --only disk

Linux alone. Takes minutes. Writes OUT/faults.json and OUT/faults.md.
Exit status 1: a promise was broken, or could not be seen to be kept.
"""


def add_faults_options(parser: argparse.ArgumentParser) -> None:
    """All options."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("checkpoints/lamm-mini"),
        help="what the servers serve (default: %(default)s)",
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="FAULT",
        help=f"this fault alone; may be repeated: {', '.join(NAMES)}",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=above_zero(float), default=60.0, metavar="SECONDS",
        help="an answer that takes longer hangs (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--start-timeout", type=above_zero(float), default=120.0, metavar="SECONDS",
        help="of each server (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/faults"),
        help="directory of the result (default: %(default)s)",
    )
