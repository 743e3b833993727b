"""Sends the questions without a stored answer to a target through its batches API.

Replaces `Asker`: same questions, keys and answer files. The lines of a batch are named by the keys
of their answers, and the batch by its run, which is saved in `OUT` before anything is sent: a run
that was killed finds its batches again and sends no question twice.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from benchmark.answers import AnswerStore, write_whole
from benchmark.errors import BenchmarkError, RequestFailedError
from benchmark.http.batches import BatchClient, RemoteBatch
from benchmark.quality.asker import Exam, Finder, Place, answer_of, place_of
from benchmark.quality.controls import Control, Question
from benchmark.quality.targets import Target, refusal
from benchmark.suite import Item

NOTE_FILE = "batches.json"
_INPUT_FILE = ".batch-input.jsonl"
_WINDOW = "24h"
# Within the default limits of OpenAI's servers and of this project's.
_MAX_LINES, _MAX_BYTES = 10_000, 64 << 20


class BatchAsker:
    """Asks through batches, one after another; records failures of single questions."""

    def __init__(
        self,
        target: Target,
        finder: Finder,
        books: Mapping[Control | None, AnswerStore],
        on_answer: Callable[[Item], None],
        batches: BatchClient,
        out: Path,
    ) -> None:
        """Args:
        target, finder, books, on_answer: see `Asker`.
        batches: client of the target's batches.
        out: directory of the run; its id is saved there.
        """
        self.failures: dict[Place, str] = {}
        self.asked = 0
        self.done = 0
        self._target, self._finder, self._books = target, finder, books
        self._on_answer, self._batches, self._out = on_answer, batches, out
        self._left: dict[str, Question] = {}
        self._shown: set[str] = set()

    async def ask_all(self, exam: Exam, workers: int) -> None:  # noqa: ARG002 - same signature as `Asker`
        """Collects the answers of earlier batches of this run, then submits the open questions."""
        kinds = dict.fromkeys(control for row in exam for control in row)
        for question in (q for control in kinds for row in exam for q in row.get(control, ())):
            self._find(question)
        run = _run_id(self._out / NOTE_FILE)
        for batch in await self._batches.of_run(run):
            if self._left:
                await self._take_again(await self._wait(batch))
        for endpoint, path in self._written():
            batch = await self._batches.submit(path, endpoint, _WINDOW, run)
            ended = await self._wait(batch)
            if ended.problem is not None:
                raise BenchmarkError(f"batch {ended.id} is {ended.status}: {ended.problem}")
            await self._take(ended)
        for question in self._left.values():
            self.failures.setdefault(place_of(question), "the batch ended without an answer")
            self._tell(question)

    def _find(self, question: Question) -> None:
        """Adds a question to those still to be asked, unless it has an answer."""
        if refusal(question, self._target.identity) is not None:
            self._on_answer(question.item)
            return
        try:
            key = self._finder.key(question)
        except OSError as error:
            self._fail(question, f"{question.item.sample.media}: {error.strerror}")
            return
        if self._finder.kept(question, key) is not None:
            self.done += 1
            self._on_answer(question.item)
        else:
            self._left[key] = question

    def _written(self) -> Iterator[tuple[str, Path]]:
        """Yields (endpoint, input file) for the remaining questions, one file at a time."""
        path = self._out / _INPUT_FILE
        waiting: dict[str, deque[tuple[str, Question]]] = {}
        for key, question in self._left.items():
            waiting.setdefault(self._target.path(question), deque()).append((key, question))
        try:
            for endpoint, questions in waiting.items():
                while questions:
                    if self._write(path, endpoint, questions):
                        yield endpoint, path
        finally:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, endpoint: str, questions: deque[tuple[str, Question]]) -> int:
        """Moves as many questions to a file as fit into one batch; returns their number."""
        count = 0
        with path.open("wb") as file:
            while questions and count < _MAX_LINES and file.tell() < _MAX_BYTES:
                key, question = questions.popleft()
                try:
                    file.write(_line(key, endpoint, self._target.body(question)))
                    count += 1
                except (BenchmarkError, OSError) as error:
                    self.failures[place_of(question)] = str(error)
        return count

    async def _wait(self, batch: RemoteBatch) -> RemoteBatch:
        """Waits for a batch; the progress bars advance with its lines, in any order."""
        ahead = [key for key in self._left if key not in self._shown]

        def progress(now: RemoteBatch) -> None:
            for key in ahead[: now.ended]:
                self._tell(self._left[key], key)

        return await self._batches.wait(batch, progress)

    async def _take_again(self, batch: RemoteBatch) -> None:
        """Like `_take`, but asks again for answers in expired files."""
        try:
            await self._take(batch)
        except RequestFailedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _take(self, batch: RemoteBatch) -> None:
        """Stores the batch's answers to open questions."""
        async for line in self._batches.lines(batch):
            key = str(line.get("custom_id"))
            question = self._left.get(key)
            if question is None:
                continue
            try:
                reply = self._target.read(question, _answered(line))
            except RequestFailedError as error:
                self.failures[place_of(question)] = str(error)
                continue
            self.failures.pop(place_of(question), None)
            del self._left[key]
            self.asked += 1
            self.done += 1
            # The duration of a line is unknown.
            answer = answer_of(self._target.identity, question, key, reply, 0.0)
            self._books[question.control].add(answer)
            self._tell(question, key)

    def _fail(self, question: Question, reason: str) -> None:
        self.failures[place_of(question)] = reason
        self._on_answer(question.item)

    def _tell(self, question: Question, key: str | None = None) -> None:
        key = self._finder.key(question) if key is None else key
        if key not in self._shown:
            self._shown.add(key)
            self._on_answer(question.item)


def _run_id(path: Path) -> str:
    """The id of the run on servers: saved before its first use, so that a restart finds it."""
    try:
        return str(json.loads(path.read_text(encoding="utf8"))["run"])
    except FileNotFoundError:
        run = uuid.uuid4().hex
        write_whole(path, json.dumps({"run": run}) + "\n")
        return run
    except (ValueError, LookupError, TypeError):
        raise BenchmarkError(f"{path} is not the file of a run with --through batch") from None


def _line(key: str, url: str, body: bytes) -> bytes:
    head = json.dumps({"custom_id": key, "method": "POST", "url": url, "body": None}).encode()
    return b"".join([head.removesuffix(b"null}"), body, b"}\n"])


def _answered(line: dict[str, Any]) -> bytes:
    """The response body in a line.

    Raises:
        RequestFailedError: the line has an error, or no response.
    """
    response, error = line.get("response"), line.get("error")
    if not isinstance(response, dict):
        raise RequestFailedError(f"no response: {str(error)[:200]}")
    body = response.get("body")
    if response.get("status_code") != 200:
        raise RequestFailedError(f"HTTP {response.get('status_code')}: {str(body)[:300]}")
    return json.dumps(body).encode()
