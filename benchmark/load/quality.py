"""Questions of a suite among the requests of a load test, scored in the same run.

They show whether throughput comes at the cost of wrong answers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.answers import Answer
from benchmark.content import IMAGE_TYPES
from benchmark.errors import BenchmarkError
from benchmark.load.media import read_media
from benchmark.load.sender import Sent
from benchmark.load.workload import WorkItem
from benchmark.scoring import RowScore, score_row
from benchmark.suite import Item, Suite, SuiteRow
from lamm_model.tasks import ParseStatus
from lamm_model.tasks.metrics import proportion

_LEAST_JUDGED = 20


class QuestionDeck:
    """Deals the questions of a suite, one row after the other, and repeats when all are dealt."""

    def __init__(self, suite: Suite, share: float, seed: int, clouds: bool = True) -> None:
        """`share` of the requests are questions; `clouds=False` leaves out those about clouds.

        Raises:
            BenchmarkError: the share is not between 0 and 1, or no question is left.
        """
        if not 0 < share <= 1:
            raise BenchmarkError(f"suite share is {share}; expected more than 0 and at most 1")
        self.suite = suite
        self.share = share
        self._rng = random.Random(seed)
        self._rows = [
            kept
            for row in suite.rows
            if (kept := [item for item in row.items if clouds or _is_askable(item)])
        ]
        if not self._rows:
            raise BenchmarkError(f"suite {suite.name} has no question that the server can answer")
        self._cards = self._shuffled()

    def deal(self, num_prompts: int) -> list[WorkItem]:
        """The questions among `num_prompts` requests."""
        return [self._work_item(self._next()) for _ in range(round(self.share * num_prompts))]

    def _next(self) -> Item:
        card = next(self._cards, None)
        if card is None:
            self._cards = self._shuffled()
            card = next(self._cards)
        return card

    def _shuffled(self) -> Iterator[Item]:
        rows = [self._rng.sample(row, len(row)) for row in self._rows]
        longest = max(len(row) for row in rows)
        return (row[turn] for turn in range(longest) for row in rows if turn < len(row))

    @staticmethod
    def _work_item(item: Item) -> WorkItem:
        media = None if item.media is None else read_media(item.media)
        return WorkItem(item.sample.question, media, item.task.max_tokens, item)


def mix_in(
    items: Sequence[WorkItem], questions: Sequence[WorkItem], rng: random.Random
) -> list[WorkItem]:
    """The items, with random ones replaced by the questions."""
    places = rng.sample(range(len(items)), len(questions))
    mixed = list(items)
    for place, question in zip(places, questions, strict=True):
        mixed[place] = question
    return mixed


def score_questions(suite: Suite, sent: Sequence[Sent], duration: float) -> dict[str, Any]:
    """Scores of the questions among the requests, by row and together.

    `correct_throughput` is correct answers per second of the test. A row is `below_target` if its
    whole interval is below its target and it has at least 20 answers.
    """
    asked: dict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        if one.item.question is not None:
            asked[one.item.question.row].append(one)
    scores = [_score(row, asked[row.name]) for row in suite.rows if row.name in asked]
    judged = [item for score in scores for item in score.scored]
    hits = sum(item.hit for item in judged)
    overall = proportion(hits, len(judged)) if judged else None
    return {
        "suite": suite.name,
        "asked": sum(map(len, asked.values())),
        "answered": len(judged),
        "correct": hits,
        "accuracy": None if overall is None else overall.value,
        "accuracy_low": None if overall is None else overall.low,
        "accuracy_high": None if overall is None else overall.high,
        "correct_throughput": hits / duration,
        "rows": [_row(score) for score in scores],
    }


def _score(row: SuiteRow, sent: Sequence[Sent]) -> RowScore:
    items: dict[str, Item] = {}
    answers: dict[str, Answer] = {}
    failures: dict[str, str] = {}
    for number, one in enumerate(sent):
        item, record = one.item.question, one.record
        if item is None:
            continue
        # A deck may deal a question again: each occurrence has its own answer.
        id_ = f"{item.sample.id}#{number}"
        items[id_] = replace(item, sample=item.sample.model_copy(update={"id": id_}))
        if record.error is not None:
            failures[id_] = record.error
            continue
        answers[id_] = Answer(
            key="", row=item.row, id=id_, text=record.text,
            finish_reason=record.finish_reason, model="", fingerprint="",
            prompt_tokens=record.usage.prompt_tokens if record.usage else 0,
            completion_tokens=record.usage.completion_tokens if record.usage else 0,
            seconds=record.latency,
        )  # fmt: skip
    return score_row(replace(row, items=tuple(items.values()), problems=()), answers, failures)


def _row(score: RowScore) -> dict[str, Any]:
    row, estimate = score.row, score.estimate
    target = row.target if len(score.scored) >= _LEAST_JUDGED else None
    return {
        "row": row.name,
        "metric": row.metric,
        "n": len(score.scored),
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "chance": row.chance,
        "target": row.target,
        "below_target": estimate is not None and target is not None and estimate.high < target,
        "unparsed": score.share(ParseStatus.UNPARSED),
        "unanswered": len(score.unanswered),
    }


def _is_askable(item: Item) -> bool:
    """Whether OpenAI's API can carry the item: text or a picture."""
    return item.media is None or item.media.suffix.lower() in IMAGE_TYPES
