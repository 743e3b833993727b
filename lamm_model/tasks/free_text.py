"""Free words about a picture: an answer to an open question, and a caption."""

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
    """Words on one line, without double quotes."""

    text: str = Field(min_length=1, max_length=4000)

    @field_validator("text")
    @classmethod
    def _one_clean_line(cls, text: str) -> str:
        if text != text.strip() or '"' in text or not text.isprintable():
            raise ValueError(
                f"text {text[:80]!r} must be one stripped, printable line without double quotes"
            )
        return text


class TextTarget(TextAnswer):
    """A right answer and all that are as right; `text` is the first of `accepted`."""

    accepted: tuple[str, ...]


class QuestionInputs(TaskModel):
    """The question about the picture."""

    question: str = Field(min_length=1, max_length=4000)


class CaptionInputs(TaskModel):
    """Nothing but the picture."""


class OpenQuestionTask(Task[QuestionInputs, TextAnswer]):
    """Answer a question in a few words of one's own."""

    inputs_model = QuestionInputs
    answer_model = TextAnswer
    max_tokens = 64

    def prompt(self, inputs: QuestionInputs) -> str:
        """The question as it is."""
        return inputs.question

    @override
    def parse(self, text: str, inputs: QuestionInputs) -> ParseResult[TextAnswer]:
        """What stands after the last "the answer is", else a short text, else its first sentence.

        A first sentence of more than six words is partial: it may hold more than the answer.
        """
        stated = [text[m.end() :].split("\n", maxsplit=1)[0] for m in _ANSWER.finditer(text)]
        rest = next((words for words in stated if _unquoted(words)), stated[-1] if stated else text)
        said = _unquoted(rest) or _SENTENCE_END.split(rest.strip(), maxsplit=1)[0]
        said = said.strip().split("\n")[0]
        return _result(said, bool(stated) or len(said.split()) <= SHORT_ANSWER_WORDS)

    def render(self, answer: TextAnswer, inputs: QuestionInputs) -> str:
        """The words alone, or `Answer: "..."` where they would be read otherwise."""
        read = self.parse(answer.text, inputs)
        if read.status is ParseStatus.OK and read.answer == TextAnswer(text=answer.text):
            return answer.text
        return f'Answer: "{answer.text}"'

    def read_sample(self, sample: Sample) -> tuple[QuestionInputs, TextTarget]:
        """Target: an answer, or a list of answers that are all right."""
        return QuestionInputs(question=sample.question), _target(sample.target, "answer")

    def is_hit(self, answer: TextAnswer | None, target: TextAnswer) -> bool:
        """The same words as one of the right answers, whatever their case, articles or number."""
        return answer is not None and any(
            _content(answer.text) == _content(right) for right in accepted(target)
        )

    def score(
        self, pairs: Sequence[tuple[TextAnswer | None, TextAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy` (the same words) and `token_f1` (shared words, the best right answer)."""
        if not pairs:
            return {}
        hits = sum(self.is_hit(a, t) for a, t in pairs)
        return {"accuracy": proportion(hits, len(pairs)), **_overlap(pairs)}

    @override
    def words(self, answer: TextAnswer, inputs: QuestionInputs) -> str:
        """The text alone."""
        return answer.text


class CaptionTask(Task[CaptionInputs, TextAnswer]):
    """Say in a sentence what the picture shows."""

    inputs_model = CaptionInputs
    answer_model = TextAnswer
    max_tokens = 96
    primary_metric = "token_f1"

    @override
    def prompt(self, inputs: CaptionInputs) -> str:
        """Asks for a sentence."""
        return f"What does this {self.noun} show? Describe it in one sentence."

    @override
    def parse(self, text: str, inputs: CaptionInputs) -> ParseResult[TextAnswer]:
        """The text without "The caption is:" and quotes around it; lines become one."""
        introduced = _CAPTION.match(text)
        said = introduced["text"] if introduced else " ".join(text.split())
        return _result(_unquoted(said) or said, True)

    @override
    def render(self, answer: TextAnswer, inputs: CaptionInputs) -> str:
        """The sentence alone, or `The caption is: "..."` where it would be read otherwise."""
        if self.parse(answer.text, inputs).answer == TextAnswer(text=answer.text):
            return answer.text
        return f'The caption is: "{answer.text}"'

    def read_sample(self, sample: Sample) -> tuple[CaptionInputs, TextTarget]:
        """Target: a sentence, or the list of sentences that people wrote."""
        return CaptionInputs(), _target(sample.target, "sentence")

    def is_hit(self, answer: TextAnswer | None, target: TextAnswer) -> bool:
        """Word for word one of the sentences; captions are better told apart by `score`."""
        return answer is not None and any(
            tokens(answer.text) == tokens(right) for right in accepted(target)
        )

    def score(
        self, pairs: Sequence[tuple[TextAnswer | None, TextAnswer]]
    ) -> Mapping[str, Estimate]:
        """`token_f1`: shared words with the closest sentence; BLEU is the protocols' affair."""
        return _overlap(pairs) if pairs else {}

    @override
    def words(self, answer: TextAnswer, inputs: CaptionInputs) -> str:
        """The text alone."""
        return answer.text


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
    """Every right answer of a target."""
    return target.accepted if isinstance(target, TextTarget) else (target.text,)


def token_f1(said: str, right: str) -> float:
    """Harmonic mean of the shares of shared words (with repeats), 0 to 1."""
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
    return ParseResult(TextAnswer(text=kept), ParseStatus.OK if sure else ParseStatus.PARTIAL)


def _target(target: object, noun: str) -> TextTarget:
    texts = [target] if isinstance(target, str) else target
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"target is {target!r}; it must be a {noun} or a list of them")
    clean = tuple(" ".join(str(text).replace('"', "").split()) for text in texts)
    return TextTarget(text=clean[0], accepted=clean)
