"""Runs a suite against a server: asks the questions, stores the answers, scores them.

Answers are stored in `OUT/answers.jsonl`, those under a blind control in
`OUT/answers.CONTROL.jsonl`, and the model's identity in `OUT/run.json`. A second run asks only the
missing questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.answers import AnswerStore, KeptAnswers
from benchmark.content import MediaCache
from benchmark.errors import BusyError, ServerGoneError
from benchmark.http.batches import BatchClient
from benchmark.http.client import Backend, ChatClient
from benchmark.quality.answer_import import AnswerImport, stored_import
from benchmark.quality.asker import Asker, Exam, Finder, Place, place_of
from benchmark.quality.batch_asker import BatchAsker
from benchmark.quality.controls import Control, Question
from benchmark.quality.examples import NO_EXAMPLES, ExamplePlan
from benchmark.quality.exams import exams_of
from benchmark.quality.identity import Mode, ModelIdentity, identify
from benchmark.quality.recipe import RecipeRun
from benchmark.quality.recipe_server import check_room, check_server
from benchmark.quality.targets import Target, refusal
from benchmark.scoring import RowScore, order_check, score_row
from benchmark.suite import Item, Suite, SuiteRow

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class QualityRun:
    """The scores of a suite.

    `reused` counts answers that were on disk already; `imported` says how answer files fit. `rows`
    are the first of the `repetitions` of all rows, of which there is one without a recipe.
    """

    suite: Suite
    identity: ModelIdentity
    repetitions: tuple[tuple[RowScore, ...], ...]
    asked: int
    reused: int
    broken_lines: int
    imported: AnswerImport | None = None

    @property
    def rows(self) -> tuple[RowScore, ...]:
        """The rows of the first repetition, under controls as well."""
        return self.repetitions[0]

    @property
    def complete(self) -> bool:
        """Whether all records are valid and answered, and all answers belong to records."""
        fits = self.imported is None or self.imported.clean
        return fits and all(row.complete for rows in self.repetitions for row in rows)


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
    recipe: RecipeRun | None = None,
    examples: ExamplePlan = NO_EXAMPLES,
    max_tokens: int | None = None,
) -> QualityRun:
    """Asks the questions without an answer in `out`, then scores all answers.

    `workers` questions are in flight at once. `on_answer` is called for each finished question.
    With `batches`, questions are sent through the batches API. With `recipe`, they are asked as it
    says. `examples` are added to questions of mode `chef`. `max_tokens` limits the answers that the
    model writes, in place of their tasks' limits.

    Raises:
        ServerGoneError: the server stopped answering; the answers so far are stored.
        BenchmarkError: the model changed during the run, the server refuses all requests, another
            run is writing to `out`, the server does not run what the recipe needs, or a row has too
            few records for its examples.
    """
    exams = exams_of(suite, controls, recipe, mode, examples)
    media = MediaCache()
    with ExitStack() as stack:
        books = {
            control: stack.enter_context(AnswerStore(out / answers_file(control)))
            for control in (None, *dict.fromkeys(controls))
        }
        if recipe is not None:
            model = model or await client.first_model()
            await check_server(client, model, recipe.recipe, suite)
        identity = await identify(client, url, model, backend, mode, recipe, examples, max_tokens)
        identity.save(out / RUN_FILE)
        finder = Finder(identity, media, books)
        target = Target(client, identity, media)
        if recipe is not None:
            first = [questions[0] for row in exams[0] if (questions := row[None])]
            await check_room(client, target, recipe.recipe, first)
        asker: Asker | BatchAsker = Asker(target, finder, books, on_answer)
        if batches is not None:
            asker = BatchAsker(target, finder, books, on_answer, batches, out)
        rows = tuple(row for exam in exams for row in exam)
        total = sum(len(questions) for row in rows for questions in row.values())
        try:
            await asker.ask_all(rows, workers)
        except (ServerGoneError, BusyError) as error:
            raise type(error)(
                f"{error}; {asker.done} of {total} questions are done and their answers saved in "
                f"{out}: run the same command again to continue"
            ) from None
        return _score(suite, exams, finder, asker.failures, asker.asked)


def rescore(suite: Suite, out: Path) -> QualityRun:
    """Scores the answers in `out`, those under controls included, without a server.

    Raises:
        BenchmarkError: `out` has no run, or a file of it is malformed.
    """
    identity = ModelIdentity.read(out / RUN_FILE)
    kept = {control: KeptAnswers(out / answers_file(control)) for control in (None, *Control)}
    # Controls that were asked of another model only are not missing here.
    controls = [c for c in Control if kept[c].holds_any_of(identity.fingerprint)]
    books = {control: kept[control] for control in (None, *controls)}
    finder = Finder(identity, MediaCache(), books)
    imported = stored_import(out, identity)
    reasons: dict[Place, str] = {}
    for file in imported.files if imported is not None else ():
        reasons |= {(None, 0, file.row, id_): reason for id_, reason in file.reasons.items()}
    exams = exams_of(suite, controls, identity.recipe, Mode(identity.mode), identity.plan)
    run = _score(suite, exams, finder, reasons, asked=0)
    return replace(run, imported=imported)


def answers_file(control: Control | None) -> str:
    """Name of the answer file for unchanged questions, or for those under a control."""
    return "answers.jsonl" if control is None else f"answers.{control}.jsonl"


def _score(
    suite: Suite,
    exams: Sequence[Exam],
    finder: Finder,
    failures: Mapping[Place, str],
    asked: int,
) -> QualityRun:
    scored = [_score_exam(suite, exam, finder, failures) for exam in exams]
    return QualityRun(
        suite,
        finder.identity,
        tuple(rows for rows, _ in scored),
        asked,
        max(0, sum(answered for _, answered in scored) - asked),
        sum(book.broken_lines for book in finder.books.values()),
    )


def _score_exam(
    suite: Suite, exam: Exam, finder: Finder, failures: Mapping[Place, str]
) -> tuple[tuple[RowScore, ...], int]:
    """The rows, and the number of answers."""
    rows = []
    answered = 0
    for row, kinds in zip(suite.rows, exam, strict=True):
        scores = {
            control: _score_kind(row, questions, finder, failures)
            for control, questions in kinds.items()
        }
        answered += sum(len(score.scored) for score in scores.values())
        rows.append(_with_controls(scores))
    return tuple(rows), answered


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
