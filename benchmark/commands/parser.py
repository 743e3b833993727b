"""The options of `lamm bench`, with help that teaches."""

from __future__ import annotations

import argparse
import os

from benchmark.commands.faults_options import FAULTS_HELP, add_faults_options
from benchmark.commands.judge import add_judge_parser
from benchmark.commands.load_options import LOAD_HELP, add_load_options
from benchmark.commands.option_types import above_zero, address
from benchmark.commands.quality_options import QUALITY_HELP, add_quality_options
from benchmark.commands.report import add_report_parser
from benchmark.commands.soak_options import SOAK_HELP, add_soak_options

DEFAULT_URL = "http://127.0.0.1:8000"


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
        description=QUALITY_HELP,
        formatter_class=raw,
    )
    load = commands.add_parser(
        "load",
        help="latency and throughput, beside a baseline if wanted",
        description=LOAD_HELP,
        formatter_class=raw,
    )
    soak = commands.add_parser(
        "soak",
        help="many clients for minutes: does the service keep its promises",
        description=SOAK_HELP,
        formatter_class=raw,
    )
    faults = commands.add_parser(
        "faults",
        help="servers that are hurt: does the service keep its promises",
        description=FAULTS_HELP,
        formatter_class=raw,
    )
    for command in (quality, load, soak):
        _server_options(command)
    add_quality_options(quality)
    add_load_options(load)
    add_soak_options(soak)
    add_faults_options(faults)
    add_report_parser(commands)
    add_judge_parser(commands)
    return parser


def _server_options(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument(
        "--url",
        "--base-url",
        type=address,
        default=DEFAULT_URL,
        help="its address (default: %(default)s)",
    )
    server.add_argument("--model", help="model id (default: the first of /v1/models)")
    server.add_argument(
        "--api-key",
        default=os.environ.get("LAMM_API_KEY"),
        help="sent as a bearer token (default: the environment's LAMM_API_KEY)",
    )
    server.add_argument(
        "--timeout",
        type=above_zero(float),
        default=600.0,
        help="seconds without a byte after which a request is given up (default: %(default)g)",
    )
