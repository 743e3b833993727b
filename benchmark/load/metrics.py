"""Latency and throughput of a load test, as pure functions of its records.

Result keys are those of `vllm bench serve`, so its tools can read the results.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.http.chat_answers import StreamRecord

METRICS: Mapping[str, str] = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first",
    "itl": "inter-token latency",
    "e2el": "end-to-end latency",
}
# Metrics with one value per request; inter-token latency has many.
GOODPUT_METRICS = ("ttft", "tpot", "e2el")


def summarise(
    records: Sequence[StreamRecord],
    duration: float,
    percentiles: Sequence[float] = (99.0,),
    goodput: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Counts, throughputs (per second) and latencies (milliseconds) over successful requests.

    `goodput` maps metrics to limits in milliseconds; `request_goodput` counts the requests within
    all of them. A latency without measurements is left out: a zero would look like a perfect score.
    """
    done = [record for record in records if record.error is None and record.usage is not None]
    usages = [record.usage for record in done if record.usage is not None]
    prompt_tokens = sum(usage.prompt_tokens for usage in usages)
    output_tokens = sum(usage.completion_tokens for usage in usages)
    good = sum(keeps(record, goodput) for record in done) if goodput else 0
    result: dict[str, Any] = {
        "duration": duration,
        "completed": len(done),
        "failed": len(records) - len(done),
        "total_input_tokens": prompt_tokens,
        "total_output_tokens": output_tokens,
        "total_cached_tokens": sum(usage.cached_tokens for usage in usages),
        "request_throughput": len(done) / duration,
        "request_goodput": good / duration if goodput else None,
        "output_throughput": output_tokens / duration,
        "total_token_throughput": (prompt_tokens + output_tokens) / duration,
        "max_output_tokens_per_s": max(tokens_per_second(done), default=0.0),
        "max_concurrent_requests": peak_concurrency(records),
    }
    for name, seconds in latencies(done).items():
        if not seconds:
            continue
        values = sorted(1000 * value for value in seconds)
        result[f"mean_{name}_ms"] = statistics.fmean(values)
        result[f"median_{name}_ms"] = statistics.median(values)
        result[f"std_{name}_ms"] = statistics.pstdev(values)
        for rank in percentiles:
            result[f"p{rank:g}_{name}_ms"] = percentile(values, rank)
    return result


def keeps(record: StreamRecord, limits: Mapping[str, float]) -> bool:
    """Whether a successful request is within all limits (milliseconds by metric).

    A request with one token has no `tpot` and meets any limit on it.
    """
    return all(
        1000 * value <= limits[name]
        for name, values in latencies([record]).items()
        if name in limits
        for value in values
    )


def latencies(records: Sequence[StreamRecord]) -> dict[str, list[float]]:
    """Values of each metric in seconds, over successful records."""
    return {
        "ttft": [record.ttft for record in records],
        "tpot": [
            (record.latency - record.ttft) / (record.usage.completion_tokens - 1)
            for record in records
            if record.usage is not None and record.usage.completion_tokens > 1
        ],
        "itl": [gap for record in records for gap in record.itls],
        "e2el": [record.latency for record in records],
    }


def peak_concurrency(records: Sequence[StreamRecord]) -> int:
    """The maximum number of requests in flight."""
    # At equal times an end sorts first: it freed the slot for the start.
    edges = sorted([(r.start, 1) for r in records] + [(r.end, -1) for r in records])
    peak = running = 0
    for _, step in edges:
        running += step
        peak = max(peak, running)
    return peak


def tokens_per_second(records: Sequence[StreamRecord]) -> list[float]:
    """Output tokens in each whole second of the test, over successful records.

    A request's tokens are spread evenly over its chunks, whose token counts are unknown.
    """
    if not records:
        return []
    first = min(record.start for record in records)
    last = max(record.end for record in records)
    counts = [0.0] * (math.floor(last - first) + 1)
    for record in records:
        times = record.chunk_times or [record.end]
        tokens = record.usage.completion_tokens if record.usage is not None else 0
        for time in times:
            counts[math.floor(time - first)] += tokens / len(times)
    return counts


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The `rank`-th percentile (0-100) of sorted values, with linear interpolation as in numpy."""
    position = (len(ordered) - 1) * rank / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
