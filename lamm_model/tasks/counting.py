"""Counting the objects in a medium."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import Field
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import ParseResult, Task
from lamm_model.tasks.metrics import Estimate, bootstrap, mean_of, proportion
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.denials import says_nothing
from lamm_model.tasks.reading.numerals import integers
from lamm_model.tasks.reading.words import NUMBERS, plain
from lamm_model.tasks.sample import Sample

MAX_COUNT = 1_000_000
_TOTAL_BEFORE = re.compile(r"\b(?:in total|altogether|in all(?! likelihood))\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.;:!?\n]")
_TOTAL_AFTER = re.compile(
    r"\b(?:total(?: of| is|:)|the answer is|that makes)\s+(?P<n>[^.;!?\n]*)", re.IGNORECASE
)
# "More than 5" is a bound, not a count, and "5 men and 5 women" are not 5 people.
_BOUND = re.compile(
    r"\b(?:(?:more|less|fewer|greater) than|at (?:least|most)|over|under|up to)\s+"
    rf"(?:\d|a\b|{'|'.join(NUMBERS)})|\d(?:\+(?!\s*\d)|\s+or\s+(?:more|fewer|less)\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    rf"(?:\bnot|n't)\s+(?:exactly\s+|just\s+)?(?:\d+|{'|'.join(NUMBERS)})\b(?![.,]\d)",
    re.IGNORECASE,
)
_NOT_ONE = re.compile(r"(?:\bnot|n't)\s+(?:\w+\s+)?a single\b", re.IGNORECASE)
_SUMMED = re.compile(r"\band\b|\bplus\b|\bother\b|\+|&", re.IGNORECASE)


class CountingInputs(TaskModel):
    """`noun`: the objects to count, in the plural; None counts all objects."""

    noun: str | None = Field(default=None, min_length=1, max_length=100)


class CountingAnswer(AnswerModel):
    """The number of objects."""

    count: int = Field(ge=0, le=MAX_COUNT)


class CountingTask(Task[CountingInputs, CountingAnswer]):
    """Counting, as a whole number."""

    inputs_model = CountingInputs
    answer_model = CountingAnswer
    max_tokens = 32

    def prompt(self, inputs: CountingInputs) -> str:
        return f"How many {inputs.noun or 'items'} are in this {self.noun}?"

    @override
    def _parse(self, text: str, inputs: CountingInputs) -> ParseResult[CountingAnswer]:
        """A stated total, or the only number, or a number that is the sum of the others."""
        text = _DENIED.sub(" ", _NOT_ONE.sub(" no", plain(text)))
        # The clause before "in total"; one pattern for the whole would take quadratic time.
        parts = _TOTAL_BEFORE.split(text)[:-1]
        before = [integers(_CLAUSE_END.split(part)[-1]) for part in parts]
        after = [integers(match["n"]) for match in _TOTAL_AFTER.finditer(text)]
        for stated, nearest in ((before, -1), (after, 0)):
            if any(stated):
                return _result([n for n in stated if n][-1][nearest], ambiguous=False)
        numbers = integers(text)
        if not numbers:
            return _result(0, ambiguous=False) if says_nothing(text) else ParseResult.unparsed()
        bounded = bool(_BOUND.search(text))
        if len(set(numbers)) == 1:
            summed = len(numbers) > 1 and bool(_SUMMED.search(text))
            return _result(numbers[0], ambiguous=bounded or summed)
        # Numbers without words are a list, not a sum: "1, 2, 3".
        wholes = (numbers[0], numbers[-1]) if re.search(r"[^\W\d]|=", text) else ()
        for whole in wholes:
            if 2 * whole == sum(numbers):
                return _result(whole, ambiguous=bounded)
        return _result(numbers[0], ambiguous=True)

    @override
    def render(self, answer: CountingAnswer, inputs: CountingInputs) -> str:
        return str(answer.count)

    def read_sample(self, sample: Sample) -> tuple[CountingInputs, CountingAnswer]:
        """Target: a whole number."""
        if not isinstance(sample.target, int) or isinstance(sample.target, bool):
            raise ValueError(f"target is {sample.target!r}; expected a whole number")
        return CountingInputs(), CountingAnswer(count=sample.target)

    def is_hit(self, answer: CountingAnswer | None, target: CountingAnswer) -> bool:
        return answer is not None and answer.count == target.count

    def _metrics(
        self, pairs: Sequence[tuple[CountingAnswer | None, CountingAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy` (exact; unparsed is wrong) and `mae` over the answers that hold a number."""
        scores = {"accuracy": proportion(sum(self.is_hit(a, t) for a, t in pairs), len(pairs))}
        errors = [float(abs(a.count - t.count)) for a, t in pairs if a is not None]
        if errors:
            scores["mae"] = bootstrap(errors, mean_of)
        return scores

    @override
    def form(self, inputs: CountingInputs) -> str:
        return "answer: /0|[1-9][0-9]{0,4}/"

    @override
    def words(self, answer: CountingAnswer, inputs: CountingInputs) -> str:
        return f"{answer.count} {inputs.noun or 'items'}"


TASKS = (
    CountingTask("counting", Modality.IMAGE, "Count the objects in a picture.", {"noun": "apples"}),
)


def _result(count: int, *, ambiguous: bool) -> ParseResult[CountingAnswer]:
    if not 0 <= count <= MAX_COUNT:
        return ParseResult.unparsed()
    return ParseResult.of(CountingAnswer(count=count), sure=not ambiguous)
