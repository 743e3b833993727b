"""OCR of all words in a picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import ParseResult, Task
from lamm_model.tasks.metrics import DetectionCounts, Estimate, precision_recall_f1
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.refusals import cannot_read, shows_no_text
from lamm_model.tasks.reading.words import plain
from lamm_model.tasks.sample import Sample

_LEAD = re.compile(
    r"^.*?(?:\b(?:says?|reads?|spells?)\b:?|\b(?:words?|text|phrases?)\b[^:.\n]{0,60}?"
    r"(?:\b(?:are|is|include)\b:?(?!\s+(?:written|visible|shown|displayed|present|there|in|on)\b)|:)|^[^:\n]{0,80}:|\b(?:see|read|shows?|with|contains?|has)\s+"
    r"(?:the\s+)?(?:words?|text)\b)\s+",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^\s*[-*\u2022]\s+|(?:^|(?<=\s))\d{1,2}[.)]\s+", re.MULTILINE)
# A text with one of these words is a sentence, even if short, unless it introduces a list.
_SENTENCE_WORDS = frozenset({
    "i", "see", "a", "an", "the", "is", "are", "there", "this", "it", "shows", "image", "picture"
})  # fmt: skip
_EDGES = " .,:;!?()[]{}<>*\u2022\u201c\u201d'`"
_EDGE_TEST = re.compile(r"\w")
SHORT_LIST_WORDS = 4


class OcrWordsInputs(TaskModel):
    """No inputs besides the picture."""


class OcrWordsAnswer(AnswerModel):
    """The words in reading order, without spaces and double quotes."""

    words: tuple[str, ...]

    @field_validator("words")
    @classmethod
    def _single_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word or not word.isprintable() or any(c.isspace() or c == '"' for c in word):
                raise ValueError(f"word {word!r} is empty or has a space or a double quote")
        return words


class OcrWordsTask(Task[OcrWordsInputs, OcrWordsAnswer]):
    """OCR of all words."""

    inputs_model = OcrWordsInputs
    answer_model = OcrWordsAnswer
    max_tokens = 128
    primary_metric = "word_f1"

    @override
    def prompt(self, inputs: OcrWordsInputs) -> str:
        return f"Which words are written in this {self.noun}? Answer with a list of words."

    @override
    def _parse(self, text: str, inputs: OcrWordsInputs) -> ParseResult[OcrWordsAnswer]:
        """Quoted words, or a list after "says" or a colon, or every word of the text.

        A sentence that does not mark the words it read is partial: its own words are in the answer.
        """
        quotes = re.findall(r'"([^"\n]+)"', text)
        quotes = quotes or re.findall(r"\u201c([^\u201c\u201d\n]+)\u201d", text)
        if quotes:
            return _result(" ".join(quotes).split(), sure=True)
        if cannot_read(plain(text)):
            return ParseResult.unparsed()
        if shows_no_text(plain(text)):
            return ParseResult.of(OcrWordsAnswer(words=()), sure=True)
        rest, introductions = _LEAD.subn("", plain(text).strip(), count=1)
        rest, items = _ITEM.subn(" ", rest)
        pieces = re.split(r"[,;\n/|]|\band\b", rest)
        words = [word for piece in pieces for word in _cleaned(piece)]
        if [word.casefold() for word in words] == ["none"]:
            return ParseResult.of(OcrWordsAnswer(words=()), sure=True)
        short = len(pieces) > 1 or len(words) <= SHORT_LIST_WORDS
        listed = short and not _SENTENCE_WORDS & {word.casefold() for word in words}
        sure = listed or bool(introductions or items)
        return _result(words, sure=sure) if words else ParseResult.unparsed()

    @override
    def parse_scored(
        self, text: str, inputs: OcrWordsInputs, target: OcrWordsAnswer
    ) -> ParseResult[OcrWordsAnswer]:
        """An answer that is the target's words and nothing else, in any case, is the target.

        The words may be in a list with commas.
        """
        said, there = text.casefold().split(), " ".join(target.words).casefold().split()
        listed = [word.removesuffix(",") for word in said[:-1]] + said[-1:]
        if there and there in (said, listed):
            return ParseResult.of(target, sure=True)
        return self.parse(text, inputs)

    @override
    def render(self, answer: OcrWordsAnswer, inputs: OcrWordsInputs) -> str:
        """`"HOTEL", "PARIS"`."""
        if not answer.words:
            return "There are no words."
        return ", ".join(f'"{word}"' for word in answer.words)

    def read_sample(self, sample: Sample) -> tuple[OcrWordsInputs, OcrWordsAnswer]:
        """Target: a list of words."""
        words = sample.target
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"target is {words!r}; expected a list of words")
        return OcrWordsInputs(), OcrWordsAnswer(words=tuple(" ".join(words).split()))

    def is_hit(self, answer: OcrWordsAnswer | None, target: OcrWordsAnswer) -> bool:
        """The same multiset of words, ignoring order, case and punctuation."""
        return answer is not None and word_counts(answer, target).f1 == 1.0

    def _metrics(
        self, pairs: Sequence[tuple[OcrWordsAnswer | None, OcrWordsAnswer]]
    ) -> Mapping[str, Estimate]:
        """`word_precision`, `word_recall`, `word_f1` over all words; unparsed has none."""
        counts = [word_counts(answer, target) for answer, target in pairs]
        return {f"word_{name}": value for name, value in precision_recall_f1(counts).items()}

    @override
    def words(self, answer: OcrWordsAnswer, inputs: OcrWordsInputs) -> str:
        return " ".join(answer.words) or "no words"


TASKS = (OcrWordsTask("ocr_words", Modality.IMAGE, "Read all the words that a picture shows."),)


def word_counts(answer: OcrWordsAnswer | None, target: OcrWordsAnswer) -> DetectionCounts:
    """Matched, spurious and missed words, repeats counted."""
    said = Counter(map(normalised, answer.words if answer else ()))
    there = Counter(map(normalised, target.words))
    shared = sum((said & there).values())
    return DetectionCounts(shared, said.total() - shared, there.total() - shared)


def normalised(word: str) -> str:
    """The word as scores compare it: case-folded, punctuation stripped from its ends."""
    folded = plain(word).casefold()
    return folded.strip(_EDGES + '"-') or folded


def _cleaned(piece: str) -> list[str]:
    words = [word.replace('"', "").strip(_EDGES) for word in piece.split()]
    return [word for word in words if _EDGE_TEST.search(word)]


def _result(words: Sequence[str], *, sure: bool) -> ParseResult[OcrWordsAnswer]:
    printable = ["".join(c for c in word if c.isprintable()) for word in words]
    kept = tuple(word for word in printable if word)
    if not kept:
        return ParseResult.unparsed()
    return ParseResult.of(OcrWordsAnswer(words=kept), sure=sure)
