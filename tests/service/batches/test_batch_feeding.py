"""Batches beside live requests, and faults: who comes first, what goes back, what is given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.batches import feeder as feeder_module
from service.batches import room as room_module
from service.batches.line_store import LineStore
from service.batches.room import Room
from service.config.settings import Settings
from service.engine.base import (
    EngineError,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
    QueueFullError,
    RequestFailedError,
)
from service.engine.echo_engine import EchoEngine
from service.exceptions import BatchesUnavailableError, StorageFullError
from service.files.store import FileStore
from service.lifecycle import Lifecycle
from service.startup.configs import engine_config
from tests.service.batches.batch_jobs import (
    CHAT,
    answers,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
    until_answered,
)
from tests.service.chat_requests import REPLY, chat_body

INFO = EngineInfo("echo", "none", "none", 0, 0, 1000, 100, 8)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def room(stats: Callable[[], EngineStats], clock: Clock, limit: int | None = None) -> Room:
    lifecycle = Lifecycle()
    lifecycle.loaded(INFO)
    return Room([stats], lifecycle, limit, clock)


def test_lines_take_what_live_requests_leave() -> None:
    busy: dict[str, Any] = {"running": 0, "waiting": 0}
    clock = Clock()
    found = room(lambda: EngineStats(**busy), clock)
    assert found.may_start(3)
    assert not found.may_start(4), "half of eight seats"
    busy["running"] = 6
    assert not found.may_start(0), "a quarter stays free"
    busy |= {"running": 5, "waiting": 1}
    assert not found.may_start(0)
    clock.now += 11
    assert found.may_start(0), "but not for ever"
    assert not found.may_start(1)
    found.started()
    assert not found.may_start(0)


def test_no_line_starts_while_an_engine_is_dead_or_the_service_drains() -> None:
    lifecycle, alive = Lifecycle(), [True]
    lifecycle.loaded(INFO)
    found = Room([lambda: EngineStats(alive=alive[0])], lifecycle, None, Clock())
    assert found.may_start(0)
    alive[0] = False
    assert not found.may_start(0)
    alive[0] = True
    lifecycle.drain()
    assert not found.may_start(0)
    assert found.stopping


def test_refusals_make_longer_and_longer_pauses() -> None:
    clock = Clock()
    found = room(EngineStats, clock)
    pauses = []
    for _ in range(9):
        found.refused()
        found.refused()  # of those that ran beside it
        began = clock.now
        while not found.may_start(0):
            clock.now += 0.25
        pauses.append(clock.now - began)
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    found.answered()
    found.refused()
    clock.now += 0.25
    assert found.may_start(0)


class Failing(EchoEngine):
    """Raises `failures`, one a request; then it answers. Until then it looks busy."""

    def __init__(self, settings: Settings, failures: list[EngineError], delay: float = 0) -> None:
        super().__init__(engine_config(settings), REPLY, delay)
        self.failures, self.asked = failures, 0

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`."""
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        async for chunk in super().generate(request):
            yield chunk

    def stats(self) -> EngineStats:
        """See `Engine.stats`."""
        return replace(super().stats(), waiting=9 if self.failures else 0)


async def test_what_the_engine_has_no_room_for_goes_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "_FIRST_PAUSE_S", 0.01)
    failures: list[EngineError] = [QueueFullError(9, 8, "requests") for _ in range(4)]
    failures.insert(2, EngineStoppedError("it died"))
    engine = Failing(settings, failures)
    async with batch_app(settings, tmp_path, engine=engine) as (_, client):
        batch_id = await start(client, jsonl(map(request_line, range(6))))
        batch = await until(client, batch_id, "completed")
        assert batch["request_counts"] == {"total": 6, "completed": 6, "failed": 0}
        assert engine.asked == 11
        metrics = (await client.get("/metrics")).text
        assert 'lamm:batch_lines_total{model_name="tiny-lamm",status="retried"} 5.0' in metrics


async def test_what_fails_by_itself_goes_to_the_error_file(
    settings: Settings, tmp_path: Path
) -> None:
    engine = Failing(settings, [RequestFailedError("broken")])
    async with batch_app(settings, tmp_path, engine=engine) as (_, client):
        batch = await until(client, await start(client, jsonl(map(request_line, range(3)))))
        assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        line = json.loads(await content_of(client, batch["error_file_id"]))
        assert line["response"]["status_code"] == 500
        assert line["response"]["body"]["error"]["code"] == "request_failed"


