"""A PostgreSQL server that goes silent: nothing waits for it for ever, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from service.batches import postgres as postgres_module
from service.batches.database import database_url, open_database
from service.batches.postgres import connect_args
from service.config.settings import Settings
from service.exceptions import BatchesUnavailableError
from tests.service.batches.batch_jobs import (
    answers,
    batch_app,
    content_of,
    jsonl,
    request_line,
    start,
    until,
    until_answered,
)


def server_processes(url: str) -> list[int]:
    """The server's own process first, and those that answer clients."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        others = [int(row[0]) for row in rows]
    folder = sa.make_url(url).query["host"]
    return [int(Path(str(folder), "postmaster.pid").read_text().split()[0]), *others]


@contextlib.contextmanager
def standing_still(url: str) -> Iterator[None]:
    """No process of the server runs; its kernel still takes what it is sent."""
    processes = server_processes(url)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_what_libpq_is_told_of_silence(postgres: str, tmp_path: Path) -> None:
    url = database_url(f"{postgres}&keepalives_idle=77", tmp_path)
    database = open_database(url)
    with database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        told = driver.info.get_parameters()
    database.close()
    wanted = {name: str(value) for name, value in connect_args(url).items()}
    assert {name: told.get(name) for name in wanted} == wanted
    assert int(told["tcp_user_timeout"]) <= 30_000
    assert int(told["connect_timeout"]) <= 10
    assert told["keepalives_idle"] == "77", "the operator's own word counts"


async def test_a_silent_server_holds_no_thread(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "ANSWER_S", 0.5)
    database = open_database(database_url(postgres, tmp_path))

    def ask(seconds: float) -> None:
        with database.reading() as connection:
            connection.execute(sa.text(f"SELECT pg_sleep({seconds})"))

    await database.run(ask, 0)
    with standing_still(postgres):
        began = time.monotonic()
        # The first finds an open connection, the others must make theirs.
        asked = [database.run(ask, 0) for _ in range(4)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in found} == {BatchesUnavailableError}
        assert time.monotonic() - began < 20
    await database.run(ask, 0)
    with pytest.raises(BatchesUnavailableError):
        await database.run(ask, 60)
    await asyncio.to_thread(database.close)


async def test_a_batch_goes_on_when_the_server_does(
    settings: Settings, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "ANSWER_S", 4.0)  # a slow machine is not silent
    app = batch_app(settings, tmp_path, database_url=postgres, delay=0.05, batch_max_in_flight=2)
    async with app as (_, client):
        batch_id = await start(client, jsonl(map(request_line, range(20))))
        await until_answered(client, batch_id)
        with standing_still(postgres):
            closed = await client.get(f"/v1/batches/{batch_id}")
            assert closed.status_code == 503
            assert closed.json()["error"]["code"] == "batches_unavailable"
        async with asyncio.timeout(30):
            while (await client.get(f"/v1/batches/{batch_id}")).status_code == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        batch = await until(client, batch_id, "completed")
        assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
        assert len(answers(await content_of(client, batch["output_file_id"]))) == 20
