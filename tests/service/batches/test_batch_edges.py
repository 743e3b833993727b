"""Batches at their edges: workers that lost theirs, deadlines, odd lines, letters and disks."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.batches.batch import (
    Batch,
    BatchLimits,
    BatchStatus,
    InputLine,
    LineProblem,
    LineResult,
    LineStatus,
    NewBatch,
    TakenLine,
)
from service.batches.database import Database, database_url, open_database
from service.batches.feeder import Feeder
from service.batches.input_lines import read_lines
from service.batches.input_loader import _LOOKED_AT_ONCE, _next_lines
from service.batches.line_results import result_of
from service.batches.line_runner import LineAnswer
from service.batches.line_store import LineStore
from service.batches.store import BatchStore
from service.config.settings import Settings
from service.exceptions import BatchesUnavailableError, BatchNotFoundError
from service.keys.api_keys import ApiKeys
from tests.service.batches.batch_jobs import CHAT, batch_app, jsonl, request_line, start, until

ASKED = NewBatch("abcd", CHAT, "file-1", "24h", None, 1000, 2000)
GOOD = LineResult(LineStatus.COMPLETED, '{"good": 1}')
LIMITS = BatchLimits(99, 1 << 20, 9, 99, 1e6, 1e6)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(database_url(None, tmp_path))
    yield database
    database.close()


def stores(database: Database, worker: str = "w1") -> tuple[BatchStore, LineStore]:
    return BatchStore(database, worker, 60), LineStore(database, worker)


def in_progress(database: Database, lines: int, worker: str = "w1") -> Batch:
    """A batch of so many lines, the worker's."""
    store, line_store = stores(database, worker)
    made = store.create(ASKED, 9)
    assert store.claim(9)
    line_store.add(made.number, [InputLine(n, f"id {n}", "{}") for n in range(1, lines + 1)])
    assert store.begin_progress(made.number, 1001)
    return store.get("abcd", made.id)


def test_a_worker_that_lost_a_batch_reads_nothing_into_it(database: Database) -> None:
    """One that stood still while another took its batch over wakes in the middle of reading."""
    store, lines = stores(database)
    made = store.create(ASKED, 9)
    assert store.claim(9)
    assert lines.clear(made.number)
    store.free_all()
    other, other_lines = stores(database, "w2")
    assert other.claim(9)
    assert not lines.add(made.number, [InputLine(9, "late", "{}")]), "not read in full yet"
    assert other_lines.add(made.number, [InputLine(n, f"id {n}", "{}") for n in (1, 2)])
    assert other.begin_progress(made.number, 1001)
    assert other_lines.answer(made.number, 1, GOOD)
    assert not lines.clear(made.number)
    assert not lines.add(made.number, [InputLine(9, "late", "{}")])
    assert not other_lines.clear(made.number), "nor once its lines are being answered"
    found = other.get("abcd", made.id)
    assert (found.total, found.completed) == (2, 1)
    assert [one.line for one in other_lines.endings(made.number, good=True)] == [1]


@pytest.mark.parametrize("given", [-500.0, "-500", " -500 ", [1]])
def test_no_spelling_of_a_priority_comes_before_live_requests(given: Any) -> None:
    line = request_line(1)
    line["body"]["priority"] = given
    [problem] = read_lines(io.BytesIO(json.dumps(line).encode()), CHAT, LIMITS)
    assert isinstance(problem, LineProblem)
    assert (problem.code, problem.param) == ("invalid_value", "body.priority")


def test_a_priority_of_null_is_the_batch_s() -> None:
    line = request_line(1)
    line["body"]["priority"] = None
    [read] = read_lines(io.BytesIO(json.dumps(line).encode()), CHAT, LIMITS)
    assert isinstance(read, InputLine)
    assert json.loads(read.body)["priority"] == 100


def test_empty_lines_are_passed_over_a_bounded_number_at_a_time() -> None:
    """A thread of the database's would be busy with a file of them for minutes."""
    empty = 2 * _LOOKED_AT_ONCE + 5
    file = io.BytesIO(b"\n" * empty + jsonl([request_line(1)]))
    read = read_lines(file, CHAT, LIMITS)
    for count in (1, 2):
        assert _next_lines(read) == ([], [], False)
        assert file.tell() == count * _LOOKED_AT_ONCE
    [line], problems, ended = _next_lines(read)
    assert (line.line, problems, ended) == (empty + 1, [], True)


