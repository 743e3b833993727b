"""Who sits, who waits, and in which order: the queue in front of vLLM."""

from __future__ import annotations

import asyncio

import pytest

from lamm_model.sampling_params import SamplingParams
from service.engine.base import GenerationRequest, PromptTooLongError, QueueFullError
from service.engine.config import EngineConfig
from service.engine.sequence import Sequence
from service.engine.vllm.seats import Seats


def sequence(number: int, *, priority: int = 0, tokens: int = 4) -> Sequence:
    request = GenerationRequest(str(number), (1,) * tokens, SamplingParams(), priority=priority)
    return Sequence(request, number, 0, arrived_at=float(number), priority_ageing_s=3.0)


class Visitors:
    """Takes seats in tasks; `order` has the numbers in the order in which they sat down."""

    def __init__(self, seats: Seats) -> None:
        self._seats, self.order = seats, list[str]()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, one: Sequence) -> None:
        name = one.request.request_id
        self.tasks[name] = asyncio.create_task(self._sit(one))
        await asyncio.sleep(0)

    async def _sit(self, one: Sequence) -> None:
        async with self._seats.taken(one):
            self.order.append(one.request.request_id)
            await asyncio.Event().wait()

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await asyncio.sleep(0)


async def test_lower_priority_values_sit_first_and_waiting_makes_up_for_them() -> None:
    visitors = Visitors(Seats(EngineConfig(max_num_seqs=1), 100))
    await visitors.arrive(sequence(0))
    # A level of priority equals three seconds of waiting.
    for one in (sequence(1, priority=2), sequence(2), sequence(3, priority=1), sequence(5)):
        await visitors.arrive(one)
    for name in ("0", "2", "5", "3", "1"):
        await visitors.leave(name)
    assert visitors.order == ["0", "2", "5", "3", "1"]


async def test_one_that_leaves_the_queue_takes_no_seat() -> None:
    seats = Seats(EngineConfig(max_num_seqs=1), 100)
    visitors = Visitors(seats)
    for number in range(3):
        await visitors.arrive(sequence(number))
    await visitors.leave("1")
    assert (len(seats.running), len(seats.waiting)) == (1, 1)
    await visitors.leave("0")
    await visitors.leave("2")
    assert visitors.order == ["0", "2"]
    assert (len(seats.running), len(seats.waiting)) == (0, 0)


async def test_bounds() -> None:
    config = EngineConfig(max_num_seqs=1, max_waiting_requests=2, max_waiting_tokens=10)
    visitors = Visitors(Seats(config, 100))
    await visitors.arrive(sequence(0, tokens=99))
    await visitors.arrive(sequence(1, tokens=8))
    await visitors.arrive(sequence(2, tokens=3))
    with pytest.raises(QueueFullError, match="8 tokens are waiting; the limit is 10"):
        await visitors.tasks["2"]
    await visitors.arrive(sequence(3, tokens=2))
    await visitors.arrive(sequence(4, tokens=1))
    with pytest.raises(QueueFullError, match="2 requests are waiting; the limit is 2"):
        await visitors.tasks["4"]
    await visitors.arrive(sequence(5, tokens=100))
    with pytest.raises(PromptTooLongError, match="100 tokens; the limit is 99"):
        await visitors.tasks["5"]
    for name in ("0", "1", "3"):
        await visitors.leave(name)
