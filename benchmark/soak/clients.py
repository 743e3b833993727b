"""Many concurrent clients, each sending one request after another; some requests disconnect."""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from benchmark.http.cancel import DISCONNECTED, Disconnector
from benchmark.http.chat_answers import StreamRecord
from benchmark.http.client import ChatClient, encode_stream
from benchmark.soak.requests import SoakRequests

# Messages of `ChatClient.stream` for lost connections; the names of all httpx timeouts match.
_LOST = "connection lost: "
_TIMEOUT = "Timeout"
_BACK_OFF_S = (0.5, 1.5)
_EXAMPLES = 5
_SPREAD_S = 1.0
_REFUSALS = (429, 503)


class Outcome(StrEnum):
    """How one request ended."""

    FINISHED = "finished"
    DISCONNECTED = "disconnected"  # by the client, on purpose
    REFUSED = "refused"  # 429 or 503: back-pressure
    HUNG = "hung"  # no byte or no end in time
    SERVER_ERROR = "server_error"  # any other 5xx
    REJECTED = "rejected"  # any other 4xx
    LOST = "lost"  # the connection broke
    BROKEN = "broken"  # an error event, or an incomplete stream


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete answer and the number of its request; `seconds` is its latency."""

    number: int
    text: str
    finish_reason: str | None
    completion_tokens: int
    seconds: float


@dataclass(slots=True)
class Crowd:
    """Results of all clients: counts by outcome, complete answers, and the first errors."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    finished: list[Finished] = field(default_factory=list)
    examples: dict[Outcome, list[str]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    refusals_without_retry_after: int = 0
    seconds: float = 0.0

    async def on_response(self, response: httpx.Response) -> None:
        """An httpx event hook: counts statuses, and refusals without Retry-After."""
        self.statuses[response.status_code] += 1
        if response.status_code in _REFUSALS and "retry-after" not in response.headers:
            self.refusals_without_retry_after += 1

    def note(self, number: int, record: StreamRecord) -> Outcome:
        """Counts a finished request."""
        outcome = outcome_of(record)
        self.counts[outcome] += 1
        if outcome is Outcome.FINISHED and record.usage is not None:
            tokens = record.usage.completion_tokens
            self.finished.append(
                Finished(number, record.text, record.finish_reason, tokens, record.latency)
            )
        elif record.error is not None and outcome is not Outcome.DISCONNECTED:
            examples = self.examples.setdefault(outcome, [])
            if len(examples) < _EXAMPLES:
                examples.append(f"request {number}: {record.error}")
        return outcome


@dataclass(frozen=True, slots=True)
class CrowdSpec:
    """`clients` send requests for `seconds`, or `num_prompts` in total, and wait for their ends.

    A request longer than `deadline_s` counts as hung; `cancel_rate` is the share of requests that
    disconnect at a random moment.
    """

    clients: int
    cancel_rate: float
    deadline_s: float
    seconds: float | None = None
    num_prompts: int | None = None
    seed: int = 0


async def run_crowd(
    client: ChatClient,
    requests: SoakRequests,
    spec: CrowdSpec,
    crowd: Crowd,
    on_tick: Callable[[Crowd], None] = lambda _crowd: None,
) -> None:
    """Runs all clients until the end of their last requests."""
    numbers = iter(range(spec.num_prompts or sys.maxsize))
    seconds = math.inf if spec.seconds is None else spec.seconds
    disconnector = Disconnector()
    started = time.perf_counter()

    async def one(index: int) -> None:
        rng = random.Random(f"{spec.seed}/client {index}")
        # Spread out the first requests.
        await asyncio.sleep(rng.random() * min(_SPREAD_S, seconds / 10))
        while time.perf_counter() - started < seconds:
            if (number := next(numbers, None)) is None:
                return
            content = encode_stream(requests[number].body)
            moment = rng.random() if rng.random() < spec.cancel_rate else None
            record = await _within(spec.deadline_s, disconnector.stream(client, content, moment))
            if crowd.note(number, record) not in (Outcome.FINISHED, Outcome.DISCONNECTED):
                await asyncio.sleep(rng.uniform(*_BACK_OFF_S))
            on_tick(crowd)

    async with asyncio.TaskGroup() as group:
        for index in range(spec.clients):
            group.create_task(one(index))
    crowd.seconds = time.perf_counter() - started


def outcome_of(record: StreamRecord) -> Outcome:
    """The outcome of a record, from its error."""
    error = record.error
    if error is None:
        return Outcome.FINISHED
    if error == DISCONNECTED:
        return Outcome.DISCONNECTED
    if error.startswith(_LOST):
        return Outcome.HUNG if _TIMEOUT in error else Outcome.LOST
    status = _status(error)
    if status is None:
        return Outcome.BROKEN
    return _outcome_of_status(status)


def _outcome_of_status(status: int) -> Outcome:
    if status in _REFUSALS:
        return Outcome.REFUSED
    return Outcome.SERVER_ERROR if status >= httpx.codes.INTERNAL_SERVER_ERROR else Outcome.REJECTED


async def _within(seconds: float, running: Coroutine[Any, Any, StreamRecord]) -> StreamRecord:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            return await running
    except TimeoutError:
        # Counts as hung: keep-alives are not an answer.
        error = f"{_LOST}Timeout: no end within {seconds:g} s"
        return StreamRecord(start=started, end=time.perf_counter(), error=error)


def _status(error: str) -> int | None:
    """The HTTP status in the message of a refusal; None for other errors."""
    words = error.removeprefix("HTTP ").split(":", 1)
    return int(words[0]) if error.startswith("HTTP ") and words[0].isdigit() else None
