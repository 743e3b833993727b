"""Takes batches from their input file to their outcome, as one task of the app.

`run` visits the worker's batches periodically: it loads the lines of a new one, feeds one in
progress, and writes the files of one whose lines have ended. Each step starts from the database's
state and ends with a change there, so that the next worker continues a killed one's batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from service.batches.batch import UNFINISHED, Batch, BatchLimits, BatchStatus, LineStatus
from service.batches.database import Database
from service.batches.feeder import Feeder
from service.batches.input_loader import InputLoader
from service.batches.line_runner import LineRunner
from service.batches.line_store import LineStore
from service.batches.output_files import store_output
from service.batches.room import Room
from service.batches.store import BatchStore
from service.exceptions import BatchesUnavailableError, StorageFullError, StorageUnavailableError
from service.files.store import FileStore
from service.lifecycle import Lifecycle, Phase
from service.metrics import Metrics

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_FEED_S = 0.2
_RETRY_S = 10.0
_FORGET_S = 3600.0
# Servers that share a database share its batches: each claims a few at a time.
_TAKEN_AT_ONCE = 2


class BatchWorker:
    """The batches of one process."""

    def __init__(
        self,
        database: Database,
        store: BatchStore,
        lines: LineStore,
        files: FileStore,
        runner: LineRunner,
        room: Room,
        limits: BatchLimits,
        lifecycle: Lifecycle,
        metrics: Metrics,
        knows_owner: Callable[[str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            database, store, lines: where batches are stored.
            files: input and output files.
            runner, room: runs lines, and tells when one may start.
            limits: see `BatchLimits`.
            lifecycle: nothing is started unless the service accepts requests.
            metrics: counts batches and lines.
            knows_owner: whether an owner's key is still valid; lines of other owners wait.
            clock: seconds since 1970.
        """
        self._database, self._store, self._lines = database, store, lines
        self._files, self._limits = files, limits
        self._lifecycle, self._metrics, self._knows_owner = lifecycle, metrics, knows_owner
        self._clock, self._woken = clock, asyncio.Event()
        self._feeder = Feeder(database, lines, runner, room, self._report, self.look)
        self._loader = InputLoader(database, store, lines, files, limits, clock)
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._batches: list[Batch] = []
        self._changed = True
        self._looked_at = self._forgot_at = 0.0

    def look(self) -> None:
        """The database has changed in a way that this worker should see soon."""
        self._changed = True
        self._woken.set()

    async def run(self) -> None:
        """Works until it is cancelled."""
        await self._lifecycle.wait_loaded()
        while True:
            self._woken.clear()
            try:
                await self._look()
                await self._work()
            except BatchesUnavailableError:
                self._changed = True  # and tried again with the next round
            except Exception:
                logger.exception("a round over the batches failed; it is repeated")
            fed = any(batch.status is BatchStatus.IN_PROGRESS for batch in self._batches)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FEED_S if fed else _LOOK_S):
                    await self._woken.wait()

    async def stop(self) -> None:
        """Ends running work and releases all batches; after `run` has ended."""
        self._loader.stop()
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        with contextlib.suppress(BatchesUnavailableError):  # the lease ends by itself
            await self._feeder.abort_all()
            await self._database.run(self._store.release_all)

    def _report(self, status: str) -> None:
        self._metrics.batch_lines(status, 1)

    async def _look(self) -> None:
        now = time.monotonic()
        if not self._changed and now - self._looked_at < _LOOK_S:
            return
        self._changed, self._looked_at = False, now
        more = _TAKEN_AT_ONCE if self._lifecycle.phase is Phase.READY else 0
        before = {batch.number for batch in self._batches}
        self._batches = await self._database.run(self._store.claim, more)
        gained = {batch.number for batch in self._batches} - before
        self._changed = 0 < more <= len(gained)  # there may be others
        counts = Counter(batch.status.value for batch in self._batches)
        self._metrics.batches({status.value: counts[status.value] for status in UNFINISHED})
        if now - self._forgot_at > _FORGET_S:
            self._forgot_at = now
            forgotten = int(self._clock() - self._limits.retention_s)
            await self._database.run(self._store.forget_ended, forgotten)

    async def _work(self) -> None:
        mine = {batch.number for batch in self._batches}
        await self._feeder.abort_all(but=mine)
        for batch in self._batches:
            cancelled = batch.status is BatchStatus.CANCELLING and batch.outcome is None
            if cancelled and batch.number in self._jobs:
                self._loader.give_up(batch.number)
            if batch.number in self._jobs or self._lifecycle.phase is not Phase.READY:
                continue
            await self._advance(batch)
        in_progress = [one for one in self._batches if one.status is BatchStatus.IN_PROGRESS]
        await self._feeder.feed([one for one in in_progress if self._knows_owner(one.asked.owner)])

    async def _advance(self, batch: Batch) -> None:
        late = self._clock() >= batch.asked.expires_at
        match batch.status:
            case BatchStatus.VALIDATING:
                self._start(batch, self._loader.load)
            case BatchStatus.IN_PROGRESS if batch.completed + batch.failed >= batch.total:
                await self._close(batch, BatchStatus.COMPLETED)
            case BatchStatus.IN_PROGRESS if late:
                await self._close(batch, BatchStatus.EXPIRED)
            case BatchStatus.CANCELLING if batch.outcome is None:
                await self._close(batch, BatchStatus.CANCELLED)
            case BatchStatus.FINALIZING | BatchStatus.CANCELLING:
                self._start(batch, self._write_files)

    async def _close(self, batch: Batch, outcome: BatchStatus) -> None:
        await self._feeder.abort(batch.number)
        left = batch.total - batch.completed - batch.failed
        closed = await self._database.run(
            self._store.close, batch.number, outcome, int(self._clock())
        )
        if closed and outcome is not BatchStatus.COMPLETED:
            status = LineStatus.EXPIRED if outcome is BatchStatus.EXPIRED else LineStatus.CANCELLED
            self._metrics.batch_lines(status.value, left)
        self.look()

    def _start(self, batch: Batch, work: Callable[[Batch], Coroutine[Any, Any, None]]) -> None:
        """Runs one step as a task; it is repeated until the database shows it as done."""

        async def job() -> None:
            try:
                await work(batch)
            except (StorageFullError, StorageUnavailableError, BatchesUnavailableError) as error:
                logger.warning("%s waits: %s", batch.id, error)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                logger.exception("a step of %s failed; it is repeated", batch.id)
                await asyncio.sleep(_RETRY_S)
            finally:
                self._jobs.pop(batch.number, None)
                self.look()

        self._jobs[batch.number] = asyncio.create_task(job())

    async def _write_files(self, batch: Batch) -> None:
        output, errors = [
            await store_output(self._files, self._database, self._lines, batch, good)
            for good in (True, False)
        ]
        done = await self._database.run(
            self._store.finish, batch, output, errors, int(self._clock())
        )
        if done:
            logger.info("%s is %s", batch.id, batch.outcome)
