"""Reading words, numbers and labels from what a model wrote. Pure functions for the tasks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
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
# Pattern of a plural, letters to cut, ending to put in their place; a plain "s" otherwise.
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
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBER_WORDS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * (index + 2) for index, word in enumerate(_TENS)},
    "single": 1,
    "couple": 2,
    "dozen": 12,
}
_SCALES: Mapping[str, int] = {"hundred": 100, "thousand": 1000}

_NEGATIONS = frozenset({
    "not", "no", "never", "neither", "nor", "without", "isn't", "aren't", "wasn't", "don't",
    "doesn't", "can't", "cannot", "than", "instead"
})  # fmt: skip
# Words that may stand between a negation and the label it denies: "not really a pair of".
_TRANSPARENT = frozenset({
    "a", "an", "the", "any", "see", "pair", "of", "really", "actually", "kind", "sort", "it",
    "is", "be"
})  # fmt: skip
_NEGATION_REACH = 5


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """A label found in a text: its index in the label list and the tokens it covers."""

    label: int
    start: int
    end: int
    negated: bool


def plain(text: str) -> str:
    """Compatibility-normalised text with straight quotes, plain hyphens and minus signs."""
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
    """Case-folded words and numbers in canonical form: singular, number words as digits."""
    return [canonical(token) for token in _TOKEN.findall(plain(text).casefold())]


def canonical(token: str) -> str:
    """One case-folded word as its singular, or as digits when it names a number below 100."""
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if token in _UNITS or token in _TENS:
        return str(_NUMBER_WORDS[token])
    plural = len(token) >= _SHORTEST_PLURAL and token.endswith("s")
    if not plural or token.endswith(("ss", "us", "is")):
        return token
    for pattern, cut, ending in _PLURALS:
        if pattern.search(token):
            return token[:-cut] + ending
    return token[:-1]


def label_spellings(labels: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """Every token sequence that names a label, longest first, with the label's index.

    A label such as "T-shirt/top" also answers to its parts, unless a part names two labels.
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
    """Labels named in the text, in order; longer labels win over shorter ones inside them."""
    words = tokens(text)
    taken = [False] * len(words)
    found: list[LabelMatch] = []
    for spelling, label in label_spellings(labels):
        for start in range(len(words) - len(spelling) + 1):
            end = start + len(spelling)
            if tuple(words[start:end]) == spelling and not any(taken[start:end]):
                taken[start:end] = [True] * len(spelling)
                found.append(LabelMatch(label, start, end, _negated(words, start)))
    return sorted(found, key=lambda match: match.start)


def _negated(words: Sequence[str], start: int) -> bool:
    for word in reversed(words[max(0, start - _NEGATION_REACH) : start]):
        if word in _NEGATIONS:
            return True
        if word not in _TRANSPARENT:
            return False
    return False


_NUMERAL = re.compile(
    r"(?<![\w.,])(?P<sign>-?)(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<rest>\.\d+)?(?![\w%])|(?P<word>[a-z]+)"
)


def integers(text: str) -> list[int]:
    """Whole numbers of the text in order, as digits or in words ("twenty-one", "1,000", "a dozen").

    Decimals, percentages and numbers glued to letters are none; a minus makes one negative.
    """
    found: list[int] = []
    run: list[int] = []
    for match in _NUMERAL.finditer(plain(text).casefold()):
        word = match["word"]
        if word is not None and (
            word in _NUMBER_WORDS or word in _SCALES or (word == "and" and run)
        ):
            run = _extend(run, word, found)
            continue
        if run:
            found.append(sum(run))
            run = []
        if word is None and match["rest"] is None:
            value = int(match["digits"].replace(",", ""))
            found.append(-value if match["sign"] else value)
    if run:
        found.append(sum(run))
    return found


def _extend(run: list[int], word: str, found: list[int]) -> list[int]:
    """The number being spelled after one more word; a word that cannot go on starts the next."""
    if word == "and":
        # "one hundred and five" goes on; "one and two" are two numbers.
        if run[-1] % 100:
            found.append(sum(run))
            return []
        return run
    if word in _SCALES:
        return [(sum(run) or 1) * _SCALES[word]]
    value = _NUMBER_WORDS[word]
    continues = bool(run) and (
        run[-1] % 100 == 0 or (run[-1] % 100 in range(20, 100, 10) and 0 < value < 10)
    )
    if word == "dozen" and run:
        return [sum(run) * value]
    if run and not continues:
        found.append(sum(run))
        return [value]
    return [*run, value]


def quoted(text: str) -> Iterator[str]:
    """Texts within double, curly or single quotes, in that order of trust."""
    for pattern in (r'"([^"\n]+)"', r"\u201c([^\u201d\n]+)\u201d", r"(?<!\w)'([^'\n]+)'(?!\w)"):
        yield from (match[1] for match in re.finditer(pattern, text))
