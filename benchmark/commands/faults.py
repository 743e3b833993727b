"""`lamm bench faults`: its options, and the function that runs it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat
from rich.console import Console

from benchmark.answers import require_writable
from benchmark.commands.options import Argument, Command, Options, one_of
from benchmark.faults import report as faults_report
from benchmark.faults.report import Check
from benchmark.faults.run import NAMES, run_faults
from benchmark.faults.server import ServerSpec
from benchmark.text import print_whole, print_written

KEPT, BROKEN = 0, 1
_HELP = """\
Starts its own servers, injects every fault that the service promises to survive, and checks that it
does: requests and steps that fail inside the engine, a step that hangs, the death of the engine, a
killed decoding process, clients that disconnect, a full disk, SIGTERM once and twice, SIGKILL.

  lamm bench faults
  lamm bench faults --only sigterm --only disk

Linux only. Takes minutes. Writes OUT/faults.json and OUT/faults.md. Exit status 1: a promise was
broken or could not be checked.
"""


class FaultsOptions(Options):
    """Options of `lamm bench faults`."""

    checkpoint: Path = Field(
        default=Path("checkpoints/lamm-mini"), description="checkpoint of the servers"
    )
    only: Annotated[
        tuple[Annotated[str, one_of(NAMES)], ...], Argument(action="append", metavar="FAULT")
    ] = Field(
        default=(), description=f"inject this fault only; may be repeated: {', '.join(NAMES)}"
    )
    patience: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=60.0, description="time after which an answer counts as hung"
    )
    start_timeout: Annotated[PositiveFloat, Argument(metavar="SECONDS")] = Field(
        default=120.0, description="time that each server may take to start"
    )
    out: Path = Field(default=Path("results/faults"), description="directory of the result")


def run(options: FaultsOptions, console: Console) -> int:
    """Injects the chosen faults; returns 0 if every promise was kept."""
    require_writable(options.out)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with console.status("starting") as status:

        def tell(doing: str, check: Check | None) -> None:
            status.update(doing)
            if check is not None:
                console.print(faults_report.line(check), markup=False, highlight=False)

        spec = ServerSpec(options.checkpoint, options.start_timeout)
        checks = asyncio.run(run_faults(spec, options.only or NAMES, options.patience, tell))
    print_whole(faults_report.table(checks), console)
    written = faults_report.write(checks, str(options.checkpoint), started, options.out)
    print_written(written, console)
    return KEPT if all(check.kept for check in checks) else BROKEN


COMMAND = Command(
    "faults",
    "injected faults: does the service keep its promises",
    _HELP,
    FaultsOptions,
    run,
)
