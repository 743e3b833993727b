"""`lamm bench load`: the function that runs it; `load_options` holds its options."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
from rich.console import Console

from benchmark.answers import require_writable
from benchmark.commands.load_baseline import AnyBaseline, check_baseline, open_baseline
from benchmark.commands.load_options import LoadOptions
from benchmark.commands.options import Command
from benchmark.errors import BenchmarkError
from benchmark.http.client import Backend, ChatClient
from benchmark.http.connection import open_stream_http
from benchmark.load import plot as load_plot
from benchmark.load import report as load_report
from benchmark.load.arrivals import Arrivals, RampUp
from benchmark.load.metrics import METRICS
from benchmark.load.quality import QuestionDeck
from benchmark.load.requests import RequestStyle
from benchmark.load.run import LoadSpec, run_load
from benchmark.load.sender import send_all
from benchmark.load.workload import WorkItem, WorkloadSpec, make_workload
from benchmark.suite_reader import find_suite, load_suite
from benchmark.text import print_notes, print_whole, print_written

SUCCESS, FAILED = 0, 1
_CLOSED_LOOP = 8
_HELP = """\
Measures latency and throughput. Flags and result keys follow `vllm bench serve`.

  lamm bench load --max-concurrency 1,8,32 --num-prompts 64 --output-lens 8,16,32,128
  lamm bench load --request-rate 4 --num-prompts 100 --goodput ttft:500 tpot:50 --save-result
  lamm bench load --image-sizes 336x336 --unique-images --suite mini --suite-share 0.25 --plot
  lamm bench load --max-concurrency 64 --cancel-rate 0.3
  lamm bench load --backend openai-chat --url http://other-server:8000/v1
  lamm bench load --max-concurrency 8 --output-lens 8,32,128 --rounds 3 \\
      --baseline transformers --checkpoint checkpoints/lamm-mini
  lamm bench load --max-concurrency 8,32 --rounds 5 \\
      --baseline server --baseline-url http://127.0.0.1:8001

