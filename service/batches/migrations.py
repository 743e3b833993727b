"""Creates the tables of the batch database, or brings older ones to this release's version.

A change of `tables` needs one more entry in `MIGRATIONS`. Servers of the previous release may share
a PostgreSQL database meanwhile, so a migration only adds: tables, or columns with a default.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from service.batches import tables
from service.batches.failures import DatabaseError

logger = logging.getLogger(__name__)

# Entry n (from 0) holds the SQL statements from version n + 1 to version n + 2, understood by
# SQLite and by PostgreSQL: ALTER TABLE lamm_batches ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0.
MIGRATIONS: tuple[tuple[str, ...], ...] = ()

# Any number that no other program uses on the same database.
_SETUP_LOCK = 0x6C616D6D


def set_up_tables(connection: sa.Connection) -> None:
    """Creates or migrates the tables, within the connection's transaction.

    Raises:
        DatabaseError: a newer release made them, or they lack columns of their version.
    """
    if connection.dialect.name == "postgresql":
        # Servers that start together must not create the tables twice.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SETUP_LOCK)))
    newest = len(MIGRATIONS) + 1
    tables.versions.create(connection, checkfirst=True)
    found = connection.execute(sa.select(tables.versions.c.version)).scalars().all()
    if not found:
        tables.metadata.create_all(connection)
        connection.execute(sa.insert(tables.versions).values(version=newest))
    elif len(found) == 1 and isinstance(found[0], int) and 1 <= found[0] <= newest:
        for version in range(found[0], newest):
            _migrate(connection, version)
    else:
        raise DatabaseError(
            f"the batch database has tables of version {', '.join(map(str, found))}; this "
            f"release knows versions up to {newest}. Finish its batches with the release that "
            "created them, or set another --database-url"
        )
    _check_columns(connection)


def _migrate(connection: sa.Connection, version: int) -> None:
    # First the version: SQLite's driver begins a transaction with this statement, and not with
    # one that changes tables.
    connection.execute(sa.update(tables.versions).values(version=version + 1))
    for statement in MIGRATIONS[version - 1]:
        connection.exec_driver_sql(statement)
    logger.info("the batch database was migrated from version %d to %d", version, version + 1)


def _check_columns(connection: sa.Connection) -> None:
    inspector = sa.inspect(connection)
    for table in tables.metadata.sorted_tables:
        present = inspector.has_table(table.name)
        there = {one["name"] for one in inspector.get_columns(table.name)} if present else set()
        missing = [column.name for column in table.columns if column.name not in there]
        if missing:
            raise DatabaseError(
                f"the batch database's table {table.name} lacks the columns "
                f"{', '.join(missing)}; another release or program made it. Set another "
                "--database-url, or move the table away"
            )
