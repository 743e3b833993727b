"""Sends a workload: each request when it is due and a slot is free, some of them cut off.

Called by `load`; the stopwatch of every request is `ChatClient.stream`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from benchmark.http.cancel import DISCONNECTED, Disconnector
from benchmark.http.chat_answers import StreamRecord
from benchmark.http.client import ChatClient, encode_stream
from benchmark.load.requests import RequestStyle
from benchmark.load.workload import WorkItem


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it went. `queue_time`: seconds between being due and being sent.

    `moment` is the share of a usual latency at which it was to be cut, or None.
    """

    item: WorkItem
    record: StreamRecord
    queue_time: float
    moment: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it was cut off before it had ended by itself."""
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
    """Sends items when due, slots permitting; results in the items' order, and seconds taken.

    `moments` (one an item, or none at all) say which are cut off.

    Raises:
        BenchmarkError: the style has no form for an item.
    """
    bodies = [encode_stream(style.body(model, item)) for item in items]
    cuts = list(moments) or [None] * len(items)
    streamer = disconnector or Disconnector()
    # The slots are ours and not the client's: waiting for one is no latency of the server's, and
    # the moment of a cut counts from the sending.
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
