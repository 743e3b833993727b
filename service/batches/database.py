"""The database of batches: an SQLite file, or PostgreSQL by URL.

All access runs in the database's own threads (`Database.run`), so a slow database delays batches
only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from service.batches import postgres
from service.batches.failures import DatabaseBusyError, DatabaseError
from service.batches.migrations import set_up_tables
from service.exceptions import BatchesUnavailableError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

SQLITE_FILE = "batches.sqlite3"
_THREADS = 4
_BUSY_S = 30
_CLOCKS = {"sqlite": "unixepoch()", "postgresql": "extract(epoch from clock_timestamp())"}


class Database:
    """An open database. Methods block; call them through `run`."""

    def __init__(self, engine: sa.Engine, lock_file: int | None = None) -> None:
        """`lock_file` is kept open, and locked, as long as the database."""
        self._engine, self._lock_file = engine, lock_file
        self.exclusive = lock_file is not None
        self._executor = ThreadPoolExecutor(_THREADS, "lamm-batches")
        # A file always answers; a server may hang and block all threads.
        remote = engine.dialect.name == "postgresql"
        self._connections = postgres.OpenConnections(engine) if remote else None
        # SQLite allows one writer at a time; a lock here is cheaper and fairer than its busy
        # handler.
        self._writing = threading.Lock() if self.exclusive else contextlib.nullcontext()
        # Seconds since 1970 by the database's clock: leases must not depend on servers' own clocks.
        self.clock: sa.ColumnElement[float] = sa.literal_column(
            _CLOCKS[engine.dialect.name], sa.Double()
        )

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """The result of `work`, run in a thread.

        Raises:
            BatchesUnavailableError: the database failed, gave no answer for `postgres.ANSWER_S`, or
                is closed.
        """
        loop = asyncio.get_running_loop()
        try:
            pending = loop.run_in_executor(self._executor, lambda: work(*args, **options))
        except RuntimeError:
            raise BatchesUnavailableError("the batch database is closed") from None
        try:
            while self._connections is not None:
                ended, _ = await asyncio.wait({pending}, timeout=postgres.ANSWER_S)
                if ended:
                    break
                logger.error("the batch database did not answer for %g s", postgres.ANSWER_S)
                self._connections.cut()
            return await pending
        except asyncio.CancelledError:
            pending.cancel()  # unless it has begun
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for reading.

        Raises:
            BatchesUnavailableError: the database failed.
        """
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction: committed at its end, rolled back if it raises.

        Raises:
            BatchesUnavailableError: the database failed, and nothing was changed.
        """
        with self._writing, _translated(), self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Waits for running work, then closes all connections and releases the lock."""
        self._executor.shutdown()
        self._engine.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None


def database_url(given: str | None, directory: Path) -> sa.URL:
    """The database's URL: the given one, or the SQLite file in `directory`.

    Raises:
        DatabaseError: the URL is invalid or of an unknown kind, or its driver is not installed.
    """
    if given is None:
        return sa.URL.create("sqlite", database=str(directory / SQLITE_FILE))
    try:
        url = sa.make_url(given)
    except ArgumentError:
        raise DatabaseError(
            "--database-url is not a valid URL; expected postgresql://host/name"
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise DatabaseError("--database-url has no file; expected sqlite:////path/file.sqlite3")
        return url.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise DatabaseError(f"--database-url is of kind {kind[:32]!r}; it must be postgresql or sqlite")


def open_database(url: sa.URL) -> Database:
    """Opens the database, and creates or migrates its tables. Blocks.

    Raises:
        DatabaseError: as `set_up_tables`, or the driver is not installed.
        DatabaseBusyError: another server holds the SQLite file.
        BatchesUnavailableError: it cannot be reached or written.
    """
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(Path(str(url.database)), url)
    try:
        engine = sa.create_engine(
            url, pool_size=_THREADS, max_overflow=0, pool_pre_ping=True,
            connect_args=postgres.connect_args(url), hide_parameters=True,
        )  # fmt: skip
    except (ModuleNotFoundError, NoSuchModuleError):
        raise DatabaseError(
            "--database-url needs the extra `postgres` (psycopg is not installed): "
            "pip install 'lamm[postgres]'"
        ) from None
    return _set_up(Database(engine))


def _open_sqlite(path: Path, url: sa.URL) -> Database:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        logger.error("the batch database cannot be opened: %s", error)
        raise BatchesUnavailableError("the batch database cannot be opened") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # SQLite gives its -wal and -shm files the mode of this one. An existing file is not opened:
        # closing it would release the locks of its connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except BlockingIOError:
        os.close(lock)
        raise DatabaseBusyError from None
    except OSError as error:
        os.close(lock)
        logger.error("the batch database cannot be locked: %s", error)
        raise BatchesUnavailableError("the batch database cannot be locked") from error
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        hide_parameters=True,  # an error's text goes to the log, and they are what people wrote
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return _set_up(Database(engine, lock))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Readers do not block the writer, and commits survive a power failure."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _set_up(database: Database) -> Database:
    try:
        with database.writing() as connection:
            set_up_tables(connection)
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    # The database's error may contain addresses and values: for the log only.
    try:
        yield
    except SQLAlchemyError as error:
        logger.error("the batch database failed: %s", type(error).__name__, exc_info=error)
        raise BatchesUnavailableError("the batch database cannot be used") from error
