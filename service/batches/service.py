"""Batches of one app: the clients' operations, and the worker behind them.

A database that cannot be reached, or whose SQLite file another server holds, delays nothing else:
batches answer 503 and opening it is retried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from service.batches.batch import Batch, BatchLimits, NewBatch
from service.batches.database import Database, database_url, open_database
from service.batches.failures import DatabaseBusyError
from service.batches.line_runner import LineRunner
from service.batches.line_store import LineStore
from service.batches.room import Room
from service.batches.store import BatchStore
from service.batches.worker import BatchWorker
from service.engine.base import EngineStats
from service.exceptions import BatchesUnavailableError, RequestError
from service.files.store import FileStore, Purpose
from service.lifecycle import Lifecycle
from service.metrics import Metrics

logger = logging.getLogger(__name__)

_LEASE_S = 10.0
_REOPENED_S = 2.0


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Where batches are stored (None: an SQLite file beside the uploaded files), and their limits.

    `max_in_flight` lines run at once; None is half of the engine's seats.
    """

    database_url: str | None
    limits: BatchLimits
    max_in_flight: int | None


class Batches:
    """All batches that the app's database holds."""

    def __init__(
        self,
        config: BatchConfig,
        files: FileStore,
        stats: Sequence[Callable[[], EngineStats]],
        lifecycle: Lifecycle,
        metrics: Metrics,
        knows_owner: Callable[[str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            config: see `BatchConfig`.
            files: input and output files.
            stats: of each engine, since live requests come first.
            lifecycle: whether the service accepts requests.
            metrics: counts batches and lines.
            knows_owner: whether an owner's API key is still valid; lines of other owners wait.
            clock: seconds since 1970.

        Raises:
            DatabaseError: the database's URL is invalid.
        """
        database_url(config.database_url, Path())  # wrong ones stop the start
        self._config, self._files, self._stats = config, files, stats
        self._lifecycle, self._metrics, self._knows_owner = lifecycle, metrics, knows_owner
        self.limits, self.clock = config.limits, clock
        self._database: Database | None = None
        self._store: BatchStore | None = None
        self._worker: BatchWorker | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, app: ASGIApp) -> None:
        """Opens the database, and runs lines through `app` from now on.

        Raises:
            DatabaseError: as `open_database`.
        """
        if not await self._open(app):
            logger.warning("/v1/batches answers 503 until the database is open")
            self._tasks.append(asyncio.create_task(self._keep_opening(app)))

    async def stop(self) -> None:
        """Ends running lines, which the next start continues; idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._worker is not None:
            await self._worker.stop()
        if self._database is not None:
            await asyncio.to_thread(self._database.close)
        self._worker = self._store = self._database = None

    async def create(self, asked: NewBatch) -> Batch:
        """A new batch, whose input is validated next.

        Raises:
            StoredFileNotFoundError, StorageUnavailableError: as `FileStore.get`.
            RequestError: the file's purpose is not batch.
            RateLimitedError: the owner has too many unfinished batches.
            BatchesUnavailableError: the database cannot be used.
        """
        database, store = self._opened
        stored = await asyncio.to_thread(self._files.get, asked.owner, asked.input_file_id)
        if stored.purpose is not Purpose.BATCH:
            raise RequestError(
                f"the file's purpose is {stored.purpose.value!r}; it must be 'batch'",
                param="input_file_id",
            )
        batch = await database.run(store.create, asked, self.limits.max_unfinished)
        self._look()
        return batch

    async def get(self, owner: str, batch_id: str) -> Batch:
        """The owner's batch; raises BatchNotFoundError, BatchesUnavailableError."""
        database, store = self._opened
        return await database.run(store.get, owner, batch_id)

    async def list_batches(self, owner: str, after: str | None, limit: int) -> list[Batch]:
        """See `BatchStore.list_batches`; raises RequestError, BatchesUnavailableError."""
        database, store = self._opened
        return await database.run(store.list_batches, owner, after, limit)

    async def cancel(self, owner: str, batch_id: str) -> Batch:
        """See `BatchStore.request_cancel`; also raises BatchesUnavailableError."""
        database, store = self._opened
        batch = await database.run(store.request_cancel, owner, batch_id, int(self.clock()))
        self._look()
        return batch

    @property
    def _opened(self) -> tuple[Database, BatchStore]:
        if self._database is None or self._store is None:
            raise BatchesUnavailableError("the batch database is not open")
        return self._database, self._store

    def _now(self) -> float:
        return self.clock()

    def _look(self) -> None:
        if self._worker is not None:
            self._worker.look()

    async def _keep_opening(self, app: ASGIApp) -> None:
        while True:
            await asyncio.sleep(_REOPENED_S)
            try:
                if await self._open(app, again=True):
                    logger.info("/v1/batches answers")
                    return
            except ValueError as error:
                logger.error("/v1/batches stays closed: %s", error)
                return

    async def _open(self, app: ASGIApp, again: bool = False) -> bool:
        url = database_url(self._config.database_url, self._files.directory)
        try:
            database = await asyncio.to_thread(open_database, url)
        except DatabaseBusyError:
            if not again:
                logger.warning(
                    "another server holds the batch database %s; to share batches, set a "
                    "PostgreSQL --database-url on both",
                    url.database,
                )
            return False
        except BatchesUnavailableError:
            return False
        worker_id = uuid.uuid4().hex
        store, lines = BatchStore(database, worker_id, _LEASE_S), LineStore(database, worker_id)
        if database.exclusive:
            # The previous worker was killed and holds no lock any more.
            with contextlib.suppress(BatchesUnavailableError):
                await database.run(store.free_all)
        self._database, self._store = database, store
        self._worker = self._make_worker(app, database, store, lines)
        self._tasks.append(asyncio.create_task(self._worker.run()))
        return True

    def _make_worker(
        self, app: ASGIApp, database: Database, store: BatchStore, lines: LineStore
    ) -> BatchWorker:
        room = Room(self._stats, self._lifecycle, self._config.max_in_flight)
        return BatchWorker(
            database,
            store,
            lines,
            self._files,
            LineRunner(app),
            room,
            self.limits,
            self._lifecycle,
            self._metrics,
            self._knows_owner,
            self._now,
        )
