"""Task quality over HTTP: asks a suite's questions greedily, keeps the answers, scores them.

Called by `lamm bench quality`. Answers are kept in `OUT/answers.jsonl`, what was asked of whom in
`OUT/run.json`; a second run asks only what is missing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.answers import Answer, AnswerStore, write_whole
from benchmark.client import ChatClient
from benchmark.content import media_part, user_message
from benchmark.errors import BenchmarkError, RequestFailedError, ServerGoneError
from benchmark.scoring import RowScore, score_row
from benchmark.suite import Item, Suite

ANSWERS_FILE = "answers.jsonl"
RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who answers. `fingerprint` names the weights where the server tells, else repeats the id."""

    url: str
    model: str
    fingerprint: str
    asked_at: str


@dataclass(frozen=True, slots=True)
class QualityRun:
    """A suite with its scores. `reused` answers were on disk already."""

    suite: Suite
    identity: ModelIdentity
    rows: tuple[RowScore, ...]
    asked: int
    reused: int
    broken_lines: int

    @property
    def complete(self) -> bool:
        """Whether every record of every row was sound and answered."""
        return all(row.complete for row in self.rows)


async def run_quality(
    suite: Suite,
    client: ChatClient,
    url: str,
    out: Path,
    workers: int,
    model: str | None = None,
    on_answer: Callable[[Item], None] = lambda _item: None,
) -> QualityRun:
    """Asks what `out` does not hold yet, then scores everything.

    `workers` questions are in flight at once; `on_answer` is told of each item as it is done.

    Raises:
        ServerGoneError: the server stopped answering; what was answered is kept.
        BenchmarkError: the model changed while the run went on.
    """
    identity = await identify(client, url, model)
    write_whole(out / RUN_FILE, json.dumps(asdict(identity), indent=2) + "\n")
    with AnswerStore(out / ANSWERS_FILE) as store:
        missing: list[Item] = []
        for item in _items(suite):
            if _stored(store, item, identity) is None:
                missing.append(item)
            else:
                on_answer(item)
        asker = _Asker(client, identity, store, on_answer)
        await asker.ask_all(missing, workers)
        return _score(suite, identity, store, asker.failures, asked=asker.asked)


def rescore(suite: Suite, out: Path) -> QualityRun:
    """Scores the answers that `out` holds, without a server.

    Raises:
        BenchmarkError: `out` holds no run.
    """
    try:
        identity = ModelIdentity(**json.loads((out / RUN_FILE).read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{out / RUN_FILE} is not a kept run: {error}") from None
    with AnswerStore(out / ANSWERS_FILE) as store:
        return _score(suite, identity, store, {}, asked=0)


async def identify(client: ChatClient, url: str, model: str | None) -> ModelIdentity:
    """Asks the server for its model (unless named) and one token, whose reply names the weights."""
    name = model or await client.first_model()
    message = user_message("Hello", None)
    probe = await client.complete(
        {"model": name, "messages": [message], "max_tokens": 1, "temperature": 0}
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return ModelIdentity(url, name, probe.fingerprint or name, now)


class _Asker:
    """Asks items with some workers; failures of single items are kept, a dead server ends it."""

    def __init__(
        self,
        client: ChatClient,
        identity: ModelIdentity,
        store: AnswerStore,
        on_answer: Callable[[Item], None],
    ) -> None:
        self.failures: dict[tuple[str, str], str] = {}
        self.asked = 0
        self._client = client
        self._identity = identity
        self._store = store
        self._on_answer = on_answer

    async def ask_all(self, items: list[Item], workers: int) -> None:
        queue = iter(items)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(items))):
                    group.create_task(self._work(queue))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self, queue: Iterator[Item]) -> None:
        for item in queue:
            try:
                await self._ask(item)
            except ServerGoneError:
                raise
            except RequestFailedError as error:
                self.failures[item.row, item.sample.id] = str(error)
            self._on_answer(item)

    async def _ask(self, item: Item) -> None:
        part = media_part(item.media, item.media.read_bytes()) if item.media else None
        message = user_message(item.sample.question, part)
        started = time.perf_counter()
        result = await self._client.complete(
            {"model": self._identity.model, "messages": [message], **parameters(item)}
        )
        self.asked += 1
        if (result.fingerprint or self._identity.model) != self._identity.fingerprint:
            raise BenchmarkError(
                f"the model changed during the run: {self._identity.fingerprint!r} became "
                f"{result.fingerprint!r}; run again to ask the new one everything"
            )
        self._store.add(
            Answer(
                key=item.key(self._identity.fingerprint, parameters(item)),
                row=item.row,
                id=item.sample.id,
                text=result.text,
                finish_reason=result.finish_reason,
                model=self._identity.model,
                fingerprint=self._identity.fingerprint,
                prompt_tokens=result.usage.prompt_tokens,
                completion_tokens=result.usage.completion_tokens,
                seconds=round(time.perf_counter() - started, 4),
            )
        )


def parameters(item: Item) -> dict[str, Any]:
    """Sampling of an item: greedy, with room for any answer of its task."""
    return {"temperature": 0, "max_tokens": item.task.max_tokens}


def _items(suite: Suite) -> list[Item]:
    return [item for row in suite.rows for item in row.items]


def _stored(store: AnswerStore, item: Item, identity: ModelIdentity) -> Answer | None:
    return store.get(item.key(identity.fingerprint, parameters(item)))


def _score(
    suite: Suite,
    identity: ModelIdentity,
    store: AnswerStore,
    failures: dict[tuple[str, str], str],
    asked: int,
) -> QualityRun:
    rows = []
    answered = 0
    for row in suite.rows:
        found = {item.sample.id: _stored(store, item, identity) for item in row.items}
        answers = {key: answer for key, answer in found.items() if answer is not None}
        answered += len(answers)
        reasons = {id_: text for (name, id_), text in failures.items() if name == row.name}
        rows.append(score_row(row, answers, reasons))
    return QualityRun(
        suite, identity, tuple(rows), asked, max(0, answered - asked), store.broken_lines
    )
