"""Faults of processes and connections: disconnects, SIGTERM once and twice, SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import httpx

from benchmark.faults.clients import LONG_ANSWER, Clients, Reply, read_rest, told
from benchmark.faults.engine import SEATS
from benchmark.faults.findings import Findings
from benchmark.faults.server import FaultServer, is_media_worker

DRAIN_S = 120.0
_LOOKED_AGAIN_S = 0.02
_UNREADY_S = 1.0
_AT_ONCE_S = 10.0
_LONG = {"ignore_eos": True, "min_tokens": LONG_ANSWER, "max_tokens": LONG_ANSWER}


async def disconnect(server: FaultServer, clients: Clients, found: Findings) -> None:
    """Clients disconnect during media decoding, in the queue, in prefill and in the answer."""
    workers = server.media_workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        await _leave(clients, 2 * len(workers), "lamm:num_requests_preparing_media")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    found.note(f"during media decoding: idle after {await clients.until_idle():.2f} s")
    with server.fault("stall"):
        # The first request is in a hanging step, the others wait.
        await _leave(clients, 2 * SEATS, "lamm:num_requests_running", "lamm:num_requests_waiting")
    found.note(f"in prefill and queue: idle after {await clients.until_idle():.2f} s")
    await asyncio.gather(*(_leave_reading(clients, n) for n in clients.numbers(2 * SEATS)))
    found.note(f"during the answer: idle after {await clients.until_idle():.2f} s")
    replies = await clients.ask_all(clients.numbers(SEATS))
    wrong = await clients.wrong(replies)
    found.note(
        f"afterwards {told(replies)}, {wrong} wrong",
        wrong == 0 and all(reply.answered for reply in replies),
    )


async def sigterm(server: FaultServer, clients: Clients, found: Findings) -> None:
    """SIGTERM with twice as many requests as the engine runs at once."""
    running = await _crowd(clients, 2 * SEATS)
    server.signal(signal.SIGTERM)
    asked = time.perf_counter()
    unready = await clients.until("/readyz", 503)
    found.note(f"/readyz 503 after {unready:.2f} s", unready < _UNREADY_S)
    [late] = await clients.ask_all(clients.numbers(1))
    found.note(
        f"a new request {late.status}, Retry-After {late.retry_after}",
        late.status == 503 and late.retry_after is not None,
    )
    replies = await asyncio.gather(*running)
    whole = all(reply.answered and reply.tokens == LONG_ANSWER for reply in replies)
    found.note(f"running and waiting requests: {told(replies)}, {LONG_ANSWER} tokens each", whole)
    status = await server.wait()
    seconds = time.perf_counter() - asked
    found.note(f"exit {status} after {seconds:.1f} s", status == 0 and seconds < DRAIN_S)


async def second_sigterm(server: FaultServer, clients: Clients, found: Findings) -> None:
    """A second SIGTERM during the drain of the first one."""
    running = await _crowd(clients, 4 * SEATS)
    server.signal(signal.SIGTERM)
    await clients.until("/readyz", 503)
    server.signal(signal.SIGTERM)
    asked = time.perf_counter()
    replies = await asyncio.gather(*running)
    cut = [reply for reply in replies if not reply.answered]
    found.note(f"running: {told(replies)}", bool(cut) and {r.status for r in cut} <= {0, 503})
    status = await server.wait()
    seconds = time.perf_counter() - asked
    found.note(f"exit {status} after {seconds:.1f} s", seconds < _AT_ONCE_S)


async def sigkill(server: FaultServer, clients: Clients, found: Findings) -> None:
    """kill -9 of the server during streams."""
    workers = server.media_workers()
    begun = asyncio.Event()

    async def read(number: int) -> str:
        try:
            async with clients.streaming(number, **_LONG) as response:
                begun.set()
                return (await read_rest(response.aiter_lines()))[0]
        except httpx.TimeoutException:
            return "hung"
        except httpx.TransportError:
            return "cut"

    reading = [asyncio.create_task(read(number)) for number in clients.numbers(2 * SEATS)]
    await begun.wait()
    server.signal(signal.SIGKILL)
    killed = time.perf_counter()
    ends = Counter(await asyncio.gather(*reading))
    seconds = time.perf_counter() - killed
    found.note(
        f"streams: {', '.join(f'{n} {end}' for end, n in ends.items())}, within {seconds:.1f} s",
        set(ends) == {"cut"} and seconds < _AT_ONCE_S,
    )
    await server.wait()
    while any(is_media_worker(pid) for pid in workers):  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(_LOOKED_AGAIN_S)
    found.note(f"its {len(workers)} decoding processes ended by themselves")


async def restart(server: FaultServer, clients: Clients, found: Findings) -> None:
    """A new server on the port of the killed one."""
    replies = await clients.ask_all(clients.numbers(SEATS))
    wrong = await clients.wrong(replies)
    found.note(
        f"a new server on port {server.port}: {told(replies)}, {wrong} wrong",
        wrong == 0 and all(reply.answered for reply in replies),
    )


async def _crowd(clients: Clients, count: int) -> list[asyncio.Task[Reply]]:
    """Keeps `count` requests in flight until some run while others wait; returns all tasks.

    Finished requests are replaced: on a busy machine the first may end before the last arrives.
    """
    asked: list[asyncio.Task[Reply]] = []
    while True:
        missing = count - sum(not task.done() for task in asked)
        asked += [
            asyncio.create_task(clients.ask(number, **_LONG)) for number in clients.numbers(missing)
        ]
        _, body = await clients.status("/health")
        if body.get("running") and body.get("waiting"):
            return asked
        await asyncio.sleep(_LOOKED_AGAIN_S)


async def _leave(clients: Clients, count: int, *gauges: str) -> None:
    """Sends `count` requests and disconnects them once one of the gauges is above zero."""
    asking = [asyncio.create_task(clients.ask(n, **_LONG)) for n in clients.numbers(count)]
    while not set(gauges) & set(await clients.busy()):  # noqa: ASYNC110 - no event to wait for
        await asyncio.sleep(_LOOKED_AGAIN_S)
    await asyncio.sleep(10 * _LOOKED_AGAIN_S)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def _leave_reading(clients: Clients, number: int) -> None:
    async with clients.streaming(number, **_LONG) as response:
        async for line in response.aiter_lines():
            if '"content":' in line:
                return