def test_what_people_wrote_is_no_part_of_a_database_s_error(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    store, lines = stores(database)
    made = store.create(ASKED, 9)
    assert store.claim(9)
    twice = [InputLine(1, "s3cret name", "s3cret question")] * 2
    with pytest.raises(BatchesUnavailableError):
        lines.add(made.number, twice)
    assert "IntegrityError" in caplog.text
    assert "s3cret" not in caplog.text


async def test_all_answered_is_completed_however_late(settings: Settings, tmp_path: Path) -> None:
    """Nothing is left that could expire, say, when a server was down at the deadline."""
    async with batch_app(settings, tmp_path) as (app, _):
        worker = app.state.services.batches._worker
        closed: list[BatchStatus] = []

        async def close(_: Batch, outcome: BatchStatus) -> None:
            closed.append(outcome)

        worker._close = close
        batch = Batch(1, "batch_1", BatchStatus.IN_PROGRESS, ASKED, total=3, completed=2, failed=1)
        await worker._advance(batch)
        await worker._advance(replace(batch, completed=1))
        assert closed == [BatchStatus.COMPLETED, BatchStatus.EXPIRED]


async def test_an_input_that_cannot_be_read_in_time_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batches.worker._RETRY_S", 0.05)
    async with batch_app(settings, tmp_path) as (app, client):
        loader, tries = app.state.services.batches._worker._loader, []

        def unreadable(*_: object) -> None:
            tries.append(1)
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(loader, "_open", unreadable)
        batch_id = await start(client, jsonl([request_line(0)]))
        async with asyncio.timeout(20):
            while len(tries) < 2:  # noqa: ASYNC110 - a loader tells of no events
                await asyncio.sleep(0.02)
        app.state.services.batches.clock = lambda: 4e9
        batch = await until(client, batch_id, "failed")
        [problem] = batch["errors"]["data"]
        assert (problem["code"], problem["param"]) == ("batch_expired", "input_file_id")


class Waiting:
    """Never answers, and always has room."""

    stopping = False

    async def run(self, *_: object) -> LineAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    def may_start(self, in_flight: int) -> bool:
        return in_flight < 2

    def started(self) -> None:
        """See `Room`."""

    def watch(self) -> object:
        """See `Room`."""
        return lambda: True


async def test_a_line_that_only_waited_to_run_alone_has_not_been_tried(database: Database) -> None:
    batch = in_progress(database, 2)
    _, lines = stores(database)
    lines.take(batch.number, 1, [])  # and the process ended
    feeder = Feeder(database, lines, Waiting(), Waiting(), print, lambda: None)  # type: ignore[arg-type]
    await feeder.feed([batch])
    await asyncio.sleep(0)
    assert feeder.running(batch.number)
    await feeder.abort(batch.number)
    attempts = [found.attempts for n in (0, 1) if (found := lines.take(batch.number, n, []))]
    assert attempts == [0, 1]


def test_an_ended_batch_is_kept_from_its_end_on(database: Database) -> None:
    store, _ = stores(database)
    made = store.create(ASKED, 9)
    store.claim(9)
    store.fail(made.number, [LineProblem("code", "message")], 5000)
    store.forget_ended(4999)
    assert store.get("abcd", made.id).failed_at == 5000
    store.forget_ended(5001)
    with pytest.raises(BatchNotFoundError):
        store.get("abcd", made.id)


def test_a_disk_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(BatchesUnavailableError):
        open_database(database_url(None, tmp_path))


def test_letters_that_some_readers_take_for_an_end_of_line(database: Database) -> None:
    batch = in_progress(database, 1)
    text = "a\u2028b\u2029c\u0085d"
    body = json.dumps({"text": text, "usage": {}}, ensure_ascii=False).encode()
    result = result_of(batch, TakenLine(1, text, "{}", 0), LineAnswer(200, body))
    assert len(result.output.splitlines()) == 1
    line = json.loads(result.output)
    assert (line["custom_id"], line["response"]["body"]["text"]) == (text, text)


def test_lines_rest_while_their_key_may_not_ask(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("alice user\nroot admin\n")
    keys = ApiKeys(None, file)
    alice, root = (hashlib.sha256(key).hexdigest() for key in (b"alice", b"root"))
    assert keys.stands_for(alice)
    assert keys.stands_for(root)
    file.write_text("alice metrics\nroot admin\n")
    keys.reload(force=True)
    assert not keys.stands_for(alice)
