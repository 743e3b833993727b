"""Sends a workload: each request when it is due and a slot is free; some disconnect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from benchmark.http.cancel import DISCONNECTED, Disconnector
from benchmark.http.chat_answers import StreamRecord
from benchmark.http.client import ChatClient, encode_stream
from benchmark.load.requests import RequestStyle
from benchmark.load.workload import WorkItem

# Lists of a result with one entry per request, as `vllm bench serve --save-detailed` writes them.
DETAIL_KEYS = (
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times",
    "generated_texts", "errors", "cancelled_requests",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """One sent request. `queue_time`: seconds between due and sent.

    `moment` is the fraction of a usual latency at which it should disconnect, or None.
    """

    item: WorkItem
    record: StreamRecord
    queue_time: float
    moment: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the client disconnected before the end."""
        return self.record.error == DISCONNECTED


async def send_all(
    client: ChatClient,
    model: str,
    style: RequestStyle,
    items: Sequence[WorkItem],
    due: Sequence[float],
    max_concurrency: int | None = None,
    moments: Sequence[float | None] = (),
    disconnector: Disconnector | None = None,
) -> tuple[list[Sent], float]:
    """Sends each item when it is due and a slot is free.

    `moments` (one per item, or empty) says which requests disconnect. Returns the sent requests in
    the order of the items, and the duration in seconds.

    Raises:
        BenchmarkError: the style cannot express an item.
    """
    bodies = [encode_stream(style.body(model, item)) for item in items]
    cuts = list(moments) or [None] * len(items)
    streamer = disconnector or Disconnector()
    # Not the slots of the client: waiting for one is not latency of the server, and the moment of a
    # disconnect counts from sending.
    slots = nullcontext() if max_concurrency is None else asyncio.Semaphore(max_concurrency)
    started = time.perf_counter()

    async def one(item: WorkItem, body: bytes, at: float, moment: float | None) -> Sent:
        await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
        async with slots:
            queued = max(0.0, time.perf_counter() - started - at)
            record = await streamer.stream(client, body, moment)
        return Sent(item, record, queued, moment)

    sent = await asyncio.gather(
        *(one(*parts) for parts in zip(items, bodies, due, cuts, strict=True))
    )
    return sent, time.perf_counter() - started


def details(sent: Sequence[Sent]) -> dict[str, list[Any]]:
    """Lists with one entry per request in the order sent; times in seconds.

    `start_times` have an arbitrary zero. Failed and disconnected requests have no tokens; `errors`
    has their reason, and "" for all others.
    """
    records = [one.record for one in sent]
    usages = [record.usage if record.error is None else None for record in records]
    return {
        "input_lens": [usage.prompt_tokens if usage else 0 for usage in usages],
        "output_lens": [usage.completion_tokens if usage else 0 for usage in usages],
        "ttfts": [0.0 if record.error is not None else record.ttft for record in records],
        "itls": [[] if record.error is not None else record.itls for record in records],
        "latencies": [record.latency for record in records],
        "start_times": [record.start for record in records],
        "queue_times": [one.queue_time for one in sent],
        "generated_texts": [record.text for record in records],
        "errors": [record.error or "" for record in records],
        "cancelled_requests": [one.cancelled for one in sent],
    }


def without_details(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without the keys of `--save-detailed`."""
    return {key: value for key, value in result.items() if key not in DETAIL_KEYS}
