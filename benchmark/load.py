"""Latency and throughput under load, open or closed loop, beside a baseline in the same run.

Called by `lamm bench load`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx

from benchmark.client import ChatClient, StreamRecord, encode_stream
from benchmark.content import image_part, user_message
from benchmark.errors import BenchmarkError
from benchmark.load_metrics import summarise
from benchmark.workload import WorkItem, WorkloadSpec, arrival_times, make_workload


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One load test. `max_concurrency` None leaves an open loop unbounded.

    `rounds` repeats the whole test with other prompts; medians over rounds are reported.
    """

    model: str
    workload: WorkloadSpec
    max_concurrency: int | None
    request_rate: float = float("inf")
    burstiness: float = 1.0
    seed: int = 0
    rounds: int = 1
    percentiles: tuple[float, ...] = (99.0,)


@dataclass(frozen=True, slots=True)
class BaselineRound:
    """What a baseline gave for one workload: useful output tokens and the seconds they took."""

    output_tokens: int
    seconds: float


class Baseline(Protocol):
    """Something else that generates, asked in turns with the server."""

    name: str

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        """Generates for all items in static batches."""
        ...


async def run_load(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    baseline: Baseline | None = None,
    on_round: Callable[[str], None] = lambda _what: None,
) -> dict[str, Any]:
    """Runs all rounds, baseline and server in turns, and gives the result in vLLM's keys.

    With several rounds every number is the median over them; counts and durations are sums. The
    server is idle while the baseline runs, and the other way round.

    Raises:
        BenchmarkError: no request of a round succeeded; the first error is in the message.
    """
    rounds: list[dict[str, Any]] = []
    baseline_rates: list[float] = []
    for index in range(spec.rounds):
        # Each round has prompts of its own: a prefix cache must not answer for the engine.
        items = make_workload(spec.workload, spec.seed + 1000 * index)
        if baseline is not None:
            on_round(f"{baseline.name}, round {index + 1} of {spec.rounds}")
            given = await baseline.run(items, spec.max_concurrency or len(items))
            baseline_rates.append(given.output_tokens / given.seconds)
        on_round(f"server, round {index + 1} of {spec.rounds}")
        rounds.append(await _server_round(http, spec, items))
    result = {**_head(spec), **merge_rounds(rounds)}
    if baseline is not None:
        result["baseline"] = baseline.name
        result["baseline_output_throughput"] = statistics.median(baseline_rates)
        result["baseline_round_output_throughputs"] = baseline_rates
        result["speedup"] = result["output_throughput"] / result["baseline_output_throughput"]
    return result


async def send_all(
    client: ChatClient, model: str, items: Sequence[WorkItem], due: Sequence[float]
) -> tuple[list[StreamRecord], float]:
    """Sends items when due, slots permitting; records in the items' order, and seconds taken."""
    bodies = [encode_stream(request_body(model, item)) for item in items]
    started = time.perf_counter()

    async def one(body: bytes, at: float) -> StreamRecord:
        await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
        return await client.stream(body)

    records = await asyncio.gather(*(one(body, at) for body, at in zip(bodies, due, strict=True)))
    return records, time.perf_counter() - started


def request_body(model: str, item: WorkItem) -> dict[str, Any]:
    """A greedy request of an exact output length."""
    part = None if item.image is None else image_part(item.image, item.mime)
    return {
        "model": model,
        "messages": [user_message(item.prompt, part)],
        "temperature": 0,
        "max_tokens": item.output_len,
        # Both: some servers honour stop strings even where EOS is ignored.
        "min_tokens": item.output_len,
        "ignore_eos": True,
    }


def merge_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result from several: sums of counts and durations, medians of everything else."""
    if len(rounds) == 1:
        return {**rounds[0]}
    summed = {"duration", "completed", "failed", "short_outputs"}
    merged: dict[str, Any] = {}
    for key in rounds[0]:
        values = [r[key] for r in rounds if key in r]
        if key == "errors":
            merged[key] = sorted({error for value in values for error in value})
        elif key in summed or (key.startswith("total_") and key.endswith("_tokens")):
            merged[key] = sum(values)
        elif key == "max_concurrent_requests":
            merged[key] = max(values)
        else:
            merged[key] = statistics.median(values)
    merged["round_output_throughputs"] = [r["output_throughput"] for r in rounds]
    return merged


async def _server_round(
    http: httpx.AsyncClient, spec: LoadSpec, items: Sequence[WorkItem]
) -> dict[str, Any]:
    client = ChatClient(http, spec.max_concurrency or len(items))
    due = arrival_times(len(items), spec.request_rate, spec.burstiness, spec.seed)
    records, duration = await send_all(client, spec.model, items, due)
    errors = sorted({record.error for record in records if record.error is not None})
    if all(record.error is not None for record in records):
        raise BenchmarkError(f"all {len(records)} requests failed; the first: {errors[0]}")
    result = summarise(records, duration, spec.percentiles)
    result["short_outputs"] = sum(
        record.usage is not None and record.usage.completion_tokens != item.output_len
        for record, item in zip(records, items, strict=True)
        if record.error is None
    )
    result["errors"] = errors
    return result


def _head(spec: LoadSpec) -> dict[str, Any]:
    rate = spec.request_rate
    return {
        "date": datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"),
        "backend": "openai-chat",
        "model_id": spec.model,
        "num_prompts": spec.workload.num_prompts,
        # JSON has no infinity; vLLM writes the word too.
        "request_rate": rate if rate != float("inf") else "inf",
        "burstiness": spec.burstiness,
        "max_concurrency": spec.max_concurrency,
        "output_lens": list(spec.workload.output_lens),
        "num_images": len(spec.workload.images),
        "rounds": spec.rounds,
        "seed": spec.seed,
    }
