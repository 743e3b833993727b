"""What batches promise of their database, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.app import create_app
from service.batches.batch import (
    Batch,
    BatchStatus,
    InputLine,
    LineProblem,
    LineResult,
    LineStatus,
    NewBatch,
    Tokens,
)
from service.batches.database import Database, database_url, open_database
from service.batches.failures import DatabaseBusyError
from service.batches.line_store import LineStore
from service.batches.store import BatchStore
from service.config.settings import Settings
from service.exceptions import BatchNotFoundError, RateLimitedError, RequestError
from tests.service.batches.batch_jobs import batch_app, jsonl, request_line, start, until

ASKED = NewBatch("abcd", "/v1/completions", "file-1", "24h", {"a": "ü\0"}, 1000, 2000, 3600)
GOOD = LineResult(LineStatus.COMPLETED, '{"good": 1}', Tokens(10, 4, 3))
BAD = LineResult(LineStatus.FAILED, '{"bad": 1}')
LEASE_S = 0.8


@pytest.fixture
def database(url: sa.URL) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


def stores(database: Database, worker: str = "w1") -> tuple[BatchStore, LineStore]:
    return BatchStore(database, worker, LEASE_S), LineStore(database, worker)


def in_progress(database: Database, lines: int) -> Batch:
    """A batch of so many lines, this worker's."""
    store, line_store = stores(database)
    made = store.create(ASKED, 9)
    store.claim(9)
    line_store.add(
        made.number, [InputLine(number, f"id {number}", "{}") for number in range(1, lines + 1)]
    )
    assert store.begin_progress(made.number, 1001)
    return made


def test_a_batch_reads_back_as_it_was_asked(database: Database) -> None:
    store, _ = stores(database)
    made = store.create(ASKED, 2)
    assert store.get("abcd", made.id) == made
    assert (made.status, made.asked) == (BatchStatus.VALIDATING, ASKED)
    with pytest.raises(BatchNotFoundError):
        store.get("other", made.id)
    for strange in ("", "batch_\0", "\ud800", made.id.upper()):
        with pytest.raises(BatchNotFoundError):
            store.request_cancel("abcd", strange, 1001)
    second = store.create(ASKED, 2)
    with pytest.raises(RateLimitedError, match="2 batches are unfinished; the limit is 2"):
        store.create(ASKED, 2)
    store.create(NewBatch(**{**_values(ASKED), "owner": "other"}), 2)
    assert store.list_batches("abcd", None, 9) == [second, made]
    assert store.list_batches("abcd", second.id, 9) == [made]
    with pytest.raises(RequestError, match="no batch has that id"):
        store.list_batches("other", made.id, 9)


def _values(asked: NewBatch) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in NewBatch.__dataclass_fields__}


def test_a_line_is_answered_once(database: Database) -> None:
    store, lines = stores(database)
    made = in_progress(database, 3)
    first = lines.take(made.number, 0, [])
    assert first is not None
    assert (first.line, first.custom_id, first.body, first.attempts) == (1, "id 1", "{}", 0)
    assert lines.answer(made.number, 1, GOOD)
    assert not lines.answer(made.number, 1, BAD)
    assert lines.answer(made.number, 2, BAD)
    assert not lines.answer(made.number, 99, BAD)
    batch = store.get("abcd", made.id)
    assert (batch.total, batch.completed, batch.failed) == (3, 1, 1)
    assert batch.tokens == Tokens(10, 4, 3)
    assert [one.output for one in lines.endings(made.number, good=True)] == [GOOD.output]
    found = lines.take(made.number, 0, [])
    assert found is not None
    assert found.line == 3
    assert lines.take(made.number, 0, [3]) is None
    assert lines.take(made.number, 3, []) is None


def test_many_answers_at_once_are_all_counted(database: Database) -> None:
    store, lines = stores(database)
    made = in_progress(database, 40)
    with ThreadPoolExecutor(4) as pool:
        twice = [*range(1, 41), *range(1, 41)]
        kept = list(pool.map(lambda line: lines.answer(made.number, line, GOOD), twice))
    assert kept.count(True) == 40
    assert store.get("abcd", made.id).completed == 40
    endings = list(lines.endings(made.number, good=True))
    assert [one.line for one in endings] == list(range(1, 41))


def test_attempts_are_counted_unless_put_back(database: Database) -> None:
    _, lines = stores(database)
    made = in_progress(database, 1)
    attempts = []
    for _ in range(3):
        taken = lines.take(made.number, 0, [])
        assert taken is not None
        attempts.append(taken.attempts)
    lines.put_back(made.number, 1)
    taken = lines.take(made.number, 0, [])
    assert taken is not None
    assert [*attempts, taken.attempts] == [0, 1, 2, 2]


