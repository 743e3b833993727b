"""Whether a face smiles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from typing_extensions import override

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.metrics import Estimate, proportion
from lamm_model.tasks.parsing import plain
from lamm_model.tasks.sample import Sample

_SMILE = r"(?:smil\w*|grin\w*|laugh\w*|beaming|happy|happily|cheerful)"
_DENIED = re.compile(
    r"\b(?:not|no(?! doubt)|never|without|isn't|aren't|doesn't|don't|does not|hardly|nor|neither)\b"
    rf"(?:\s+[\w-]+){{0,5}}?\s+{_SMILE}\b|\bunsmiling\b",
    re.IGNORECASE,
)
_STATED = re.compile(rf"\b{_SMILE}\b", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"\b(?:neutral|serious|stern|frown\w*|sad|straight face|expressionless|solemn|angry)\b",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^\W*(?:(?:the )?answer(?: is)?\W+)?(yes|no(?! doubt)|true|false)\b", re.IGNORECASE
)


class SmileInputs(TaskModel):
    """Nothing but the picture."""


class SmileAnswer(TaskModel):
    """Whether the person smiles."""

    smiling: bool


class SmileTask(Task[SmileInputs, SmileAnswer]):
    """Say whether the person in the picture smiles."""

    inputs_model = SmileInputs
    answer_model = SmileAnswer
    max_tokens = 32

    @override
    def prompt(self, inputs: SmileInputs) -> str:
        """Asks for yes or no."""
        return "Is the person in this picture smiling? Answer yes or no."

    @override
    def parse(self, text: str, inputs: SmileInputs) -> ParseResult[SmileAnswer]:
        """A leading yes or no, else what is said of the mouth; silence about both is no answer."""
        text = plain(text)
        rest, denials = _DENIED.subn(" ", text)
        said = {False} if denials or _OTHERWISE.search(rest) else set()
        if _STATED.search(rest):
            said.add(True)
        if leading := _LEADING.match(text):
            first = leading[1].lower() in {"yes", "true"}
            return _result(first, agreed=not said - {first})
        if not said:
            return ParseResult.unparsed()
        # "Not frowning but smiling" and the like: a smile that is stated outweighs a denial.
        return _result(True in said, agreed=len(said) == 1)

    @override
    def render(self, answer: SmileAnswer, inputs: SmileInputs) -> str:
        """`Yes, the person is smiling.` or its denial."""
        return "Yes, the person is smiling." if answer.smiling else "No, the person is not smiling."

    def read_sample(self, sample: Sample) -> tuple[SmileInputs, SmileAnswer]:
        """Target: true or false, or CelebA's "1" and "-1"."""
        if isinstance(sample.target, bool):
            return SmileInputs(), SmileAnswer(smiling=sample.target)
        if str(sample.target) not in {"1", "-1"}:
            raise ValueError(f"target is {sample.target!r}; it must be true, false, 1 or -1")
        return SmileInputs(), SmileAnswer(smiling=str(sample.target) == "1")

    def is_hit(self, answer: SmileAnswer | None, target: SmileAnswer) -> bool:
        """The same."""
        return answer == target

    def score(
        self, pairs: Sequence[tuple[SmileAnswer | None, SmileAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy`; an unparsed answer is wrong."""
        if not pairs:
            return {}
        return {"accuracy": proportion(sum(self.is_hit(a, t) for a, t in pairs), len(pairs))}


def _result(smiling: bool, *, agreed: bool) -> ParseResult[SmileAnswer]:
    return ParseResult(
        SmileAnswer(smiling=smiling), ParseStatus.OK if agreed else ParseStatus.PARTIAL
    )
