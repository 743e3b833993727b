"""The GPT metric: which of two systems' answers a judge prefers, shown in both orders.

Each reply is saved in `OUT/transcripts.jsonl` as it arrives, under a digest of the request: a
killed run continues where it stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

from benchmark.errors import PATIENCE, FailureStreak, RequestFailedError, ServerGoneError
from benchmark.judge.backends import Exhibit, Judge, Verdict
from benchmark.judge.items import Pair, Pairs
from benchmark.line_file import LineFile
from benchmark.text import spellable

TRANSCRIPTS_FILE = "transcripts.jsonl"


class Outcome(StrEnum):
    """The result of an item for the first system.

    `disagreed`: the verdict changed with the order, which counts as a tie. `unparsed` and `failed`
    items are left out of all rates.
    """

    WIN = "win"
    LOSS = "loss"
    TIE = "tie"
    DISAGREED = "disagreed"
    UNPARSED = "unparsed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Transcript:
    """One reply of a judge. `swapped`: the second system's answer was shown first."""

    key: str
    judge: str
    row: str
    id: str
    swapped: bool
    exhibit: Exhibit
    words: str


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair with its verdicts in the order shown: plain order first, then swapped."""

    pair: Pair
    verdicts: tuple[Verdict, ...]
    failure: str = ""

    @property
    def outcome(self) -> Outcome:
        """See `Outcome`."""
        if self.failure:
            return Outcome.FAILED
        if Verdict.UNPARSED in self.verdicts:
            return Outcome.UNPARSED
        found = {_for_first(verdict, swapped=at == 1) for at, verdict in enumerate(self.verdicts)}
        return found.pop() if len(found) == 1 else Outcome.DISAGREED


class TranscriptStore:
    """An append-only JSONL file of replies with a single writer.

    `broken_lines` counts truncated lines.

    Raises:
        BenchmarkError: another run is writing to the file, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.broken_lines = 0
        self._words: dict[str, str] = {}
        self._file = LineFile(path)
        for line in path.read_bytes().decode("utf8", errors="replace").split("\n"):
            if line.strip():
                self._take(line)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def get(self, key: str) -> str | None:
        """The reply of a key, or None."""
        return self._words.get(key)

    def add(self, transcript: Transcript) -> None:
        """Writes a new reply to disk, then counts it.

        Raises:
            BenchmarkError: the reply cannot be written.
        """
        if transcript.key not in self._words:
            self._file.append(spellable(json.dumps(asdict(transcript), ensure_ascii=False)))
            self._words[transcript.key] = transcript.words

    def _take(self, line: str) -> None:
        try:
            value = json.loads(line)
            self._words.setdefault(str(value["key"]), str(value["words"]))
        except (ValueError, KeyError, TypeError):
            self.broken_lines += 1


@dataclass(frozen=True, slots=True)
class Judgement:
    """All judged pairs. `asked` replies are new, `reused` ones were on disk already."""

    judge: str
    looks_twice: bool
    pairs: Pairs
    judged: tuple[JudgedPair, ...]
    asked: int
    reused: int


async def judge_pairs(
    pairs: Pairs,
    judge: Judge,
    store: TranscriptStore,
    workers: int,
    on_pair: Callable[[Pair], None] = lambda _pair: None,
) -> Judgement:
    """Judges every pair, in both orders if the order can matter.

    Raises:
        ServerGoneError: the judge stopped answering; its replies are saved.
        RequestFailedError: the API key is rejected.
        BusyError: the judge refuses or drops all requests.
    """
    sitting = _Sitting(judge, store, on_pair, PATIENCE * workers)
    queue = iter(enumerate(pairs.pairs))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, len(pairs.pairs))):
                group.create_task(sitting.work(queue))
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    judged = tuple(sitting.judged[index] for index in range(len(pairs.pairs)))
    return Judgement(judge.name, judge.looks_twice, pairs, judged, sitting.asked, sitting.reused)


class _Sitting:
    """Judges with several workers; records failures of single pairs, ends if the judge is gone."""

    def __init__(
        self,
        judge: Judge,
        store: TranscriptStore,
        on_pair: Callable[[Pair], None],
        most_dropped: int,
    ) -> None:
        self.judged: dict[int, JudgedPair] = {}
        self.asked = 0
        self.reused = 0
        self._judge = judge
        self._store = store
        self._on_pair = on_pair
        self._streak = FailureStreak("pairs", most_dropped)

    async def work(self, queue: Iterator[tuple[int, Pair]]) -> None:
        for index, pair in queue:
            try:
                self.judged[index] = JudgedPair(pair, await self._verdicts(pair))
            except RequestFailedError as error:
                if isinstance(error, ServerGoneError) and not await self._judge.is_there():
                    raise
                if error.status == HTTPStatus.UNAUTHORIZED:
                    raise  # the key would fail for all other pairs
                self._streak.count(error)
                self.judged[index] = JudgedPair(pair, (), str(error))
            self._on_pair(pair)

    async def _verdicts(self, pair: Pair) -> tuple[Verdict, ...]:
        orders = (False, True) if self._judge.looks_twice else (False,)
        if pair.identical:
            # Equal answers need no judge.
            return (Verdict.TIE,) * len(orders)
        return tuple([await self._look(pair, swapped) for swapped in orders])

    async def _look(self, pair: Pair, swapped: bool) -> Verdict:
        first, second = reversed(pair.answers) if swapped else pair.answers
        exhibit = Exhibit(pair.question, pair.reference, first, second)
        key = self._judge.key(exhibit)
        words = self._store.get(key)
        if words is None:
            words = await self._judge.judge(exhibit)
            self.asked += 1
            self._streak.end()
            self._store.add(
                Transcript(key, self._judge.name, pair.row, pair.id, swapped, exhibit, words)
            )
        else:
            self.reused += 1
        return self._judge.verdict(words)


def _for_first(verdict: Verdict, *, swapped: bool) -> Outcome:
    """A parsed verdict as outcome for the first system."""
    if verdict is Verdict.TIE:
        return Outcome.TIE
    return Outcome.WIN if (verdict is Verdict.FIRST) is not swapped else Outcome.LOSS
