"""Whose media are decoded first: live requests', then those of batches, which do not starve."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from lamm_model.conversation import Modality
from lamm_model.media import MediaLimits
from lamm_model.spec import ImageSpec
from service.config.settings import Settings
from service.exceptions import OverloadedError
from service.files.store import FileLimits, FileStore, Purpose
from service.media.budgets import MediaBudget
from service.media.fetch import MediaFetcher
from service.media.pool import MediaPool
from service.media.pool_config import LIVE, MediaPoolConfig, Precedence
from service.media.process import MediaJob
from service.media.process_pool import Place, ProcessQueue
from service.media.remote_address import AllowedHosts
from tests.service.batches.batch_jobs import CHAT, batch_app, jsonl, request_line, start, until
from tests.service.chat_requests import chat_body, image, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = Precedence(100, patient=True)
IMAGE = ImageSpec(32, 4, "lamm-squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def config(**more: object) -> MediaPoolConfig:
    values: dict[str, object] = {
        "workers": 1, "timeout_s": 20.0, "memory_bytes": 4 << 30, "cache_bytes": 0,
        "limits": MediaLimits(), "image": IMAGE, "points": None, "queue_timeout_s": 60.0,
    }  # fmt: skip
    return MediaPoolConfig(**(values | more))  # type: ignore[arg-type]


class Line:
    """A queue of numbers, and who got one in which order."""

    def __init__(self, **more: object) -> None:
        self.queue = ProcessQueue[int](config(**more))
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[int]] = []

    async def join(self, name: str, precedence: Precedence = LIVE) -> Place:
        """Someone waits from now on."""
        place = self.queue.place(precedence)

        async def wait() -> int:
            found = await self.queue.take(place)
            self.served.append(name)
            return found

        self.tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        return place

    async def serve(self, count: int) -> list[str]:
        """Who gets the next processes."""
        for number in range(count):
            self.queue.put(number)
            await asyncio.sleep(0.001)
        return self.served


async def test_live_media_go_first() -> None:
    line = Line()
    await line.join("batch", BATCH)
    await line.join("low", Precedence(1))
    await line.join("first")
    await line.join("second")
    await line.join("above the rest", Precedence(-900))
    # Nobody can stand before the others, as in the engine.
    assert await line.serve(5) == ["first", "second", "above the rest", "low", "batch"]


async def test_waiting_makes_up_for_priority() -> None:
    line = Line(priority_ageing_s=0.001)
    await line.join("batch", BATCH)
    await asyncio.sleep(0.11)
    await line.join("live")
    assert await line.serve(2) == ["batch", "live"]
    plain = Line(priority_ageing_s=0.0)
    await plain.join("batch", BATCH)
    await plain.join("live")
    assert await plain.serve(2) == ["batch", "live"]


async def test_a_batchs_medium_waits_as_long_as_it_takes() -> None:
    line = Line(queue_timeout_s=0.05)
    await line.join("batch", BATCH)
    await line.join("live", Precedence(100))
    await asyncio.sleep(0.15)
    assert await line.serve(1) == ["batch"]
    with pytest.raises(OverloadedError, match=r"within 0\.05 s"):
        await line.tasks[1]


async def test_who_waits_for_the_same_medium_hastens_it() -> None:
    line = Line(queue_timeout_s=0.1)
    place = await line.join("batch", BATCH)
    await line.join("low", Precedence(50))
    line.queue.hasten(place, LIVE)
    assert await line.serve(1) == ["batch"]
    slow = await line.join("another", BATCH)
    line.queue.hasten(slow, LIVE)
    with pytest.raises(OverloadedError, match=r"within 0\.1 s"):
        await line.tasks[2]
    line.queue.hasten(slow, LIVE)


async def test_a_process_that_comes_to_one_who_leaves_is_not_lost() -> None:
    line = Line()
    await line.join("gone")
    await line.join("next")
    line.queue.put(7)
    line.tasks[0].cancel()
    assert await line.tasks[1] == 7
    assert (line.served, line.queue.free) == (["next"], 0)
    await line.join("gone too")
    line.queue.put(8)
    line.tasks[2].cancel()
    await asyncio.sleep(0.001)
    assert line.queue.free == 1
    assert await line.queue.take(line.queue.place(BATCH)) == 8


async def test_lines_of_batches_take_half_of_the_places() -> None:
    pool = MediaPool(config(max_requests=4))
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(pool.admit(BATCH))
        with pytest.raises(OverloadedError, match=r"2 batch lines .* the limit is 2"):
            held.enter_context(pool.admit(BATCH))
        for _ in range(2):
            held.enter_context(pool.admit())
        with pytest.raises(OverloadedError, match=r"4 requests .* the limit is 4"):
            held.enter_context(pool.admit())
    with MediaPool(config(max_requests=1)).admit(BATCH):
        pass


@pytest.fixture
def file_store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path, FileLimits(1 << 20, 1 << 20, 9, 1000.0, None, None))


async def test_lines_of_batches_take_half_of_the_turns_to_fetch(file_store: FileStore) -> None:
    await file_store.start()
    async with file_store.receive("aa") as upload:
        await upload.write(png())
        stored = await upload.commit("a.png", Purpose.VISION, 1000.0)
    fetcher = MediaFetcher(file_store, AllowedHosts(()), None, 2, 0.1)
    budget, release = MediaBudget(1 << 20, 1 << 20), asyncio.Event()

    async def hold(patient: bool) -> None:
        async with fetcher.obtain(stored, Modality.IMAGE, budget.item(), "url", patient):
            await release.wait()

    lines = [asyncio.create_task(hold(patient=True)) for _ in range(3)]
    await asyncio.sleep(0.2)
    async with fetcher.obtain(stored, Modality.IMAGE, budget.item(), "url") as content:
        assert content == png()
    release.set()
    await asyncio.gather(*lines)
    await file_store.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def pool() -> AsyncIterator[MediaPool]:
    pool = MediaPool(config())
    await pool.start()
    yield pool
    await pool.stop()


async def test_a_pools_processes_take_live_media_first(
    pool: MediaPool, ran: list[MediaJob]
) -> None:
    first, batch, live, joined = (MediaJob(Modality.IMAGE, png(n)) for n in (1, 2, 3, 4))
    [worker] = pool.decoders.processes
    os.kill(worker.process.pid, signal.SIGSTOP)
    asked = [(first, LIVE), (batch, BATCH), (joined, BATCH), (live, LIVE), (joined, LIVE)]
    jobs = []
    for job, precedence in asked:
        jobs.append(asyncio.create_task(pool.prepare(job, precedence)))
        await asyncio.sleep(0.02)
    os.kill(worker.process.pid, signal.SIGCONT)
    await asyncio.gather(*jobs)
    assert ran == [first, live, joined, batch]


async def test_a_batchs_line_says_that_it_is_patient(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Precedence] = []
    prepare = MediaPool.prepare

    async def noted(self: MediaPool, job: MediaJob, precedence: Precedence = LIVE) -> object:
        asked.append(precedence)
        return await prepare(self, job, precedence)

    monkeypatch.setattr(MediaPool, "prepare", noted)
    async with batch_app(settings, tmp_path) as (app, client):
        pool: MediaPool = app.state.services.models.get("tiny-lamm").processor.media.pool
        await pool.start()
        line = request_line(0)
        line["body"] = chat_body(image(), max_tokens=1)
        question = {"question": "What is this?", "choices": ["a chair", "a lamp"]}
        picture = image()["image_url"]
        task = {"image_url": picture, "inputs": question}
        task_line = {
            "custom_id": "t", "method": "POST", "url": "/v1/tasks/vqa_choice", "body": task
        }  # fmt: skip
        batches = [
            await start(client, jsonl([line])),
            await start(client, jsonl([task_line]), endpoint="/v1/tasks/vqa_choice"),
        ]
        for batch_id in batches:
            batch = await until(client, batch_id, "completed")
            assert batch["request_counts"]["completed"] == 1, batch
        body = chat_body(image(), max_tokens=1, priority=3)
        assert (await client.post(CHAT, json=body)).status_code == 200
        await pool.stop()
    assert asked == [BATCH, BATCH, Precedence(3)]


@pytest.mark.parametrize("others", [0, 1])
async def test_a_process_that_comes_back_in_the_moment_of_leaving_is_not_lost(others: int) -> None:
    line = Line()
    await line.join("leaves")
    for _ in range(others):
        await line.join("stays")
    line.tasks[0].cancel()
    line.queue.put(7)  # before the event loop has run who leaves
    await asyncio.gather(line.tasks[0], return_exceptions=True)
    if others:
        assert await line.tasks[1] == 7
    else:
        assert line.queue.free == 1
