"""Runs lines of batches, a bounded number at once, and commits their results.

A line that the service has no room for, or that ended with the service, is put back; an answer
counts once it is committed. A line that was running when the process or the engine ended runs alone
the next time: if it is the cause, it affects no others, and is given up in the end. The same
applies to a line that found no room: if there is none while nothing else runs, there never will be.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from service.batches.batch import Batch, LineResult, TakenLine
from service.batches.database import Database
from service.batches.line_results import given_up, line_id, never_fits, result_of
from service.batches.line_runner import LineAnswer, LineRunner
from service.batches.line_store import LineStore
from service.batches.room import Room
from service.exceptions import BatchesUnavailableError

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
_COMMIT_WAITS_S = (0.5, 1, 2, 4, 8, 16)


@dataclass(slots=True)
class _Feed:
    """State of one batch: lines up to `after` have been taken, `running` are in flight, and
    `refused` found no room the last time.
    """

    batch: Batch
    after: int = 0
    running: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


class Feeder:
    """The lines in flight of one worker's batches."""

    def __init__(
        self,
        database: Database,
        lines: LineStore,
        runner: LineRunner,
        room: Room,
        reported: Callable[[str], None],
        woken: Callable[[], None],
    ) -> None:
        """
        Args:
            database, lines: where lines are stored.
            runner: runs a line.
            room: tells when a line may start.
            reported: called with a line's status once committed, or `retried`.
            woken: called when a line has ended, so that the next may start.
        """
        self._database, self._lines, self._runner, self._room = database, lines, runner, room
        self._reported, self._woken = reported, woken
        self._feeds: dict[int, _Feed] = {}
        self._turns = Turns()
        self._suspect: tuple[Batch, TakenLine] | None = None
        self._alone = False

    def running(self, number: int) -> bool:
        """Whether any line of the batch is in flight."""
        return bool(number in self._feeds and self._feeds[number].running)

    async def feed(self, batches: Sequence[Batch]) -> None:
        """Starts lines of these batches in turns, as long as there is room.

        Raises:
            BatchesUnavailableError: the database failed.
        """
        self._follow(batches)
        spent = self._feeds.keys() - {batch.number for batch in batches}
        while self._may_start():
            if self._suspect is not None:
                batch, suspect = self._suspect
                self._suspect = None
                if batch.number not in spent:
                    self._start(self._feeds[batch.number], suspect, alone=True)
                else:
                    await self._database.run(self._lines.put_back, batch.number, suspect.line)
                continue
            number = self._turns.next(spent)
            if number is None:
                return
            if not await self._start_next(self._feeds[number]):
                spent.add(number)

    async def abort(self, number: int) -> None:
        """Aborts the batch's lines in flight; committed answers stay."""
        feed = self._feeds.pop(number, None)
        if feed is None:
            return
        self._turns.remove(feed.batch.asked.owner, number)
        lines, tasks = list(feed.running), list(feed.running.values())
        if self._suspect is not None and self._suspect[0].number == number:
            lines.append(self._suspect[1].line)
            self._suspect = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in lines:
            # Not the line's fault; one that has been answered meanwhile stays as it is.
            await self._database.run(self._lines.put_back, number, line)

    async def abort_all(self, but: Collection[int] = ()) -> None:
        """Aborts the lines of every batch but these."""
        for number in [number for number in self._feeds if number not in but]:
            await self.abort(number)

    def _follow(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if batch.number in self._feeds:
                self._feeds[batch.number].batch = batch
            else:
                self._feeds[batch.number] = _Feed(batch)
                self._turns.add(batch.asked.owner, batch.number)

    def _may_start(self) -> bool:
        in_flight = sum(len(feed.running) for feed in self._feeds.values())
        if in_flight and (self._alone or self._suspect is not None):
            return False
        return self._room.may_start(in_flight)

    async def _start_next(self, feed: _Feed) -> bool:
        """Starts the batch's next line; False if none can start now."""
        line = await self._take(feed)
        if line is None:
            return False
        alone = line.attempts > 0 or line.line in feed.refused
        if line.attempts >= MAX_ATTEMPTS:
            await self._commit(feed.batch, line, given_up(feed.batch, line))
        elif alone and any(one.running for one in self._feeds.values()):
            self._suspect = feed.batch, line
        else:
            self._start(feed, line, alone)
        return True

    async def _take(self, feed: _Feed) -> TakenLine | None:
        number = feed.batch.number
        take = self._lines.take
        line = await self._database.run(take, number, feed.after, list(feed.running))
        if line is None and feed.after:
            # From the beginning, since some may have been put back.
            feed.after = 0
            line = await self._database.run(take, number, 0, list(feed.running))
        if line is not None:
            feed.after = line.line
        return line

    def _start(self, feed: _Feed, line: TakenLine, alone: bool) -> None:
        self._alone = alone
        self._room.started()
        task = asyncio.create_task(self._run(feed, line))
        feed.running[line.line] = task

    async def _run(self, feed: _Feed, line: TakenLine) -> None:
        batch = feed.batch
        try:
            nothing_else_ran = self._room.watch()
            answer = await self._runner.run(
                batch.asked.endpoint, line.body, batch.asked.owner, line_id(batch, line.line)
            )
            hopeless = answer.no_room and line.line in feed.refused and nothing_else_ran()
            if answer.retriable and not hopeless:
                await self._retry(feed, line, answer)
                return
            self._room.answered()
            feed.refused.discard(line.line)
            told = never_fits if hopeless else result_of
            await self._commit(batch, line, await self._database.run(told, batch, line, answer))
        except BatchesUnavailableError:
            logger.error("line %d of %s is run again: its answer was lost", line.line, batch.id)
            self._room.refused()
        except Exception:
            logger.exception(
                "line %d of %s failed in the service; it is run again", line.line, batch.id
            )
            self._room.refused()
        finally:
            feed.running.pop(line.line, None)
            self._alone = False
            self._woken()

    async def _retry(self, feed: _Feed, line: TakenLine, answer: LineAnswer) -> None:
        self._room.refused()
        self._reported("retried")
        if answer.no_room:
            feed.refused.add(line.line)
            feed.after = min(feed.after, line.line - 1)  # by itself, before those behind it
        # If the engine ended during the line, the attempt stays counted.
        if self._room.stopping or not answer.engine_died:
            await self._database.run(self._lines.put_back, feed.batch.number, line.line)

    async def _commit(self, batch: Batch, line: TakenLine, result: LineResult) -> None:
        """Commits a result; retries over short outages of the database.

        Raises:
            BatchesUnavailableError: the outage lasts.
        """
        for wait_s in (*_COMMIT_WAITS_S, None):
            try:
                kept = await self._database.run(self._lines.answer, batch.number, line.line, result)
            except BatchesUnavailableError:
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
            else:
                if kept:
                    self._reported(result.status.value)
                return


class Turns:
    """The order of lines: owners take turns, and so do the batches of each owner."""

    def __init__(self) -> None:
        self._batches_of: dict[str, deque[int]] = {}

    def add(self, owner: str, number: int) -> None:
        """Adds a batch behind its owner's others."""
        self._batches_of.setdefault(owner, deque()).append(number)

    def remove(self, owner: str, number: int) -> None:
        """Removes a batch, if it is present."""
        numbers = self._batches_of.get(owner)
        if numbers is None or number not in numbers:
            return
        numbers.remove(number)
        if not numbers:
            del self._batches_of[owner]

    def next(self, but: Collection[int]) -> int | None:
        """The next batch that is not excluded; None if there is none."""
        for owner, numbers in self._batches_of.items():
            for number in numbers:
                if number not in but:
                    numbers.remove(number)
                    numbers.append(number)
                    self._batches_of[owner] = self._batches_of.pop(owner)
                    return number
        return None
