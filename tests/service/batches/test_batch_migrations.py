"""Batch databases of other releases: older ones are migrated, others are named and left alone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from service.batches import migrations, tables
from service.batches.database import open_database
from service.batches.failures import DatabaseError
from service.exceptions import BatchesUnavailableError

# The tables of version 1, which never change again.
_KEY = {
    "sqlite": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGSERIAL PRIMARY KEY",
}
_NUMBER = {"sqlite": "INTEGER", "postgresql": "BIGINT"}
_VERSION_1 = (
    "CREATE TABLE lamm_batch_schema (version INTEGER NOT NULL)",
    "INSERT INTO lamm_batch_schema VALUES (1)",
    "CREATE TABLE lamm_batches (number {key}, id VARCHAR(64) NOT NULL, "
    "owner VARCHAR(128) NOT NULL, status VARCHAR(16) NOT NULL, outcome VARCHAR(16), "
    "endpoint VARCHAR(128) NOT NULL, input_file_id VARCHAR(128) NOT NULL, "
    "completion_window VARCHAR(16) NOT NULL, metadata TEXT, problems TEXT, "
    "output_file_id VARCHAR(128), error_file_id VARCHAR(128), output_expiry_s BIGINT, "
    "total INTEGER NOT NULL, completed INTEGER NOT NULL, failed INTEGER NOT NULL, "
    "input_tokens BIGINT NOT NULL, cached_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, "
    "created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, in_progress_at BIGINT, "
    "finalizing_at BIGINT, completed_at BIGINT, failed_at BIGINT, expired_at BIGINT, "
    "cancelling_at BIGINT, cancelled_at BIGINT, worker VARCHAR(64), "
    "leased_until DOUBLE PRECISION, UNIQUE (id))",
    "CREATE INDEX lamm_batches_owner ON lamm_batches (owner, number)",
    "CREATE INDEX lamm_batches_status ON lamm_batches (status)",
    "CREATE TABLE lamm_batch_lines (batch {number} NOT NULL, line INTEGER NOT NULL, "
    "custom_id TEXT NOT NULL, status VARCHAR(16) NOT NULL, attempts INTEGER NOT NULL, body TEXT, "
    "output TEXT, PRIMARY KEY (batch, line), "
    "CONSTRAINT lamm_batch_lines_custom_id UNIQUE (batch, custom_id), "
    "FOREIGN KEY (batch) REFERENCES lamm_batches (number))",
    "CREATE INDEX lamm_batch_lines_status ON lamm_batch_lines (batch, status, line)",
    "INSERT INTO lamm_batches (id, owner, status, endpoint, input_file_id, completion_window, "
    "total, completed, failed, input_tokens, cached_tokens, output_tokens, created_at, expires_at) "
    "VALUES ('batch_old', 'alice', 'in_progress', '/v1/completions', 'file-1', '24h', "
    "1, 0, 0, 0, 0, 0, 1000, 2000)",
    "INSERT INTO lamm_batch_lines VALUES (1, 1, 'a', 'pending', 0, '{{}}', NULL)",
)
_ADDED = (
    "ALTER TABLE lamm_batches ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",
    "CREATE TABLE lamm_batch_colours (owner VARCHAR(128) PRIMARY KEY, colour TEXT NOT NULL)",
)


def execute(url: sa.URL, *statements: str) -> None:
    """Runs SQL as another program would."""
    engine = sa.create_engine(url)
    kind = engine.dialect.name
    with engine.begin() as connection:
        for one in statements:
            connection.exec_driver_sql(one.format(key=_KEY[kind], number=_NUMBER[kind]))
    engine.dispose()


def read(url: sa.URL, statement: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql(statement)]
    engine.dispose()
    return rows


def columns(url: sa.URL) -> dict[str, set[str]]:
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found = {
        name: {one["name"] for one in inspector.get_columns(name)}
        for name in inspector.get_table_names()
    }
    engine.dispose()
    return found


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with one more migration."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, _ADDED))


def test_the_first_release_is_migrated_to_this_one(url: sa.URL) -> None:
    execute(url, *_VERSION_1)
    open_database(url).close()
    migrated = columns(url)
    assert read(url, "SELECT version FROM lamm_batch_schema") == [(len(migrations.MIGRATIONS) + 1,)]
    assert read(url, "SELECT id, owner FROM lamm_batches") == [("batch_old", "alice")]
    assert read(url, "SELECT custom_id, body FROM lamm_batch_lines") == [("a", "{}")]
    assert migrated == {
        table.name: {column.name for column in table.columns}
        for table in tables.metadata.sorted_tables
    }


@pytest.mark.usefixtures("more")
def test_a_migration_adds_to_rows_that_are_there(url: sa.URL) -> None:
    execute(url, *_VERSION_1)
    for _ in range(2):  # the second time there is nothing to do
        open_database(url).close()
        newest = len(migrations.MIGRATIONS) + 1
        assert read(url, "SELECT version FROM lamm_batch_schema") == [(newest,)]
        assert read(url, "SELECT id, colour FROM lamm_batches") == [("batch_old", "red")]
        assert read(url, "SELECT * FROM lamm_batch_colours") == []


def test_a_migration_that_fails_changes_nothing(
    url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(url, *_VERSION_1)
    before = columns(url)
    broken = (*migrations.MIGRATIONS, (*_ADDED, "ALTER TABLE nowhere ADD COLUMN a TEXT"))
    monkeypatch.setattr(migrations, "MIGRATIONS", broken)
    with pytest.raises(BatchesUnavailableError):
        open_database(url)
    assert columns(url) == before
    assert read(url, "SELECT version FROM lamm_batch_schema") == [(1,)]


@pytest.mark.parametrize(
    ("version", "change"),
    [
        (0, "UPDATE lamm_batch_schema SET version = 0"),
        (700, "UPDATE lamm_batch_schema SET version = 700"),
    ],
)
def test_another_version_is_named_and_left_alone(url: sa.URL, version: int, change: str) -> None:
    open_database(url).close()
    execute(url, change)
    newest = len(migrations.MIGRATIONS) + 1
    message = f"version {version}; this release knows versions up to {newest}"
    with pytest.raises(DatabaseError, match=message):
        open_database(url)
    assert read(url, "SELECT version FROM lamm_batch_schema") == [(version,)]


def test_tables_without_their_columns_are_named(url: sa.URL) -> None:
    execute(url, "CREATE TABLE lamm_batches (number INTEGER PRIMARY KEY, owner VARCHAR(128))",
            "CREATE TABLE lamm_batch_lines (batch INTEGER, line INTEGER)")  # fmt: skip
    with pytest.raises(DatabaseError, match="lamm_batches lacks the columns id, status, outcome"):
        open_database(url)
