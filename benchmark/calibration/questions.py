"""The questions of a calibration: asked in the tasks' own words, and by likelihood."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from benchmark.answers import Answer, KeptAnswers
from benchmark.content import MediaCache
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient
from benchmark.quality.asker import Finder
from benchmark.quality.controls import Question
from benchmark.quality.identity import Mode
from benchmark.quality.likelihood_target import can_be_ranked
from benchmark.quality.run import answers_file, run_quality
from benchmark.quality.tree import open_suite
from benchmark.suite import Item, Suite
from lamm_model.tasks import calibration


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of one option, such as `--fit DATA`, and the directory of their answers."""

    suite: Suite
    data: Path
    out: Path

    @classmethod
    def of(cls, data: Path, out: Path, limit: int) -> Questions:
        """At most `limit` questions per task with a medium, in equal parts from its rows.

        Raises:
            BenchmarkError: `data` is neither a suite nor in the published layout.
        """
        suite = open_suite("all", data, limit, out)
        rows = Counter(row.task.name for row in suite.rows)
        cut = tuple(
            replace(
                row,
                items=_spread(row.items)[: -(-limit // rows[row.task.name])],
            )
            for row in suite.rows
        )
        return cls(replace(suite, rows=cut), data, out)

    @property
    def items(self) -> Iterator[Item]:
        """Every question."""
        return (item for row in self.suite.rows for item in row.items)

    def digests(self) -> set[str]:
        """A digest of each question with its medium and target."""
        media = MediaCache()
        parts = (
            [item.task.name, item.sample.question, media.digest(item.media), item.sample.target]
            for item in self.items
            if item.media is not None
        )
        return {hashlib.sha256(json.dumps(part).encode()).hexdigest() for part in parts}

    def described(self) -> calibration.Suite:
        """The suite's name and seed, as its provenance states them."""
        file = self.data / "provenance.json"
        told = json.loads(file.read_text(encoding="utf8")) if file.is_file() else {}
        known = {**self.suite.provenance, **told} if told else self.suite.provenance
        seed = known.get("seed")
        return calibration.Suite(
            name=str(known.get("name", self.suite.name)), seed=seed if type(seed) is int else None
        )


def check_disjoint(roles: Mapping[str, Sequence[Questions]]) -> None:
    """Refuses questions in two roles.

    Args:
        roles: the questions of the fit and of each check, by the name of the role.

    Raises:
        BenchmarkError: some questions, with their media, are in two of them.
    """
    seen = [
        (role, set[str]().union(*(one.digests() for one in asked))) for role, asked in roles.items()
    ]
    for (first, before), (second, after) in combinations(seen, 2):
        if both := before & after:
            raise BenchmarkError(
                f"{len(both)} of {len(after)} {second} questions are also {first} questions; "
                "use a suite with another seed"
            )


async def ask(
    questions: Questions,
    client: ChatClient,
    url: str,
    workers: int,
    model: str | None,
    modes: Sequence[Mode],
    on_answer: Callable[[Item], None],
) -> tuple[list[tuple[Item, Answer]], str]:
    """The answers to all questions, and the model's name; stored ones are not asked again.

    Mode `likelihood` asks only questions with options.

    Raises:
        BenchmarkError: as `run_quality`, or some questions have no answer.
    """
    whole = questions.suite
    ranked = tuple(
        replace(row, items=tuple(filter(can_be_ranked, row.items))) for row in whole.rows
    )
    closed = replace(whole, rows=tuple(row for row in ranked if row.items))
    found: list[tuple[Item, Answer]] = []
    name = str(model)
    for mode, suite in ((mode, whole if mode is Mode.TASK else closed) for mode in modes):
        if not suite.rows:
            continue
        run = await run_quality(
            suite, client, url, questions.out, workers, model, on_answer, mode=mode
        )
        name = run.identity.model
        kept = KeptAnswers(questions.out / answers_file(None))
        finder = Finder(run.identity, MediaCache(), {None: kept})
        pairs = [(item, finder.answer(Question(item))) for row in suite.rows for item in row.items]
        missing = {id_: why for row in run.rows for id_, why in row.unanswered.items()}
        if missing:
            id_, why = next(iter(missing.items()))
            raise BenchmarkError(
                f"{len(missing)} of {len(pairs)} questions of {questions.data} have no answer, "
                f"such as {id_}: {why}"
            )
        found += [(item, answer) for item, answer in pairs if answer is not None]
    return found, name


def _spread(items: Sequence[Item]) -> tuple[Item, ...]:
    """Items with a medium, one of each medium first, since answers about one are alike.

    Medium i begins with its question i, so that all kinds of questions are among the first.
    """
    media: dict[Path, list[Item]] = {}
    for item in items:
        if item.media is not None:
            media.setdefault(item.media, []).append(item)
    turned = [
        [found[(number + index) % len(found)] for index in range(len(found))]
        for number, found in enumerate(media.values())
    ]
    most = max(map(len, turned), default=0)
    return tuple(found[index] for index in range(most) for found in turned if index < len(found))
