"""`lamm bench quality`: from its arguments to tables and files. Called by `cli`."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.console import print_whole
from benchmark.http.batches import BatchClient
from benchmark.http.client import ChatClient
from benchmark.http.connection import open_http
from benchmark.quality import controls_report, protocol_report, report
from benchmark.quality.controls import questions_of
from benchmark.quality.protocol_scores import (
    DEFAULT_PROTOCOLS,
    ProtocolRow,
    ProtocolsMissingError,
    require_protocols,
    score_protocols,
)
from benchmark.quality.run import (
    QualityRun,
    rescore,
    run_quality,
)
from benchmark.quality.tree import open_suite
from benchmark.report.provenance import keep_server_facts
from benchmark.suite import Item, Suite

SUCCESS, FAILED = 0, 1
# A bar drawn ten times a second costs more than the answers that it counts.
BARS_A_SECOND = 2


def quality_command(arguments: argparse.Namespace, console: Console) -> int:
    """Asks or rescores, prints and writes; 1 when something was not measured.

    Raises:
        BenchmarkError: the run cannot start or go on; what was answered is kept.
    """
    if arguments.protocol:
        require_protocols()
    suite = open_suite(arguments.suite, arguments.data, arguments.limit, arguments.out)
    if arguments.rescore:
        run = rescore(suite, arguments.out)
    else:
        run = asyncio.run(_ask(suite, arguments, console))
    protocol_rows, missing = _protocol_rows(run, arguments)
    print_whole(report.table(run), console)
    if (controls := controls_report.table(run.rows)) is not None:
        print_whole(controls, console)
    if protocol_rows:
        print_whole(protocol_report.table(protocol_rows), console)
    notes = [*report.notes(run), *controls_report.notes(run.rows)]
    for note in [*notes, *protocol_report.notes(protocol_rows), *missing]:
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{run.asked} asked, {run.reused} kept from before", highlight=False)
    for path in report.write_reports(run, arguments.out, protocol_rows):
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    return SUCCESS if run.complete else FAILED


async def _ask(suite: Suite, arguments: argparse.Namespace, console: Console) -> QualityRun:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    progress = Progress(
        *columns, TimeRemainingColumn(), console=console, refresh_per_second=BARS_A_SECOND
    )
    totals: Counter[str] = Counter()
    for row in suite.rows:
        kinds = questions_of(row, arguments.control)
        totals[row.name] = sum(len(questions) for questions in kinds.values())
    with progress:
        bars = {name: progress.add_task(name, total=total) for name, total in totals.items()}

        def advance(item: Item) -> None:
            progress.advance(bars[item.row])

        workers: int = arguments.concurrency
        async with open_http(arguments.url, arguments.timeout, arguments.api_key) as http:
            client = ChatClient(http, workers)
            run = await run_quality(
                suite,
                client,
                arguments.url,
                arguments.out,
                workers,
                arguments.model,
                advance,
                backend=arguments.backend,
                mode=arguments.mode,
                controls=arguments.control,
                batches=BatchClient(http, client) if arguments.through == "batch" else None,
            )
            await keep_server_facts(http, run.identity.model, arguments.out)
            return run


def _protocol_rows(
    run: QualityRun, arguments: argparse.Namespace
) -> tuple[tuple[ProtocolRow, ...], list[str]]:
    """The protocols' scores, and a note where they were not asked for and cannot be had."""
    try:
        return score_protocols(run.rows, arguments.protocol or DEFAULT_PROTOCOLS), []
    except ProtocolsMissingError as error:
        if arguments.protocol:
            raise
        return (), [str(error)]
