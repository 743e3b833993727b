"""Sends the questions without a stored answer to a target, several at a time.

Failures of single questions are recorded; failures that would repeat for every question (a dead
server, changed weights, a full disk) end the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus

from benchmark.answers import Answer, AnswerStore, KeptAnswers
from benchmark.content import MediaCache
from benchmark.errors import (
    PATIENCE,
    BenchmarkError,
    FailureStreak,
    RequestFailedError,
    ServerGoneError,
)
from benchmark.quality.controls import Control, Question
from benchmark.quality.identity import ModelIdentity
from benchmark.quality.targets import ModelChangedError, Reply, Target, conditions, refusal
from benchmark.suite import Item
from lamm_model.tasks.upstream import keeps_its_spelling, two_pass_answer

Place = tuple[Control | None, int, str, str]  # control, repetition, row and sample id
Books = Mapping[Control | None, KeptAnswers]
# Each row's questions, unchanged and under controls.
Exam = tuple[Mapping[Control | None, tuple[Question, ...]], ...]


class Finder:
    """Finds the stored answer to a question by everything on which it depends."""

    def __init__(self, identity: ModelIdentity, media: MediaCache, books: Books) -> None:
        self.identity = identity
        self.books = books
        self._media = media

    def key(self, question: Question) -> str:
        """See `Item.key`."""
        item = question.item
        shown = [one.media for one in question.examples if one.media is not None and item.media]
        found = conditions(question, self.identity)
        if shown:
            found["examples"] = [self._media.digest(path) for path in shown]
        digest = None if item.media is None else self._media.digest(item.media)
        return item.key(self.identity.fingerprint, found, digest)

    def answer(self, question: Question) -> Answer | None:
        """The stored answer; None if there is none, or if the medium cannot be read."""
        try:
            return self.kept(question, self.key(question))
        except OSError:
            return None

    def kept(self, question: Question, key: str) -> Answer | None:
        """The stored answer of a key, or None."""
        return self.books[question.control].get(key)


class Asker:
    """Asks with several workers; records failures of single items, ends if the server is gone."""

    def __init__(
        self,
        target: Target,
        finder: Finder,
        books: Mapping[Control | None, AnswerStore],
        on_answer: Callable[[Item], None],
    ) -> None:
        self.failures: dict[Place, str] = {}
        self.asked = 0
        self.done = 0
        self._target = target
        self._finder = finder
        self._books = books
        self._on_answer = on_answer
        self._streak = FailureStreak("questions", 0)

    async def ask_all(self, exam: Exam, workers: int) -> None:
        """Asks the questions without an answer, unchanged ones before those under controls."""
        kinds = dict.fromkeys(control for row in exam for control in row)
        questions = [q for control in kinds for row in exam for q in row.get(control, ())]
        self._streak = FailureStreak("questions", PATIENCE * workers)
        queue = iter(questions)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(questions))):
                    group.create_task(self._work(queue))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self, queue: Iterator[Question]) -> None:
        for question in queue:
            if refusal(question, self._target.identity) is None:
                await self._ask(question)
            self._on_answer(question.item)

    async def _ask(self, question: Question) -> None:
        started = time.perf_counter()
        try:
            key = self._finder.key(question)
            if self._finder.kept(question, key) is not None:
                self.done += 1
                # Looking up thousands of stored answers must not block the requests in flight.
                await asyncio.sleep(0)
                return
            reply = await self._answered(question)
        except ModelChangedError:
            raise
        except BenchmarkError as error:
            if isinstance(error, ServerGoneError) and not await self._target.is_there():
                raise
            if isinstance(error, RequestFailedError) and error.status == HTTPStatus.UNAUTHORIZED:
                raise  # the key would fail for all other questions
            self.failures[place_of(question)] = str(error)
            self._streak.count(error)
            return
        except OSError as error:
            self.failures[place_of(question)] = f"{question.item.sample.media}: {error.strerror}"
            return
        self.asked += 1
        self.done += 1
        self._streak.end()
        answer = answer_of(
            self._target.identity, question, key, reply, time.perf_counter() - started
        )
        self._books[question.control].add(answer)

    async def _answered(self, question: Question) -> Reply:
        """The answer, after both requests of a question that is asked twice.

        The first answer is stored by itself, so that a second run asks only what is missing.
        """
        asked = question.asked
        if asked is None or not asked.twice:
            return await self._target.ask(question)
        first = replace(question, asked=asked.first())
        key = self._finder.key(first)
        kept = self._finder.kept(first, key)
        if kept is None:
            started = time.perf_counter()
            reply = await self._target.ask(first)
            seconds = time.perf_counter() - started
            kept = answer_of(self._target.identity, first, key, reply, seconds)
            self._books[question.control].add(kept)
        if not keeps_its_spelling(kept.text):
            raise RequestFailedError(
                "its first answer spells a tag, which the server breaks up in the second request"
            )
        second = await self._target.ask(replace(question, asked=asked.second(kept.text)))
        return replace(second, text=two_pass_answer(kept.text, second.text))


def answer_of(
    identity: ModelIdentity, question: Question, key: str, reply: Reply, seconds: float
) -> Answer:
    """The stored form of a reply."""
    return Answer(
        key=key,
        row=question.item.row,
        id=question.item.sample.id,
        text=reply.text,
        finish_reason=reply.finish_reason,
        model=identity.model,
        fingerprint=identity.fingerprint,
        prompt_tokens=reply.usage.prompt_tokens,
        completion_tokens=reply.usage.completion_tokens,
        seconds=round(seconds, 4),
        options=reply.options,
        score=reply.score,
        scores=reply.scores,
        logprobs=reply.logprobs,
    )


def place_of(question: Question) -> Place:
    """The identity of a question within a run."""
    repetition = 0 if question.asked is None else question.asked.repetition
    return question.control, repetition, question.item.row, question.item.sample.id
