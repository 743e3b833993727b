"""Runs load tests, open or closed loop, optionally alternating with a baseline."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import httpx

from benchmark.errors import BenchmarkError
from benchmark.http.cancel import Disconnector, draw_moments
from benchmark.http.client import ChatClient
from benchmark.load.arrivals import Arrivals
from benchmark.load.metrics import peak_concurrency, summarise
from benchmark.load.quality import QuestionDeck, mix_in, score_questions
from benchmark.load.requests import RequestStyle
from benchmark.load.sender import DETAIL_KEYS, Sent, details, send_all
from benchmark.load.workload import WorkItem, WorkloadSpec, make_workload

_SUMMED = frozenset({"duration", "completed", "failed", "cancelled", "short_outputs"})
_PEAKS = frozenset({"max_concurrent_requests", "max_output_tokens_per_s"})


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One load test. `max_concurrency` None leaves an open loop unbounded.

    `rounds` repeats the test with other prompts and reports medians. `goodput` maps metrics to
    limits in milliseconds; `cancel_rate` is the share of requests that disconnect.
    """

    model: str
    workload: WorkloadSpec
    max_concurrency: int | None
    arrivals: Arrivals = field(default_factory=Arrivals)
    style: RequestStyle = field(default_factory=RequestStyle)
    goodput: Mapping[str, float] = field(default_factory=dict)
    cancel_rate: float = 0.0
    seed: int = 0
    rounds: int = 1
    percentiles: tuple[float, ...] = (99.0,)
    label: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaselineRound:
    """Result of a baseline for one workload: its output tokens, and seconds.

    `result` has its metrics under vLLM's keys, if it has latencies.
    """

    output_tokens: int
    seconds: float
    result: Mapping[str, Any] | None = None


class Baseline(Protocol):
    """A second system that alternates with the server."""

    name: str

    async def run(self, items: Sequence[WorkItem], batch_size: int) -> BaselineRound:
        """Generates for all items, `batch_size` at a time."""
        ...


async def run_load(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    baseline: Baseline | None = None,
    on_round: Callable[[str], None] = lambda _what: None,
    deck: QuestionDeck | None = None,
) -> dict[str, Any]:
    """Runs all rounds, baseline and server alternating; returns the result with vLLM's keys.

    Counts and durations are summed over rounds; all other values are medians. The server is idle
    while the baseline runs, and vice versa; they take the first turn alternately, so that a drift
    of the machine meets both. `speedup` is the median of the rounds' ratios. Questions of the deck
    replace some of the requests; their scores over all rounds are under `quality`.

    Raises:
        BenchmarkError: all requests of a round failed; the message has the first error.
    """
    rounds: list[dict[str, Any]] = []
    given: list[BaselineRound] = []
    questions: list[Sent] = []
    disconnector = Disconnector()

    async def ask_baseline(items: Sequence[WorkItem], index: int) -> None:
        if baseline is not None:
            on_round(f"{baseline.name}, round {index + 1} of {spec.rounds}")
            given.append(await baseline.run(items, spec.max_concurrency or len(items)))

    for index in range(spec.rounds):
        # Each round has new prompts, so that no prefix cache shortens it.
        seed = spec.seed + 1000 * index
        items = make_workload(spec.workload, seed)
        if deck is not None:
            items = mix_in(items, deck.deal(len(items)), random.Random(seed))
        if index % 2 == 0:
            await ask_baseline(items, index)
        on_round(f"server, round {index + 1} of {spec.rounds}")
        sent, result = await _server_round(http, spec, items, seed, disconnector)
        rounds.append(result)
        questions += [one for one in sent if one.item.question is not None]
        if index % 2 == 1:
            await ask_baseline(items, index)
    result = {**_head(spec), **merge_rounds(rounds)}
    if deck is not None:
        result["quality"] = score_questions(deck.suite, questions, result["duration"])
    if baseline is not None:
        result |= _beside(baseline.name, rounds, given)
    return result


def _beside(
    name: str, rounds: Sequence[Mapping[str, Any]], given: Sequence[BaselineRound]
) -> dict[str, Any]:
    """The result's keys about a baseline."""
    rates = [one.output_tokens / one.seconds for one in given]
    ratios = [
        result["output_throughput"] / rate for result, rate in zip(rounds, rates, strict=True)
    ]
    beside = {
        "baseline": name,
        "baseline_output_throughput": statistics.median(rates),
        "baseline_round_output_throughputs": rates,
        "round_speedups": ratios,
        "speedup": statistics.median(ratios),
    }
    results = [dict(one.result) for one in given if one.result is not None]
    return beside | ({"baseline_result": merge_rounds(results)} if results else {})