With --request-rate inf (the default), --max-concurrency runs a closed loop: each finished request
starts the next one. A finite rate or a ramp-up runs an open loop: requests are sent when they are
due, whatever the server does, unless --max-concurrency holds them back. Outputs have exact lengths
(ignore_eos with max_tokens). All latencies are in milliseconds: ttft, time to first token; itl,
time between chunks of text; tpot, time per token after the first; e2el, the whole request.
"""


def run(options: LoadOptions, console: Console) -> int:
    """Runs the tests; returns 1 if a request failed or a score is below its target.

    Raises:
        BenchmarkError: the options contradict one another, or nothing could be measured.
    """
    return asyncio.run(_run(options, console))


async def _run(options: LoadOptions, console: Console) -> int:
    _check(options)
    style = _style(options)
    deck = _deck(options, style)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            open_stream_http(options.url, options.timeout, options.api_key)
        )
        http.headers.update(dict(options.header))
        model = options.model or await ChatClient(http, 1).first_model()
        baseline = await open_baseline(options, style, stack)
        specs = _specs(options, model, style)
        warm = make_workload(specs[0].workload, options.seed - 1)[: options.num_warmups]
        await _warm_up(http, specs[0], warm, baseline)
        results: list[dict[str, Any]] = []
        try:
            for spec in specs:
                result = await _run_test(http, spec, baseline, deck, console)
                results.append(
                    result if baseline is None else {**result, "baseline_facts": baseline.facts}
                )
        finally:
            # The results of earlier tests are kept if a later one fails or is interrupted.
            if results:
                _show(results, options, console)
                _save(results, options, console)
    low = any(
        row["below_target"] for one in results for row in one.get("quality", {}).get("rows", ())
    )
    return FAILED if low or any(result["failed"] for result in results) else SUCCESS


def _check(options: LoadOptions) -> None:
    """Checks the options before any request is sent."""
    if options.plot:
        load_plot.require_matplotlib()
    if _saves(options):
        require_writable(options.result_dir)
    rates = options.ramp_up_start_rps, options.ramp_up_end_rps
    if options.ramp_up_strategy and None in rates:
        raise BenchmarkError("--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps")
    if not options.ramp_up_strategy and rates != (None, None):
        raise BenchmarkError("--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy")
    if options.ramp_up_strategy and math.isfinite(options.request_rate):
        raise BenchmarkError("--ramp-up-strategy and --request-rate exclude one another")
    check_baseline(options)


def _style(options: LoadOptions) -> RequestStyle:
    ignore_eos = options.ignore_eos
    if ignore_eos is None:
        ignore_eos = options.backend is Backend.LAMM
    return RequestStyle(options.backend, ignore_eos, options.extra_body)


def _deck(options: LoadOptions, style: RequestStyle) -> QuestionDeck | None:
    if not options.suite:
        return None
    suite = load_suite(find_suite(options.suite, options.data))
    return QuestionDeck(suite, options.suite_share, options.seed, clouds=style.takes_clouds)


def _specs(options: LoadOptions, model: str, style: RequestStyle) -> list[LoadSpec]:
    """One test per concurrency."""
    workload = WorkloadSpec(
        num_prompts=options.num_prompts,
        input_words=options.input_words,
        output_lens=options.output_lens,
        images=options.image,
        clouds=options.cloud,
        image_sizes=options.image_sizes,
        cloud_points=options.cloud_points,
        unique_images=options.unique_images,
        unique_clouds=options.unique_clouds,
    )
    ramp_up = None
    start, end = options.ramp_up_start_rps, options.ramp_up_end_rps
    if options.ramp_up_strategy and start is not None and end is not None:
        ramp_up = RampUp(options.ramp_up_strategy, start, end)
    return [
        LoadSpec(
            model=model,
            workload=workload,
            max_concurrency=limit,
            arrivals=Arrivals(options.request_rate, options.burstiness, ramp_up),
            style=style,
            goodput=dict(options.goodput),
            cancel_rate=options.cancel_rate,
            seed=options.seed + index,
            rounds=options.rounds,
            percentiles=options.metric_percentiles,
            label=options.label,
            metadata=dict(options.metadata),
        )
        for index, limit in enumerate(_concurrencies(options))
    ]


def _concurrencies(options: LoadOptions) -> tuple[int | None, ...]:
    """The limits of concurrency; a finite rate without a limit is an open loop."""
    if options.max_concurrency is not None:
        return tuple(limit or None for limit in options.max_concurrency)
    is_open = options.ramp_up_strategy or math.isfinite(options.request_rate)
    return (None,) if is_open else (_CLOSED_LOOP,)


async def _warm_up(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    items: Sequence[WorkItem],
    baseline: AnyBaseline | None,
) -> None:
    """Sends a few unmeasured requests, so that a failing server ends the test at once."""
    if not items:
        return
    client = ChatClient(http, len(items))
    sent, _ = await send_all(client, spec.model, spec.style, items, [0.0] * len(items))
    for one in sent:
        if one.record.error is not None:
            raise BenchmarkError(f"a warm-up request failed: {one.record.error}")
    if baseline is not None:
        await baseline.run(items, len(items))


async def _run_test(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    baseline: AnyBaseline | None,
    deck: QuestionDeck | None,
    console: Console,
) -> dict[str, Any]:
    name = f"concurrency {spec.max_concurrency or 'unbounded'}"
    with console.status(name) as status:
        return await run_load(
            http, spec, baseline, lambda what: status.update(f"{name}: {what}"), deck
        )


def _show(results: Sequence[dict[str, Any]], options: LoadOptions, console: Console) -> None:
    metrics = [name for name in METRICS if name in options.percentile_metrics]
    print_whole(load_report.throughput_table(results), console)
    print_whole(load_report.latency_table(results, metrics), console)
    scores = load_report.quality_table(results)
    if scores is not None:
        print_whole(scores, console)
    print_notes(load_report.notes(results), console)


def _saves(options: LoadOptions) -> bool:
    return bool(options.save_result or options.save_detailed or options.plot)


def _save(results: Sequence[dict[str, Any]], options: LoadOptions, console: Console) -> None:
    if not _saves(options):
        return
    paths = load_report.save(
        results, options.result_dir, options.result_filename, options.save_detailed
    )
    if options.plot:
        paths += load_plot.save_plots(results, paths, options.plot)
    print_written(paths, console)


COMMAND = Command(
    "load", "latency and throughput, optionally next to a baseline", _HELP, LoadOptions, run
)
