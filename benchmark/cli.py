"""`lamm bench quality | load`: measures a server over HTTP. Called by the `lamm` command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark import load_report, protocol_report, report
from benchmark.baseline import TransformersBaseline
from benchmark.client import ChatClient, server_root
from benchmark.errors import BenchmarkError
from benchmark.load import LoadSpec, run_load, send_all
from benchmark.load_metrics import METRICS
from benchmark.options import bench_parser
from benchmark.protocol_scores import (
    DEFAULT_PROTOCOLS,
    ProtocolRow,
    ProtocolsMissingError,
    require_protocols,
    score_protocols,
)
from benchmark.quality import QualityRun, rescore, run_quality
from benchmark.suite import Suite, find_suite, load_suite
from benchmark.workload import WorkItem, WorkloadSpec, make_workload

FAILED = 1
WIDEST_TABLE = 200


def bench(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command; 0 when everything was measured, 1 when something was not."""
    arguments = bench_parser().parse_args(argv)
    console = Console()
    try:
        if arguments.command == "quality":
            return _quality(arguments, console)
        return asyncio.run(_load(arguments, console))
    except BenchmarkError as error:
        stderr = Console(stderr=True)
        stderr.print(f"lamm bench: {error}", style="red", markup=False, soft_wrap=True)
        return FAILED


def _quality(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.protocol:
        require_protocols()
    suite = load_suite(find_suite(arguments.suite, arguments.data), arguments.limit)
    if arguments.rescore:
        run = rescore(suite, arguments.out)
    else:
        run = asyncio.run(_ask(suite, arguments, console))
    _print_whole(report.table(run), console)
    protocol_rows, missing = _protocol_rows(run, arguments)
    if protocol_rows:
        _print_whole(protocol_report.table(protocol_rows), console)
    for note in [*report.notes(run), *protocol_report.notes(protocol_rows), *missing]:
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{run.asked} asked, {run.reused} kept from before", highlight=False)
    for path in report.write_reports(run, arguments.out, protocol_rows):
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    return 0 if run.complete else FAILED


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


def _print_whole(table: Table, console: Console) -> None:
    """A table as wide as it needs, however narrow a log's console is: cut names tell nothing."""
    options = console.options.update(width=WIDEST_TABLE)
    width = max(console.width, Measurement.get(console, options, table).maximum)
    Console(file=console.file, width=width, force_terminal=console.is_terminal).print(table)


async def _ask(suite: Suite, arguments: argparse.Namespace, console: Console) -> QualityRun:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bars = {row.name: progress.add_task(row.name, total=len(row.items)) for row in suite.rows}
        async with _http(arguments) as http:
            return await run_quality(
                suite,
                ChatClient(http, arguments.concurrency),
                arguments.url,
                arguments.out,
                workers=arguments.concurrency,
                model=arguments.model,
                on_answer=lambda item: progress.advance(bars[item.row]),
            )


async def _load(arguments: argparse.Namespace, console: Console) -> int:
    results: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(_http(arguments))
        model = arguments.model or await ChatClient(http, 1).first_model()
        baseline = None
        if arguments.baseline is not None:
            baseline = await _start_baseline(arguments)
            stack.push_async_callback(baseline.stop)
        workload = WorkloadSpec(
            num_prompts=arguments.num_prompts,
            input_words=arguments.input_words,
            output_lens=arguments.output_lens,
            images=tuple(arguments.image),
            unique_images=arguments.unique_images,
        )
        warm = make_workload(workload, arguments.seed - 1)[: arguments.num_warmups]
        await _warm_up(http, model, warm, baseline)
        for limit in arguments.max_concurrency:
            spec = LoadSpec(
                model=model,
                workload=workload,
                max_concurrency=limit,
                request_rate=arguments.request_rate,
                burstiness=arguments.burstiness,
                seed=arguments.seed + len(results),
                rounds=arguments.rounds,
                percentiles=arguments.metric_percentiles,
            )
            with console.status("") as status:

                def tell(what: str, limit: int | None = limit, status: Any = status) -> None:
                    status.update(f"concurrency {limit or 'unbounded'}: {what}")

                result = await run_load(http, spec, baseline, tell)
            results.append(
                result if baseline is None else {**result, "baseline_facts": baseline.facts}
            )
    metrics = [name for name in METRICS if name in arguments.percentile_metrics]
    console.print(load_report.throughput_table(results))
    console.print(load_report.latency_table(results, metrics))
    for note in load_report.notes(results):
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)
    if arguments.save_result:
        for path in load_report.save(results, arguments.result_dir, arguments.result_filename):
            console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    return FAILED if any(result["failed"] for result in results) else 0


async def _warm_up(
    http: httpx.AsyncClient,
    model: str,
    items: Sequence[WorkItem],
    baseline: TransformersBaseline | None,
) -> None:
    """A few unmeasured requests; one that fails ends the test before its minutes are spent."""
    if not items:
        return
    records, _ = await send_all(ChatClient(http, len(items)), model, items, [0.0] * len(items))
    for record in records:
        if record.error is not None:
            raise BenchmarkError(f"a warm-up request failed: {record.error}")
    if baseline is not None:
        await baseline.run(items, len(items))


async def _start_baseline(arguments: argparse.Namespace) -> TransformersBaseline:
    if arguments.checkpoint is None:
        raise BenchmarkError(
            "--baseline needs --checkpoint DIR, the weights that the server serves"
        )
    return await TransformersBaseline.start(
        arguments.checkpoint, arguments.baseline_device, arguments.baseline_dtype
    )


def _http(arguments: argparse.Namespace) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {arguments.api_key}"} if arguments.api_key else {}
    # The client's own semaphores bound what is in flight; a second bound would hide queueing.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(
        base_url=server_root(arguments.url),
        headers=headers,
        limits=limits,
        timeout=httpx.Timeout(arguments.timeout, connect=10.0),
        trust_env=False,
    )


if __name__ == "__main__":
    sys.exit(bench())