async def test_a_line_that_ends_the_engine_each_time_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(room_module, "_LONGEST_PAUSE_S", 0.02)

    class Poisoned(EchoEngine):
        alone: list[bool]

        async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
            # Line 3 of these asks for four tokens.
            if request.sampling_params.max_tokens == 4:
                self.alone.append(self.stats().running == 0)
                raise EngineStoppedError("it died")
            async for chunk in super().generate(request):
                yield chunk

    engine = Poisoned(engine_config(settings), REPLY, 0.01)
    engine.alone = []
    async with batch_app(settings, tmp_path, engine=engine) as (_, client):
        batch = await until(client, await start(client, jsonl(map(request_line, range(5)))))
        assert batch["request_counts"] == {"total": 5, "completed": 4, "failed": 1}
        line = json.loads(await content_of(client, batch["error_file_id"]))
        assert (line["custom_id"], line["error"]["code"]) == ("line-3", "too_many_attempts")
        assert len(engine.alone) == feeder_module.MAX_ATTEMPTS
        assert all(engine.alone[1:]), "after the first time it runs alone"


async def test_live_requests_pass_a_batch_by(settings: Settings, tmp_path: Path) -> None:
    """Four seats, a batch of long answers: whoever comes finds a seat at once."""
    seats = {"max_num_seqs": 4, "delay": 0.03}
    async with batch_app(settings, tmp_path, **seats) as (app, client):
        lines = [request_line(number) for number in range(40)]
        for line in lines:
            line["body"] |= {"max_tokens": 60, "ignore_eos": True}
        batch_id = await start(client, jsonl(lines))
        engine = app.state.services.engines[0].engine
        async with asyncio.timeout(20):
            while engine.stats().running < 2:  # noqa: ASYNC110 - an engine tells of no events
                await asyncio.sleep(0.01)
        waited: list[float] = []

        async def live() -> None:
            for _ in range(3):
                response = await client.post(CHAT, json=chat_body(max_tokens=3))
                timing = dict(
                    part.split(";dur=") for part in response.headers["server-timing"].split(", ")
                )
                waited.append(float(timing["queue"]))

        await asyncio.gather(live(), live())
        assert max(waited) < 60 * 30, "less than one line of the batch takes"
        assert (await client.post(f"/v1/batches/{batch_id}/cancel")).status_code == 200
        await until(client, batch_id, "cancelled")
        assert engine.stats().running == 0


async def test_a_database_that_fails_loses_no_answer(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder_module, "_COMMIT_WAITS_S", (0.01, 0.01))
    monkeypatch.setattr(room_module, "_FIRST_PAUSE_S", 0.01)
    async with batch_app(settings, tmp_path, delay=0.01) as (_, client):
        batch_id = await start(client, jsonl(map(request_line, range(12))))
        await until_answered(client, batch_id)
        answer, failures = LineStore.answer, [True] * 5

        def broken(*arguments: Any) -> bool:
            if failures:
                failures.pop()
                raise BatchesUnavailableError("gone")
            return bool(answer(*arguments))

        monkeypatch.setattr(LineStore, "answer", broken)
        batch = await until(client, batch_id, "completed")
        output = await content_of(client, batch["output_file_id"])
        assert len(answers(output)) == 12


async def test_output_waits_for_room_on_the_disk(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batches.worker._RETRY_S", 0.2)
    async with batch_app(settings, tmp_path, delay=0.02, batch_max_in_flight=1) as (app, client):
        batch_id = await start(client, jsonl(map(request_line, range(4))))
        files: FileStore = app.state.services.files
        keep, refused = files.keep, [0]

        async def full(*arguments: object, **options: object) -> object:
            if refused[0] < 2:
                refused[0] += 1
                raise StorageFullError("the disk is full")
            return await keep(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(files, "keep", full)
        batch = await until(client, batch_id, "completed")
        assert refused == [2]
        assert batch["finalizing_at"] is not None
        assert len(answers(await content_of(client, batch["output_file_id"]))) == 4
