"""OCR of one word in a picture."""

from __future__ import annotations

import re

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import ParseResult, Task
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.refusals import cannot_read, shows_no_text
from lamm_model.tasks.reading.words import plain, quoted
from lamm_model.tasks.sample import Sample

_AFTER_VERB = re.compile(
    r"\b(?:says?|reads?|spells?|spelled|(?:word|text|answer)(?: is|:)|written is)"
    r"\s*:?\s*(?:the word\s+)?(?P<word>[^\W_]+(?:[-'][^\W_]+)*)",
    re.IGNORECASE,
)
_SPELLED = re.compile(r"(?:[^\W_]-){2,}[^\W_]")
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
# After "the word is", these describe the word instead of quoting it.
_FUNCTION_WORDS = frozenset({
    "a", "an", "the", "in", "on", "at", "of", "not", "too", "very", "written", "printed",
    "displayed", "shown", "located", "hard", "difficult", "partially", "that", "as", "just",
    "spelled", "spelt", "always"
})  # fmt: skip
# A sign may say NONE; in lower case these words say that there is no word.
_NO_WORD = frozenset({"none", "nothing", "unknown", "unclear", "illegible", "unreadable", "blurry"})


class OcrInputs(TaskModel):
    """No inputs besides the picture."""


class OcrAnswer(AnswerModel):
    """The text, on one line and without double quotes."""

    text: str = Field(min_length=1, max_length=1000)

    @field_validator("text")
    @classmethod
    def _one_clean_line(cls, text: str) -> str:
        if text != text.strip() or any(c in '"\u201c\u201d' or not c.isprintable() for c in text):
            raise ValueError(
                f"text {text!r} is not one stripped, printable line without double quotes"
            )
        return text


class OcrTask(Task[OcrInputs, OcrAnswer]):
    """OCR of one word."""

    inputs_model = OcrInputs
    answer_model = OcrAnswer
    max_tokens = 32
    primary_metric = "word_accuracy"

    @override
    def prompt(self, inputs: OcrInputs) -> str:
        return f"What word is written in this {self.noun}?"

    @override
    def _parse(self, text: str, inputs: OcrInputs) -> ParseResult[OcrAnswer]:
        """Quoted text, or the only word, or the word after "says", or the only word in capitals."""
        if quotes := quoted(text):
            return _result(quotes[0], ambiguous=len({q.strip().casefold() for q in quotes}) > 1)
        words = _WORD.findall(text)
        if len(words) == 1:
            refused = words[0].casefold() in _NO_WORD and not words[0].isupper()
            return ParseResult.unparsed() if refused else _result(_joined(words[0]))
        if shows_no_text(plain(text)) or cannot_read(plain(text)):
            return ParseResult.unparsed()
        for match in _AFTER_VERB.finditer(text):
            if match["word"] not in _FUNCTION_WORDS:
                return _result(_joined(match["word"]))
        capitals = _CAPITALS.findall(text)
        if capitals:
            return _result(capitals[0], ambiguous=len(set(capitals)) > 1)
        return _result(words[-1], ambiguous=True) if words else ParseResult.unparsed()

    @override
    def parse_scored(
        self, text: str, inputs: OcrInputs, target: OcrAnswer
    ) -> ParseResult[OcrAnswer]:
        """An answer that is the target and nothing else, in any case, is the target."""
        if text.strip().casefold() == target.text.strip().casefold():
            return ParseResult.of(target, sure=True)
        return self.parse(text, inputs)

    @override
    def render(self, answer: OcrAnswer, inputs: OcrInputs) -> str:
        """`It says "LAMP".`"""
        return f'It says "{answer.text}".'

    def read_sample(self, sample: Sample) -> tuple[OcrInputs, OcrAnswer]:
        """Target: the word."""
        if not isinstance(sample.target, str):
            raise ValueError(f"target is {sample.target!r}; expected a word")
        return OcrInputs(), OcrAnswer(text=sample.target)

    def is_hit(self, answer: OcrAnswer | None, target: OcrAnswer) -> bool:
        """The same text, ignoring case."""
        return answer is not None and answer.text.casefold() == target.text.casefold()


TASKS = (OcrTask("ocr", Modality.IMAGE, "Read the word that a picture shows."),)


def _result(text: str, *, ambiguous: bool = False) -> ParseResult[OcrAnswer]:
    try:
        answer = OcrAnswer(text=text.strip())
    except ValueError:
        return ParseResult.unparsed()
    return ParseResult.of(answer, sure=not ambiguous)


def _joined(word: str) -> str:
    """A word spelled letter by letter ("L-A-M-P") in one piece; other words unchanged."""
    return word.replace("-", "") if _SPELLED.fullmatch(word) else word
