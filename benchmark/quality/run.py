"""Runs a suite against a server: asks the questions greedily, stores the answers, scores them.

Answers are stored in `OUT/answers.jsonl`, those under a blind control in
`OUT/answers.CONTROL.jsonl`, and the model's identity in `OUT/run.json`. A second run asks only the
missing questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmark.answers import AnswerStore, KeptAnswers, write_whole
from benchmark.content import MediaCache
from benchmark.errors import BenchmarkError, BusyError, ServerGoneError
from benchmark.http.batches import BatchClient
from benchmark.http.client import Backend, ChatClient
from benchmark.quality.asker import Asker, Exam, Finder, Place, place_of
from benchmark.quality.batch_asker import BatchAsker
from benchmark.quality.controls import Control, Question, questions_of
from benchmark.quality.examples import NO_EXAMPLES, ExamplePlan
from benchmark.quality.identity import Mode, ModelIdentity, identify
from benchmark.quality.targets import Target, asks_as_chef, refusal
from benchmark.scoring import RowScore, order_check, score_row
from benchmark.suite import Item, Suite, SuiteRow

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class QualityRun:
    """The scores of a suite. `reused` counts answers that were on disk already."""

    suite: Suite
    identity: ModelIdentity
    rows: tuple[RowScore, ...]
    asked: int
    reused: int
    broken_lines: int

    @property
    def complete(self) -> bool:
        """Whether all records are valid and answered."""
        return all(row.complete for row in self.rows)


async def run_quality(
    suite: Suite,
    client: ChatClient,
    url: str,
    out: Path,
    workers: int,
    model: str | None = None,
    on_answer: Callable[[Item], None] = lambda _item: None,
    *,
    backend: Backend = Backend.LAMM,
    mode: Mode = Mode.TEXT,
    controls: Sequence[Control] = (),
    batches: BatchClient | None = None,
    examples: ExamplePlan = NO_EXAMPLES,
) -> QualityRun:
    """Asks the questions without an answer in `out`, then scores all answers.

    `workers` questions are in flight at once. `on_answer` is called for each finished question.
    With `batches`, questions are sent through the batches API. `examples` are added to questions of
    mode `chef`.

    Raises:
        ServerGoneError: the server stopped answering; the answers so far are stored.
        BenchmarkError: the model changed during the run, the server refuses all requests, or
            another run is writing to `out`; a row has too few records for its examples.
    """
    exam = _exam(suite, controls, mode, examples)
    media = MediaCache()
    with ExitStack() as stack:
        books = {
            control: stack.enter_context(AnswerStore(out / answers_file(control)))
            for control in (None, *dict.fromkeys(controls))
        }
        identity = await identify(client, url, model, backend, mode, examples)
        write_whole(out / RUN_FILE, json.dumps(asdict(identity), indent=2) + "\n")
        finder = Finder(identity, media, books)
        target = Target(client, identity, media)
        asker: Asker | BatchAsker = Asker(target, finder, books, on_answer)
        if batches is not None:
            asker = BatchAsker(target, finder, books, on_answer, batches, out)
        total = sum(len(questions) for row in exam for questions in row.values())
        try:
            await asker.ask_all(exam, workers)
        except (ServerGoneError, BusyError) as error:
            raise type(error)(
                f"{error}; {asker.done} of {total} questions are done and their answers saved in "
                f"{out}: run the same command again to continue"
            ) from None
        return _score(suite, exam, finder, asker.failures, asker.asked)


def rescore(suite: Suite, out: Path) -> QualityRun:
    """Scores the answers in `out`, those under controls included, without a server.

    Raises:
        BenchmarkError: `out` has no run.
    """
    try:
        identity = ModelIdentity(**json.loads((out / RUN_FILE).read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise BenchmarkError(f"cannot read the run {out / RUN_FILE}: {error}") from None
    kept = {control: KeptAnswers(out / answers_file(control)) for control in (None, *Control)}
    # Controls that were asked of another model only are not missing here.
    controls = [c for c in Control if kept[c].holds_any_of(identity.fingerprint)]
    books = {control: kept[control] for control in (None, *controls)}
    finder = Finder(identity, MediaCache(), books)
    exam = _exam(suite, controls, Mode(identity.mode), identity.plan)
    return _score(suite, exam, finder, {}, asked=0)


def answers_file(control: Control | None) -> str:
    """Name of the answer file for unchanged questions, or for those under a control."""
    return "answers.jsonl" if control is None else f"answers.{control}.jsonl"


def _exam(suite: Suite, controls: Sequence[Control], mode: Mode, plan: ExamplePlan) -> Exam:
    """Each row's questions, in the suite's order."""
    return tuple(_with_examples(row, questions_of(row, controls), mode, plan) for row in suite.rows)


def _with_examples(
    row: SuiteRow,
    kinds: Mapping[Control | None, tuple[Question, ...]],
    mode: Mode,
    plan: ExamplePlan,
) -> Mapping[Control | None, tuple[Question, ...]]:
    """The questions of a row, with examples where the options are ranked as in ChEF."""
    if not plan.count or not any(asks_as_chef(question, mode) for question in kinds[None]):
        return kinds
    examples = plan.examples_of(row)
    return {
        control: tuple(
            replace(question, examples=examples[question.item.sample.id])
            if asks_as_chef(question, mode)
            else question
            for question in questions
        )
        for control, questions in kinds.items()
    }


def _score(
    suite: Suite, exam: Exam, finder: Finder, failures: Mapping[Place, str], asked: int
) -> QualityRun:
    rows = []
    answered = 0
    for row, kinds in zip(suite.rows, exam, strict=True):
        scores = {
            control: _score_kind(row, questions, finder, failures)
            for control, questions in kinds.items()
        }
        answered += sum(len(score.scored) for score in scores.values())
        rows.append(_with_controls(scores))
    return QualityRun(
        suite,
        finder.identity,
        tuple(rows),
        asked,
        max(0, answered - asked),
        sum(book.broken_lines for book in finder.books.values()),
    )


def _score_kind(
    row: SuiteRow, questions: Sequence[Question], finder: Finder, failures: Mapping[Place, str]
) -> RowScore:
    """Scores a row, unchanged or under one control."""
    found = {question.item.sample.id: finder.answer(question) for question in questions}
    answers = {id_: answer for id_, answer in found.items() if answer is not None}
    refused = {
        question.item.sample.id: refusal(question, finder.identity) for question in questions
    }
    refusals = {id_: reason for id_, reason in refused.items() if reason is not None}
    reasons = {
        question.item.sample.id: failures[place_of(question)]
        for question in questions
        if place_of(question) in failures
    }
    control = questions[0].control if questions else None
    items = tuple(question.item for question in questions)
    # Invalid records are counted once, in the unchanged row.
    asked = row if control is None else replace(row, items=items, problems=())
    return score_row(asked, answers, reasons, refusals)


def _with_controls(scores: Mapping[Control | None, RowScore]) -> RowScore:
    under = {control.value: score for control, score in scores.items() if control is not None}
    shuffled = scores.get(Control.SHUFFLED_OPTIONS)
    order = None if shuffled is None else order_check(scores[None], shuffled)
    return replace(scores[None], under=under, order=order)
