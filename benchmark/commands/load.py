"""`lamm bench load`: from its arguments to tables, files and plots. Called by `cli`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
from rich.console import Console

from benchmark.answers import require_writable
from benchmark.console import print_whole
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient
from benchmark.load import plot as load_plot
from benchmark.load import report as load_report
from benchmark.load.arrivals import Arrivals, RampUp
from benchmark.load.baseline_process import TransformersBaseline
from benchmark.load.metrics import METRICS
from benchmark.load.quality import QuestionDeck
from benchmark.load.requests import LAMM, RequestStyle
from benchmark.load.run import LoadSpec, run_load
from benchmark.load.sender import send_all
from benchmark.load.workload import WorkItem, WorkloadSpec, make_workload
from benchmark.suite import find_suite, load_suite

SUCCESS, FAILED = 0, 1
_CLOSED_LOOP = 8


async def load_command(
    arguments: argparse.Namespace, console: Console, http: httpx.AsyncClient
) -> int:
    """Runs the tests; 1 when a request failed or a score fell below its target.

    Raises:
        BenchmarkError: the arguments contradict one another, or nothing could be measured.
    """
    _check(arguments)
    style = _style(arguments)
    deck = _deck(arguments, style)
    async with AsyncExitStack() as stack:
        model = arguments.model or await ChatClient(http, 1).first_model()
        baseline = None
        if arguments.baseline is not None:
            baseline = await TransformersBaseline.start(
                arguments.checkpoint, arguments.baseline_device, arguments.baseline_dtype
            )
            stack.push_async_callback(baseline.stop)
        specs = _specs(arguments, model, style)
        warm = make_workload(specs[0].workload, arguments.seed - 1)[: arguments.num_warmups]
        await _warm_up(http, specs[0], warm, baseline)
        results: list[dict[str, Any]] = []
        try:
            for spec in specs:
                result = await _run(http, spec, baseline, deck, console)
                results.append(
                    result if baseline is None else {**result, "baseline_facts": baseline.facts}
                )
        finally:
            # A later test that fails, or is broken off, takes none of the earlier ones with it.
            if results:
                _show(results, arguments, console)
                _save(results, arguments, console)
    low = any(
        row["below_target"] for one in results for row in one.get("quality", {}).get("rows", ())
    )
    return FAILED if low or any(result["failed"] for result in results) else SUCCESS


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what cannot be measured before anything is asked."""
    if arguments.plot:
        load_plot.require_matplotlib()
    if _saves(arguments):
        require_writable(arguments.result_dir)
    rates = arguments.ramp_up_start_rps, arguments.ramp_up_end_rps
    if arguments.ramp_up_strategy and None in rates:
        raise BenchmarkError("--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps")
    if not arguments.ramp_up_strategy and rates != (None, None):
        raise BenchmarkError("--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy")
    if arguments.ramp_up_strategy and arguments.request_rate != float("inf"):
        raise BenchmarkError("--ramp-up-strategy takes the place of --request-rate; give one")
    if arguments.baseline is None:
        return
    if arguments.checkpoint is None:
        raise BenchmarkError(
            "--baseline needs --checkpoint DIR, the weights that the server serves"
        )
    for flag in ("suite", "cloud", "cloud_points", "cancel_rate"):
        if getattr(arguments, flag):
            name = flag.replace("_", "-")
            raise BenchmarkError(f"--baseline has nothing to set beside --{name}; leave one out")


def _style(arguments: argparse.Namespace) -> RequestStyle:
    ignore_eos = arguments.ignore_eos
    return RequestStyle(
        arguments.backend,
        arguments.backend == LAMM if ignore_eos is None else ignore_eos,
        arguments.extra_body,
    )


def _deck(arguments: argparse.Namespace, style: RequestStyle) -> QuestionDeck | None:
    if not arguments.suite:
        return None
    suite = load_suite(find_suite(arguments.suite, arguments.data))
    return QuestionDeck(suite, arguments.suite_share, arguments.seed, clouds=style.takes_clouds)


def _specs(arguments: argparse.Namespace, model: str, style: RequestStyle) -> list[LoadSpec]:
    """One test a concurrency."""
    workload = WorkloadSpec(
        num_prompts=arguments.num_prompts,
        input_words=arguments.input_words,
        output_lens=arguments.output_lens,
        images=tuple(arguments.image),
        clouds=tuple(arguments.cloud),
        image_sizes=arguments.image_sizes,
        cloud_points=arguments.cloud_points,
        unique_images=arguments.unique_images,
        unique_clouds=arguments.unique_clouds,
    )
    ramp_up = None
    if arguments.ramp_up_strategy:
        ramp_up = RampUp(
            arguments.ramp_up_strategy, arguments.ramp_up_start_rps, arguments.ramp_up_end_rps
        )
    return [
        LoadSpec(
            model=model,
            workload=workload,
            max_concurrency=limit,
            arrivals=Arrivals(arguments.request_rate, arguments.burstiness, ramp_up),
            style=style,
            goodput=dict(arguments.goodput),
            cancel_rate=arguments.cancel_rate,
            seed=arguments.seed + index,
            rounds=arguments.rounds,
            percentiles=arguments.metric_percentiles,
            label=arguments.label,
            metadata=dict(arguments.metadata),
        )
        for index, limit in enumerate(_concurrencies(arguments))
    ]


def _concurrencies(arguments: argparse.Namespace) -> tuple[int | None, ...]:
    """The limits asked for; a rate alone is an open loop, which any limit would close."""
    if arguments.max_concurrency is not None:
        return tuple(arguments.max_concurrency)
    is_open = arguments.ramp_up_strategy or arguments.request_rate != float("inf")
    return (None,) if is_open else (_CLOSED_LOOP,)


async def _warm_up(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    items: Sequence[WorkItem],
    baseline: TransformersBaseline | None,
) -> None:
    """A few unmeasured requests; one that fails ends the test before its minutes are spent."""
    if not items:
        return
    client = ChatClient(http, len(items))
    sent, _ = await send_all(client, spec.model, spec.style, items, [0.0] * len(items))
    for one in sent:
        if one.record.error is not None:
            raise BenchmarkError(f"a warm-up request failed: {one.record.error}")
    if baseline is not None:
        await baseline.run(items, len(items))


async def _run(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    baseline: TransformersBaseline | None,
    deck: QuestionDeck | None,
    console: Console,
) -> dict[str, Any]:
    name = f"concurrency {spec.max_concurrency or 'unbounded'}"
    with console.status(name) as status:
        return await run_load(
            http, spec, baseline, lambda what: status.update(f"{name}: {what}"), deck
        )


def _show(
    results: Sequence[dict[str, Any]], arguments: argparse.Namespace, console: Console
) -> None:
    metrics = [name for name in METRICS if name in arguments.percentile_metrics]
    print_whole(load_report.throughput_table(results), console)
    print_whole(load_report.latency_table(results, metrics), console)
    scores = load_report.quality_table(results)
    if scores is not None:
        print_whole(scores, console)
    for note in load_report.notes(results):
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)


def _saves(arguments: argparse.Namespace) -> bool:
    return bool(arguments.save_result or arguments.save_detailed or arguments.plot)


def _save(
    results: Sequence[dict[str, Any]], arguments: argparse.Namespace, console: Console
) -> None:
    if not _saves(arguments):
        return
    paths = load_report.save(
        results, arguments.result_dir, arguments.result_filename, arguments.save_detailed
    )
    if arguments.plot:
        paths += load_plot.save_plots(results, paths, arguments.plot)
    for path in paths:
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
