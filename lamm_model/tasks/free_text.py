"""Free text about a picture: answers to open questions, and captions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import ParseResult, ParseStatus, Task
from lamm_model.tasks.metrics import Estimate, bootstrap, mean_of, proportion
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.words import tokens
from lamm_model.tasks.sample import Sample

SHORT_ANSWER_WORDS = 6
_ANSWER = re.compile(
    r"\b(?:final\s+)?answer\s*(?:would be|is|:)\s*:?[^\S\n]*(?=[^\s])", re.IGNORECASE
)
_CAPTION = re.compile(
    r"^\W*(?:the |a |one )?(?:possible |good )?(?:caption|description)[^\n:\"]{0,40}?"
    r"(?:\bis|\bcould be|\breads|:)\s*:?\s*(?P<text>[^\n]+)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'^"([^"\n]+)"[.!]?$')
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_ARTICLES = frozenset({"a", "an", "the"})


class TextAnswer(AnswerModel):
    """Text on one line, without double quotes."""

    text: str = Field(min_length=1, max_length=4000)

    @field_validator("text")
    @classmethod
    def _one_clean_line(cls, text: str) -> str:
        if text != text.strip() or '"' in text or not text.isprintable():
            raise ValueError(
                f"text {text[:80]!r} is not one stripped, printable line without double quotes"
            )
        return text


class TextTarget(TextAnswer):
    """All accepted answers; `text` is the first of them."""

    accepted: tuple[str, ...]


class QuestionInputs(TaskModel):
    """The question about the picture."""

    question: str = Field(min_length=1, max_length=4000)


class CaptionInputs(TaskModel):
    """No inputs besides the picture."""


class OpenQuestionTask(Task[QuestionInputs, TextAnswer]):
    """An open question, answered in a few words."""

    inputs_model = QuestionInputs
    answer_model = TextAnswer
    max_tokens = 64

    def prompt(self, inputs: QuestionInputs) -> str:
        return inputs.question

    @override
    def _parse(self, text: str, inputs: QuestionInputs) -> ParseResult[TextAnswer]:
        """The words after the last "the answer is", or a short text, or its first sentence.

        A first sentence of more than six words is partial: it may hold more than the answer.
        """
        stated = [text[m.end() :].split("\n", maxsplit=1)[0] for m in _ANSWER.finditer(text)]
        rest = next((words for words in stated if _unquoted(words)), stated[-1] if stated else text)
        said = _unquoted(rest) or _SENTENCE_END.split(rest.strip(), maxsplit=1)[0]
        said = said.strip().split("\n")[0]
        return _result(said, bool(stated) or len(said.split()) <= SHORT_ANSWER_WORDS)

    def render(self, answer: TextAnswer, inputs: QuestionInputs) -> str:
        """The text alone, or `Answer: "..."` where `parse` would read it differently."""
        read = self.parse(answer.text, inputs)
        if read.status is ParseStatus.OK and read.answer == TextAnswer(text=answer.text):
            return answer.text
        return f'Answer: "{answer.text}"'

    def read_sample(self, sample: Sample) -> tuple[QuestionInputs, TextTarget]:
        """Target: an answer, or a list of accepted answers."""
        return QuestionInputs(question=sample.question), _target(sample.target, "answer")

    def is_hit(self, answer: TextAnswer | None, target: TextAnswer) -> bool:
        """The words of an accepted answer, ignoring case, articles and plurals."""
        return answer is not None and any(
            _content(answer.text) == _content(right) for right in accepted(target)
        )

    def _metrics(
        self, pairs: Sequence[tuple[TextAnswer | None, TextAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy` (same words) and `token_f1` (shared words with the closest answer)."""
        hits = sum(self.is_hit(a, t) for a, t in pairs)
        return {"accuracy": proportion(hits, len(pairs)), **_overlap(pairs)}


class CaptionTask(Task[CaptionInputs, TextAnswer]):
    """A caption of one sentence."""

    inputs_model = CaptionInputs
    answer_model = TextAnswer
    max_tokens = 96
    primary_metric = "token_f1"

    @override
    def prompt(self, inputs: CaptionInputs) -> str:
        return f"What does this {self.noun} show? Describe it in one sentence."

    @override
    def _parse(self, text: str, inputs: CaptionInputs) -> ParseResult[TextAnswer]:
        """The text without a leading "The caption is:" and quotes; lines are joined."""
        introduced = _CAPTION.match(text)
        said = introduced["text"] if introduced else " ".join(text.split())
        return _result(_unquoted(said) or said, True)

    @override
    def render(self, answer: TextAnswer, inputs: CaptionInputs) -> str:
        """The text alone, or `The caption is: "..."` where `parse` would read it differently."""
        if self.parse(answer.text, inputs).answer == TextAnswer(text=answer.text):
            return answer.text
        return f'The caption is: "{answer.text}"'

    def read_sample(self, sample: Sample) -> tuple[CaptionInputs, TextTarget]:
        """Target: a sentence, or a list of reference sentences."""
        return CaptionInputs(), _target(sample.target, "sentence")

    def is_hit(self, answer: TextAnswer | None, target: TextAnswer) -> bool:
        """Equal to a reference word for word; `score` is the better measure of captions."""
        return answer is not None and any(
            tokens(answer.text) == tokens(right) for right in accepted(target)
        )

    def _metrics(
        self, pairs: Sequence[tuple[TextAnswer | None, TextAnswer]]
    ) -> Mapping[str, Estimate]:
        """`token_f1`: shared words with the closest reference; the protocols compute BLEU."""
        return _overlap(pairs)


TASKS = (
    OpenQuestionTask(
        "vqa",
        Modality.IMAGE,
        "Answer an open question about a picture in a few words.",
        {"question": "Which animal lies on the sofa?"},
    ),
    CaptionTask("caption", Modality.IMAGE, "Say in a sentence what a picture shows."),
)


def accepted(target: TextAnswer) -> tuple[str, ...]:
    """All accepted answers of a target."""
    return target.accepted if isinstance(target, TextTarget) else (target.text,)


def token_f1(said: str, right: str) -> float:
    """F1 of the words in common, repeats counted, 0 to 1."""
    first, second = Counter(_content(said)), Counter(_content(right))
    shared = sum((first & second).values())
    total = sum(first.values()) + sum(second.values())
    return 2 * shared / total if total else 0.0


def _overlap(pairs: Sequence[tuple[TextAnswer | None, TextAnswer]]) -> Mapping[str, Estimate]:
    values = [
        0.0 if a is None else max(token_f1(a.text, right) for right in accepted(t))
        for a, t in pairs
    ]
    return {"token_f1": bootstrap(values, mean_of)}


def _content(text: str) -> list[str]:
    words = tokens(text)
    return [word for word in words if word not in _ARTICLES] or words


def _unquoted(text: str) -> str | None:
    match = _QUOTED.match(text.strip())
    return match[1] if match else None


def _result(said: str, sure: bool) -> ParseResult[TextAnswer]:
    kept = "".join(c for c in said.replace('"', "") if c.isprintable()).strip()[:4000].strip()
    if not kept:
        return ParseResult.unparsed()
    return ParseResult.of(TextAnswer(text=kept), sure=sure)


def _target(target: object, noun: str) -> TextTarget:
    texts = [target] if isinstance(target, str) else target
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"target is {target!r}; expected a {noun} or a list of them")
    clean = tuple(" ".join(str(text).replace('"', "").split()) for text in texts)
    return TextTarget(text=clean[0], accepted=clean)
