"""Loads a batch's input file into the database, or finds out what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from service.batches.batch import Batch, BatchLimits, InputLine, LineProblem
from service.batches.database import Database
from service.batches.input_lines import read_lines
from service.batches.line_store import LineStore
from service.batches.store import BatchStore
from service.exceptions import StorageUnavailableError, StoredFileNotFoundError
from service.files.store import FileStore

_LINES_AT_ONCE, _BYTES_AT_ONCE, _LOOKED_AT_ONCE = 256, 1 << 22, 1 << 15
_Read = Iterator[InputLine | LineProblem | None]
_UNREAD = LineProblem(
    "batch_expired",
    "the input file could not be read before the batch expired",
    None,
    "input_file_id",
)


class InputLoader:
    """Loads one input file at a time."""

    def __init__(
        self,
        database: Database,
        store: BatchStore,
        lines: LineStore,
        files: FileStore,
        limits: BatchLimits,
        clock: Callable[[], float],
    ) -> None:
        self._database, self._store, self._lines = database, store, lines
        self._files, self._limits, self._clock = files, limits, clock
        self._turn = asyncio.Semaphore(1)
        self._given_up: set[int] = set()
        self._stopped = False

    def give_up(self, number: int) -> None:
        """Stops loading a batch that was cancelled."""
        self._given_up.add(number)

    def stop(self) -> None:
        """Stops loading."""
        self._stopped = True

    async def load(self, batch: Batch) -> None:
        """Stores the batch's lines and starts it, or fails it with its problems.

        Raises:
            BatchesUnavailableError, StorageUnavailableError, OSError: the database or the files
                failed; to be retried until the batch expires.
        """
        async with self._turn:
            try:
                problems = await self._read(batch)
            except (OSError, StorageUnavailableError):
                if self._clock() < batch.asked.expires_at:
                    raise
                problems = [_UNREAD]
        now = int(self._clock())
        given_up = batch.number in self._given_up or self._stopped
        self._given_up.discard(batch.number)
        if given_up or problems is None:
            return
        if problems:
            await self._database.run(self._store.fail, batch.number, problems, now)
        else:
            await self._database.run(self._store.begin_progress, batch.number, now)

    async def _read(self, batch: Batch) -> list[LineProblem] | None:
        """The input's problems; None if the batch no longer belongs to this worker."""
        number, asked = batch.number, batch.asked
        # An earlier attempt may have been interrupted.
        if not await self._database.run(self._lines.clear, number):
            return None
        try:
            file = await self._database.run(self._open, asked.owner, asked.input_file_id)
        except (StoredFileNotFoundError, FileNotFoundError):
            return [
                LineProblem(
                    "file_not_found", "the input file no longer exists", None, "input_file_id"
                )
            ]
        problems: list[LineProblem] = []
        total = 0
        try:
            room = self._limits.max_unfinished_lines - await self._database.run(
                self._lines.count_unfinished, asked.owner, number
            )
            read = read_lines(file, asked.endpoint, self._limits)
            while number not in self._given_up and not self._stopped:
                lines, wrong, ended = await self._database.run(_next_lines, read)
                problems += wrong
                total += len(lines)
                if total > room:
                    return [*problems, self._too_many(room)]
                # If the file has a fault, none of its lines is run.
                wanted = lines and not problems
                if wanted and not await self._database.run(self._lines.add, number, lines):
                    return None
                if ended:
                    break
        finally:
            file.close()
        return problems

    def _open(self, owner: str, file_id: str) -> BinaryIO:
        path: Path = self._files.get(owner, file_id).path
        return path.open("rb")

    def _too_many(self, room: int) -> LineProblem:
        limit = self._limits.max_unfinished_lines
        return LineProblem(
            "line_limit_exceeded",
            f"the key's unfinished batches have {limit - room} lines; the limit is {limit}",
        )


def _next_lines(read: _Read) -> tuple[list[InputLine], list[LineProblem], bool]:
    """The lines of one transaction, their problems, and whether the file has ended."""
    lines: list[InputLine] = []
    problems: list[LineProblem] = []
    size = 0
    for looked, found in enumerate(read, 1):
        if isinstance(found, LineProblem):
            problems.append(found)
        elif found is not None:
            lines.append(found)
            size += len(found.body)
        if len(lines) == _LINES_AT_ONCE or size >= _BYTES_AT_ONCE or looked == _LOOKED_AT_ONCE:
            return lines, problems, False
    return lines, problems, True
