"""Whose line is next, and what becomes of lines that the service never has room for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.batches import room as room_module
from service.batches.batch import Batch, InputLine, NewBatch
from service.batches.database import Database, database_url, open_database
from service.batches.feeder import Feeder, Turns
from service.batches.line_runner import LineAnswer
from service.batches.line_store import LineStore
from service.batches.room import Room
from service.batches.store import BatchStore
from service.config.settings import Settings
from service.engine.base import EngineStats, GenerationChunk, GenerationRequest, QueueFullError
from service.engine.echo_engine import EchoEngine
from service.lifecycle import Lifecycle
from service.startup.configs import engine_config
from tests.service.batches.batch_jobs import (
    CHAT,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
)
from tests.service.chat_requests import REPLY, chat_body

ASKED = NewBatch("aa", CHAT, "file-1", "24h", None, 1000, 2000)


def test_owners_take_turns_and_then_their_batches() -> None:
    turns = Turns()
    for owner, number in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)):
        turns.add(owner, number)
    found = [turns.next(()) for _ in range(9)]
    assert found == [1, 4, 5, 2, 4, 6, 3, 4, 5]
    assert [turns.next((1, 2, 3, 4)) for _ in range(3)] == [6, 5, 6]
    turns.remove("c", 5)
    turns.remove("c", 6)
    turns.remove("c", 6)
    assert [turns.next((2,)) for _ in range(3)] == [1, 4, 3]
    assert turns.next((1, 2, 3, 4)) is None


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(database_url(None, tmp_path))
    yield database
    database.close()


class OneAtATime:
    """Notes whose lines are asked, and has room for one at a time."""

    stopping = False

    def __init__(self) -> None:
        self.owners: list[str] = []

    async def run(self, path: str, body: str, owner: str, request_id: str) -> LineAnswer:
        """See `LineRunner`."""
        self.owners.append(owner)
        return LineAnswer(200, b'{"usage": {}}')

    def may_start(self, in_flight: int) -> bool:
        """See `Room`."""
        return in_flight == 0

    def started(self) -> None:
        """See `Room`."""

    def answered(self) -> None:
        """See `Room`."""

    def watch(self) -> object:
        """See `Room`."""
        return lambda: True


async def test_a_key_with_many_batches_has_one_keys_share(database: Database) -> None:
    store, lines = BatchStore(database, "w1", 60), LineStore(database, "w1")
    batches: list[Batch] = []
    for owner in ("aa", "aa", "aa", "bb"):
        made = store.create(replace(ASKED, owner=owner), 9)
        store.claim(9)
        lines.add(made.number, [InputLine(n, f"id {n}", "{}") for n in range(1, 5)])
        assert store.begin_progress(made.number, 1001)
        batches.append(store.get(owner, made.id))
    both = OneAtATime()
    feeder = Feeder(database, lines, both, both, lambda _: None, lambda: None)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while len(both.owners) < 16:
            await feeder.feed(batches)
            await asyncio.sleep(0.001)
    assert both.owners[:8] == ["aa", "bb"] * 4
    assert both.owners[8:] == ["aa"] * 8


def test_nothing_else_is_known_to_have_run() -> None:
    lifecycle, stats = Lifecycle(), EngineStats()
    room = Room([lambda: stats], lifecycle, None)

    def watched(before: int, meanwhile: int, after: int = 0) -> bool:
        """Whether a line ran by itself, beside so many other requests at each time."""
        others = [lifecycle.admit() for _ in range(before + meanwhile + after)]
        for one in others[:before]:
            one.__enter__()
        alone = room.watch()
        for one in others[before:]:
            one.__enter__()
        with lifecycle.admit():
            pass
        for one in others[: before + meanwhile]:
            one.__exit__(None, None, None)
        told = alone()
        for one in others[before + meanwhile :]:
            one.__exit__(None, None, None)
        return told

    lifecycle.loaded()
    assert watched(0, 0)
    assert not watched(1, 0)
    assert not watched(0, 1)
    assert not watched(0, 0, 1)
    assert not room.watch()(), "it was refused before it was let in: by others' bodies, say"
    stats = EngineStats(waiting=1)
    assert not watched(0, 0)


class Narrow(EchoEngine):
    """Has never room for who asks for four tokens."""

    def __init__(self, settings: Settings, delay: float = 0.0) -> None:
        super().__init__(engine_config(settings), REPLY, delay)
        self.refused_beside: list[int] = []

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`."""
        if request.sampling_params.max_tokens == 4:
            self.refused_beside.append(self.stats().running)
            raise QueueFullError(6, 4, "tokens")
        async for chunk in super().generate(request):
            yield chunk


async def test_a_line_that_finds_no_room_by_itself_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "_FIRST_PAUSE_S", 0.01)
    engine = Narrow(settings, 0.01)
    async with batch_app(settings, tmp_path, engine=engine) as (_, client):
        # Lines 3 and 8 of these ask for four tokens.
        batch = await until(client, await start(client, jsonl(map(request_line, range(10)))))
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 10, "completed": 8, "failed": 2}
        errors = (await content_of(client, batch["error_file_id"])).decode().splitlines()
        first, second = map(json.loads, errors)
        assert (first["custom_id"], second["custom_id"]) == ("line-3", "line-8")
        assert first["response"] is None
        assert first["error"]["code"] == "no_room"
        assert "6 tokens are waiting; the limit is 4" in first["error"]["message"]
    assert len(engine.refused_beside) == 4, "each once beside others, and once alone"
    assert engine.refused_beside[-2:] == [0, 0]


async def test_no_line_is_given_up_for_want_of_room_beside_a_live_request(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(room_module, "_LONGEST_PAUSE_S", 0.02)
    engine = Narrow(settings, 0.02)
    async with batch_app(settings, tmp_path, engine=engine) as (_, client):
        live = asyncio.create_task(
            client.post(CHAT, json=chat_body(max_tokens=100, ignore_eos=True))
        )
        batch_id = await start(client, jsonl([request_line(3)]))
        async with asyncio.timeout(20):
            while len(engine.refused_beside) < 5:  # noqa: ASYNC110 - an engine tells of no events
                await asyncio.sleep(0.01)
        assert not live.done()
        found = await until(client, batch_id, "in_progress")
        assert found["request_counts"]["failed"] == 0
        assert (await live).status_code == 200
        assert (await until(client, batch_id))["request_counts"]["failed"] == 1
