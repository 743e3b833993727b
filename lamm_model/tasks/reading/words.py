"""Words and labels in free text, as pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lamm_model.tasks.reading.denials import is_negated

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_THOUSANDS = re.compile(r"(?<![\w,.])[1-9]\d{0,2}(?:,\d{3})+(?![\w,])")
_IRREGULAR: Mapping[str, str] = {
    "people": "person",
    "persons": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "mice": "mouse",
    "buses": "bus",
    "tee": "t",
}
# Pattern of a plural, number of letters to remove, and their replacement; otherwise an "s".
_PLURALS = (
    (re.compile(r"ies$"), 3, "y"),
    (re.compile(r"(shel|scar|kni|wi|lea|loa|thie|hal|cal|wol|el)ves$"), 3, "f"),
    (re.compile(r"(ss|sh|ch|x|z)es$"), 2, ""),
)
_SHORTEST_PLURAL = 4

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen"
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBERS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * tens for tens, word in enumerate(_TENS, start=2)},
}

_WORD_OR_BREAK = re.compile(rf"{_TOKEN.pattern}|[.,;:!?\n]")
# Words between the items of a list: "a cat, a dog or a bird".
_LISTING = frozenset({"or", "nor", "a", "an", "the", "any"})


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """A label in a text: its index in the label list and the range of its tokens."""

    label: int
    start: int
    end: int
    negated: bool


def plain(text: str) -> str:
    """NFKC-normalised text with straight quotes, plain hyphens and minus signs."""
    text = unicodedata.normalize("NFKC", text)
    for fancy, simple in (
        ("\u2019", "'"),
        ("\u2018", "'"),
        ("\u2212", "-"),
        ("\u2010", "-"),
        ("\u2011", "-"),
    ):
        text = text.replace(fancy, simple)
    return text


def tokens(text: str) -> list[str]:
    """Case-folded words and numbers in canonical form: singular, numbers as digits."""
    return [canonical(token) for token in _TOKEN.findall(_folded(text))]


def token_matches(text: str) -> Iterator[re.Match[str]]:
    """The words and numbers of `tokens` as they are in the case-folded text."""
    return _TOKEN.finditer(_folded(text))


def _folded(text: str) -> str:
    """Plain, case-folded text without thousands separators: "1,000" is "1000"."""
    return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), plain(text).casefold())


def canonical(token: str) -> str:
    """The singular of a case-folded word, or digits for a number below 100."""
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if token in NUMBERS:
        return str(NUMBERS[token])
    plural = len(token) >= _SHORTEST_PLURAL and token.endswith("s")
    if not plural or token.endswith(("ss", "us", "is")):
        return token
    for pattern, cut, ending in _PLURALS:
        if pattern.search(token):
            return token[:-cut] + ending
    return token[:-1]


def label_spellings(labels: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """Every token sequence that names a label, longest first, with the label's index.

    A part of a label such as "T-shirt/top" names it too, unless the part names two labels.
    """
    whole = {tuple(tokens(label)): index for index, label in enumerate(labels)}
    parts: dict[tuple[str, ...], set[int]] = {}
    for index, label in enumerate(labels):
        for part in label.split("/") if "/" in label else ():
            parts.setdefault(tuple(tokens(part)), set()).add(index)
    for spelling, owners in parts.items():
        if len(owners) == 1:
            whole.setdefault(spelling, next(iter(owners)))
    return sorted(((s, i) for s, i in whole.items() if s), key=lambda pair: -len(pair[0]))


def find_labels(text: str, labels: Sequence[str]) -> list[LabelMatch]:
    """Labels that the text names, in order; a longer label hides shorter ones inside it."""
    words, starts = _clauses(text)
    taken = [False] * len(words)
    found: list[LabelMatch] = []
    for spelling, label in label_spellings(labels):
        for start in range(len(words) - len(spelling) + 1):
            end = start + len(spelling)
            if tuple(words[start:end]) == spelling and not any(taken[start:end]):
                taken[start:end] = [True] * len(spelling)
                clause = words[starts[start] : start]
                found.append(LabelMatch(label, start, end, is_negated(clause, len(clause))))
    return _denied_as_lists(sorted(found, key=lambda match: match.start), words)


def _clauses(text: str) -> tuple[list[str], list[int]]:
    """`tokens` of a text, and the index of the first token of each one's clause."""
    words: list[str] = []
    starts: list[int] = []
    start = 0
    for token in _WORD_OR_BREAK.findall(_folded(text)):
        if token[0] in ".,;:!?\n":
            start = len(words)
            continue
        words.append(canonical(token))
        starts.append(start)
    return words, starts


def _denied_as_lists(found: Sequence[LabelMatch], words: Sequence[str]) -> list[LabelMatch]:
    """Matches, with a negation extended over a list: "not a cat, a dog or a bird".

    Only a list with "or" or "nor" is one: "not a cat, a dog" names a dog.
    """
    denied = [match.negated for match in found]
    for index, match in enumerate(found):
        if not match.negated:
            continue
        end, last = match.end, index
        for other in range(index + 1, len(found)):
            between = words[end : found[other].start]
            if not set(between) <= _LISTING:
                break
            if {"or", "nor"} & set(between):
                last = other
            end = found[other].end
        denied[index : last + 1] = [True] * (last + 1 - index)
    return [replace(m, negated=is_denied) for m, is_denied in zip(found, denied, strict=True)]


def quoted(text: str) -> list[str]:
    """Quoted texts: all in double quotes, or else in curly, or else in single quotes."""
    for pattern in (
        r'"([^"\n]+)"',
        r"\u201c([^\u201c\u201d\n]+)\u201d",
        r"(?<!\w)'([^'\n]+)'(?!\w)",
    ):
        if found := re.findall(pattern, text):
            return list(found)
    return []
