"""Whether the person in a picture smiles."""

from __future__ import annotations

import re

from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import Option, ParseResult, Task
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.words import plain
from lamm_model.tasks.sample import Sample

_SMILE = r"(?:smil\w*|grin\w*|laugh\w*|beaming|happy|happily|cheerful)"
_OTHER = (
    r"(?:neutral|serious\w*|stern|frown\w*|sad|unhappy|straight face|expressionless|solemn|angry"
    r"|unsmiling|non-?\s?smil\w*)"
)
# A negation covers the words that belong to it and ends before another statement: "does not have a
# beard and is smiling".
_REACH = (
    r"(?:\s+(?!(?:and|but|yet|while|because|though|although|with|at|who|which|wearing|only"
    r"|stop\w*|help)\b)[\w'-]+){0,5}?"
)
_NOT = (
    r"(?:\b(?:not|no(?! doubt)|never|without|cannot|hardly|barely|nor|neither|than|instead of|false"
    r"|lacks?|lacking|fails?|(?:has|have|had) stopped)|n't)\b"
)
_DENIED = re.compile(
    rf"{_NOT}{_REACH}\s+{_SMILE}\b(?:,?\s+n?or\s+{_SMILE}\b)*|\b{_SMILE}\s+(?:is\s+(?:absent|missing)"
    r"|(?:is not|isn't|cannot be|can't be)\s+(?:visible|seen|present|there))\b",
    re.IGNORECASE,
)
_DENIED_OTHER = re.compile(
    rf"{_NOT}{_REACH}\s+{_OTHER}\b(?:(?:,?\s+n?or|,)\s+{_OTHER}\b)*", re.IGNORECASE
)
_STATED = re.compile(rf"\b{_SMILE}\b", re.IGNORECASE)
_OTHERWISE = re.compile(rf"\b{_OTHER}\b", re.IGNORECASE)
_MAYBE = re.compile(r"\b(?:might|may|could|perhaps|possibly|maybe)\b", re.IGNORECASE)

# Questions, conditions and doubts state nothing; "as if" does.
_QUESTION = re.compile(r"(?:^|(?<=[.!?\n]))[^.!?\n]*(?:\?|\byes\s*(?:/|or)\s*no\b)", re.IGNORECASE)
_OPEN = re.compile(
    r"(?<!\bas )\b(?:if|whether)\b[^.,;!\n]*?(?=[.,;!\n]|\bbut\b|$)"
    rf"|\b(?:about|going|trying) to {_SMILE}\b"
    r"|(?:\bnot|n't|\bhard|\bdifficult|\bimpossible|\bunable|\bcannot)\s+(?:\w+\s+){0,2}?"
    r"(?:sure|certain|clear|possible|able|know|tell|say|determine|judge)\b"
    r"[^.,;!\n]*?(?=[.,;!\n]|\bbut\b|$)|\bun(?:sure|clear|certain)\b",
    re.IGNORECASE,
)
# "Yes" and "no" are verdicts at the start of a sentence and after a colon or "answer is", unless a
# noun follows ("no beard"). The number of leading marks is bounded: thousands of line feeds would
# take quadratic time.
_VERDICT = re.compile(
    r"(?:^|[.!:;=\n]|\s-\s"
    r"|\b(?:answer|answer is|answer would be|so|say|think|probably|(?:smiling|smile) is)\b)"
    r"[\s*\"'`(\[:,-]{0,40}\b(?:(?P<yes>yes|true(?! that))|(?P<no>(?:no|false|not true)"
    r"(?=[\s*\"'`)\]]*(?:$|[.,;!:\n-])|\s+(?:she|he|they|the|this|it|there|i|one|because|as)\b)))\b"
    r"|[:=]\s*(?:(?P<one>1)|(?P<zero>-1|0))\b",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"(?:^|(?<=[.!?;\n]))[^.!?;\n]*?(?:[:=]|\s-\s)[\s*\"'`(\[]*"
    r"(?:yes|no|true|false|not true|-?[01])\b",
    re.IGNORECASE,
)


class SmileInputs(TaskModel):
    """No inputs besides the picture."""


class SmileAnswer(AnswerModel):
    """Whether the person smiles."""

    smiling: bool


class SmileTask(Task[SmileInputs, SmileAnswer]):
    """Yes or no: does the person in the picture smile?"""

    inputs_model = SmileInputs
    answer_model = SmileAnswer
    max_tokens = 32

    @override
    def prompt(self, inputs: SmileInputs) -> str:
        return "Is the person in this picture smiling? Answer yes or no."

    @override
    def _parse(self, text: str, inputs: SmileInputs) -> ParseResult[SmileAnswer]:
        """The last "yes" or "no" given as a verdict, or a statement about the smile.

        Questions, conditions and doubts are not statements; a text without a statement is unparsed.
        """
        text = _QUESTION.sub(". ", plain(text))
        verdicts = [bool(m["yes"] or m["one"]) for m in _VERDICT.finditer(text)]
        rest, denials = _DENIED.subn(" ", _OPEN.sub(" ", text))
        rest, others = _OTHERWISE.subn(" ", _DENIED_OTHER.sub(" ", rest))
        said = {False} if denials or others else set()
        if verdicts:
            # The text may repeat the question before its verdict: "smiling: no".
            words = _ECHO.sub(" ", rest)
            said |= {True} if _STATED.search(words) else set()
            agreed = not (said | set(verdicts)) - {verdicts[-1]}
            return ParseResult.of(SmileAnswer(smiling=verdicts[-1]), sure=agreed)
        if _STATED.search(rest):
            said.add(True)
        if not said:
            return ParseResult.unparsed()
        # A stated smile outweighs a negation, as in "not frowning but smiling".
        agreed = len(said) == 1 and not _MAYBE.search(rest)
        return ParseResult.of(SmileAnswer(smiling=True in said), sure=agreed)

    @override
    def render(self, answer: SmileAnswer, inputs: SmileInputs) -> str:
        """`Yes, the person is smiling.` or its negation."""
        return "Yes, the person is smiling." if answer.smiling else "No, the person is not smiling."

    def read_sample(self, sample: Sample) -> tuple[SmileInputs, SmileAnswer]:
        """Target: true or false, or CelebA's "1" and "-1"."""
        if isinstance(sample.target, bool):
            return SmileInputs(), SmileAnswer(smiling=sample.target)
        if str(sample.target) not in {"1", "-1"}:
            raise ValueError(f"target is {sample.target!r}; expected true, false, 1 or -1")
        return SmileInputs(), SmileAnswer(smiling=str(sample.target) == "1")

    @override
    def options(self, inputs: SmileInputs) -> tuple[Option, ...]:
        return (
            Option("yes", SmileAnswer(smiling=True), ("Yes", "yes")),
            Option("no", SmileAnswer(smiling=False), ("No", "no")),
        )

    @override
    def words(self, answer: SmileAnswer, inputs: SmileInputs) -> str:
        return "smiling" if answer.smiling else "not smiling"


TASKS = (SmileTask("facial_smile", Modality.IMAGE, "Say whether the person in a picture smiles."),)