def merge_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merges results: sums of counts and durations, medians of all other values."""
    if len(rounds) == 1:
        return {**rounds[0]}
    merged: dict[str, Any] = {}
    for key in rounds[0]:
        values = [r[key] for r in rounds if r.get(key) is not None]
        if key in DETAIL_KEYS:
            merged[key] = [entry for value in values for entry in value]
        elif key == "error_counts":
            reasons = sorted({reason for value in values for reason in value})
            merged[key] = {why: sum(value.get(why, 0) for value in values) for why in reasons}
        elif key in _SUMMED or (key.startswith("total_") and key.endswith("_tokens")):
            merged[key] = sum(values)
        elif key in _PEAKS:
            merged[key] = max(values)
        else:
            merged[key] = statistics.median(values) if values else None
    merged["round_output_throughputs"] = [r["output_throughput"] for r in rounds]
    return merged


async def _server_round(
    http: httpx.AsyncClient,
    spec: LoadSpec,
    items: Sequence[WorkItem],
    seed: int,
    disconnector: Disconnector,
) -> tuple[list[Sent], dict[str, Any]]:
    client = ChatClient(http, max(1, len(items)))
    sent, duration = await send_all(
        client,
        spec.model,
        spec.style,
        items,
        spec.arrivals.times(len(items), seed),
        spec.max_concurrency,
        _moments(items, spec.cancel_rate, random.Random(seed)),
        disconnector,
    )
    reasons = [one.record.error for one in sent if one.record.error and not one.cancelled]
    records = [one.record for one in sent if not one.cancelled]
    if records and len(reasons) == len(records):
        raise BenchmarkError(f"all {len(records)} requests failed; first error: {reasons[0]}")
    result = summarise(records, duration, spec.percentiles, spec.goodput)
    result["max_concurrent_requests"] = peak_concurrency([one.record for one in sent])
    result["cancelled"] = sum(one.cancelled for one in sent)
    result["short_outputs"] = sum(_is_short(one, spec.style) for one in sent)
    result["error_counts"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    return sent, {**result, **details(sent)}


def _moments(items: Sequence[WorkItem], rate: float, rng: random.Random) -> list[float | None]:
    """The moment at which each item disconnects; scored questions never do."""
    plain = [index for index, item in enumerate(items) if item.question is None]
    wanted = round(rate * len(items))
    if wanted > len(plain):
        raise BenchmarkError(
            f"{wanted} of {len(items)} requests must disconnect, but only {len(plain)} are not "
            "questions of the suite; lower --cancel-rate or --suite-share"
        )
    moments: list[float | None] = [None] * len(items)
    drawn = draw_moments(len(plain), wanted / len(plain) if plain else 0.0, rng)
    for index, moment in zip(plain, drawn, strict=True):
        moments[index] = moment
    return moments


def _is_short(one: Sent, style: RequestStyle) -> bool:
    """Whether an output does not have its exact length."""
    usage = one.record.usage
    return (
        style.ignore_eos
        and one.item.question is None
        and one.record.error is None
        and usage is not None
        and usage.completion_tokens != one.item.output_len
    )


def _head(spec: LoadSpec) -> dict[str, Any]:
    rate, ramp_up = spec.arrivals.request_rate, spec.arrivals.ramp_up
    head: dict[str, Any] = {
        "date": datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"),
        "backend": spec.style.backend,
        "label": spec.label,
        "model_id": spec.model,
        # The server counts tokens.
        "tokenizer_id": None,
        "num_prompts": spec.workload.num_prompts,
        **spec.metadata,
        # JSON has no infinity; vLLM writes "inf" too.
        "request_rate": rate if rate != float("inf") else "inf",
        "burstiness": spec.arrivals.burstiness,
        "max_concurrency": spec.max_concurrency,
    }
    if ramp_up is not None:
        head |= {
            "ramp_up_strategy": ramp_up.strategy,
            "ramp_up_start_rps": ramp_up.start_rps,
            "ramp_up_end_rps": ramp_up.end_rps,
        }
    work = spec.workload
    return {
        **head,
        "ignore_eos": spec.style.ignore_eos,
        "output_len_mix": list(work.output_lens),
        "input_word_mix": list(work.input_words),
        "num_images": len(work.images) + len(work.image_sizes),
        "num_clouds": len(work.clouds) + len(work.cloud_points),
        "unique_images": work.unique_images,
        "unique_clouds": work.unique_clouds,
        "cancel_rate": spec.cancel_rate,
        "goodput": dict(spec.goodput) or None,
        "rounds": spec.rounds,
        "seed": spec.seed,
    }