def test_a_silent_workers_batches_go_to_another(database: Database) -> None:
    store, lines = stores(database)
    made = in_progress(database, 2)
    other, other_lines = stores(database, "w2")
    assert other.claim(9) == []
    assert not other_lines.answer(made.number, 1, GOOD)
    deadline = time.monotonic() + 20
    # SQLite's clock has whole seconds.
    while not (taken := other.claim(9)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [batch.id for batch in taken] == [made.id]
    assert other_lines.answer(made.number, 1, GOOD)
    assert not lines.answer(made.number, 2, GOOD), "the batch is another's now"
    assert not store.close(made.number, BatchStatus.COMPLETED, 1002)
    assert store.claim(9) == []
    other.release_all()
    assert [batch.completed for batch in store.claim(9)] == [1]
    store.free_all()
    assert [batch.completed for batch in other.claim(9)] == [1]


def test_workers_take_batches_by_turns(database: Database) -> None:
    first, second = (stores(database, name)[0] for name in ("w1", "w2"))
    made = [first.create(ASKED, 9).id for _ in range(3)]
    assert [batch.id for batch in first.claim(2)] == made[:2]
    assert [batch.id for batch in second.claim(2)] == made[2:]
    assert first.claim(0)


def test_a_cancel_and_an_end_that_meet(database: Database) -> None:
    store, lines = stores(database)
    made = in_progress(database, 3)
    assert lines.answer(made.number, 1, GOOD)
    assert store.request_cancel("abcd", made.id, 1002).status is BatchStatus.CANCELLING
    assert not store.close(made.number, BatchStatus.COMPLETED, 1003)
    assert lines.answer(made.number, 2, GOOD), "it was running, and is kept"
    assert store.close(made.number, BatchStatus.CANCELLED, 1003)
    assert not store.close(made.number, BatchStatus.CANCELLED, 1003)
    assert not lines.answer(made.number, 3, GOOD), "too late"
    [closed] = store.claim(0)
    assert (closed.status, closed.outcome) == (BatchStatus.CANCELLING, BatchStatus.CANCELLED)
    [left] = lines.endings(made.number, good=False)
    assert (left.line, left.status, left.output) == (3, LineStatus.CANCELLED, None)
    assert store.finish(closed, "file-out", "file-err", 1004)
    ended = store.get("abcd", made.id)
    assert (ended.status, ended.cancelled_at) == (BatchStatus.CANCELLED, 1004)
    assert (ended.output_file_id, ended.error_file_id) == ("file-out", "file-err")
    assert (ended.completed, ended.failed) == (2, 1)
    assert list(lines.endings(made.number, good=True)) == [], "its lines are not kept"
    assert store.request_cancel("abcd", made.id, 1005) == ended
    assert store.claim(9) == []


def test_a_failed_batch_keeps_its_problems_alone(database: Database) -> None:
    store, lines = stores(database)
    made = store.create(ASKED, 9)
    store.claim(9)
    lines.add(made.number, [InputLine(1, "a", "{}")])
    problems = [LineProblem("code", "message", 7, "url"), LineProblem("other", "more")]
    assert store.fail(made.number, problems, 1001)
    failed = store.get("abcd", made.id)
    assert (failed.status, failed.problems) == (BatchStatus.FAILED, tuple(problems))
    assert lines.take(made.number, 0, []) is None
    with pytest.raises(RequestError, match="failed and can no longer be cancelled"):
        store.request_cancel("abcd", made.id, 1002)
    store.forget_ended(1002)
    with pytest.raises(BatchNotFoundError):
        store.get("abcd", made.id)


def test_what_was_stored_survives(url: sa.URL) -> None:
    database = open_database(url)
    made = in_progress(database, 2)
    database.close()
    database = open_database(url)
    assert stores(database)[0].get("abcd", made.id).total == 2
    database.close()


def test_an_sqlite_file_is_one_servers(tmp_path: Path) -> None:
    url = database_url(None, tmp_path)
    database = open_database(url)
    with pytest.raises(DatabaseBusyError):
        open_database(url)
    with sqlite3.connect(str(url.database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    database.close()
    open_database(url).close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothing", "is not a valid URL"),
        ("mysql://host/name", "kind 'mysql'"),
        ("sqlite://", "has no file"),
    ],
)
def test_addresses_that_are_none(checkpoint: Path, given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_app(Settings(checkpoint=checkpoint, engine="echo", database_url=given))


def test_the_address_is_no_one_elses_to_read() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://u:secret@host/name"))


async def test_a_batch_on_postgresql(settings: Settings, tmp_path: Path, postgres: str) -> None:
    """Two servers share database and files: each batch is done once, by either."""
    shared = {"database_url": postgres}
    async with (
        batch_app(settings, tmp_path, **shared) as (_, client),
        batch_app(settings, tmp_path, **shared) as (_, other),
    ):
        ids = [await start(client, jsonl(map(request_line, range(n, n + 9)))) for n in (0, 5)]
        for batch_id in ids:
            batch = await until(other, batch_id, "completed")
            assert batch["request_counts"] == {"total": 9, "completed": 9, "failed": 0}


async def test_without_its_database_the_rest_is_served(settings: Settings, tmp_path: Path) -> None:
    nowhere = f"postgresql://postgres@/postgres?host={tmp_path}"
    async with batch_app(settings, tmp_path, database_url=nowhere) as (_, client):
        closed = await client.get("/v1/batches")
        assert closed.status_code == 503
        assert closed.headers["retry-after"]
        assert str(tmp_path) not in closed.text
        assert json.loads(closed.text)["error"]["code"] == "batches_unavailable"
        assert (await client.get("/v1/files")).status_code == 200


async def test_the_next_server_takes_over_the_file(settings: Settings, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as second:
        async with batch_app(settings, tmp_path, delay=0.05, batch_max_in_flight=1) as (_, client):
            batch_id = await start(client, jsonl(map(request_line, range(30))))
            await until(client, batch_id, "in_progress")
            _, other = await second.enter_async_context(batch_app(settings, tmp_path))
            assert (await other.get("/v1/batches")).status_code == 503
        batch = await other.get(f"/v1/batches/{batch_id}")
        while batch.status_code == 503:
            await asyncio.sleep(0.1)
            batch = await other.get(f"/v1/batches/{batch_id}")
        assert batch.json()["request_counts"]["total"] == 30
        assert (await until(other, batch_id, "completed"))["request_counts"]["completed"] == 30
