"""`lamm bench`: parses the options of a sub-command and runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmark.commands import calibrate, faults, judge, load, quality, report, soak
from benchmark.commands.arguments import Parser, add_arguments, read_options
from benchmark.commands.options import Command
from benchmark.errors import BenchmarkError

FAILED = 1
COMMANDS: tuple[Command[Any], ...] = (
    quality.COMMAND,
    load.COMMAND,
    soak.COMMAND,
    faults.COMMAND,
    report.COMMAND,
    judge.COMMAND,
    calibrate.COMMAND,
)


def bench(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command; returns 0 if everything was measured, else 1."""
    parser = Parser(prog="lamm bench", description="Measures a running server over HTTP.")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = parsers.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(sub, command.options)
    flags = vars(parser.parse_args(argv))
    name = flags.pop("command")
    command = next(one for one in COMMANDS if one.name == name)
    options = read_options(parsers.choices[name], command.options, flags)
    try:
        return command.run(options, Console())
    except BenchmarkError as error:
        stderr = Console(stderr=True)
        stderr.print(f"lamm bench: {error}", style="red", markup=False, soft_wrap=True)
        return FAILED


if __name__ == "__main__":
    sys.exit(bench())
