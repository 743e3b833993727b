"""How upstream's scorers parse an answer, slips included: words, numbers, boxes, sentence BLEU.

Follows commit d5ca246 (July 2023) and is checked against the values of its code. Sentences end at
".", "?" and "!" before a space; upstream uses a trained model that also knows abbreviations.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Sequence

from benchmark.protocols.upstream_lemmas import FORMS, NEVER_COUNTED

_SENTENCE = re.compile(r"(?<=[.?!])[\])}'\"]*\s+")
_OPENING = re.compile(r"[\u00ab\u201c\u2018\u201e]|`+")
_LONE_LETTER = re.compile(r"'(?!re|ve|ll|[mtsdn])(\w)\b")
_FINAL_STOP = re.compile(r"([^.])(\.)([\])}>\"'\u00bb\u201d\u2019 ]*)\s*$")
_MARK_BEFORE = re.compile(r"([:,])(\D)")
_MARK_LAST = re.compile(r"[:,]$")
_MARKS = re.compile(r"\.{2,}|[;@#$%&?!*\u2012-\u2015\]\[(){}<>]|--")
_CLOSING = re.compile(r"[\u00bb\u201d\u2019\"]|''")
_CLITICS = (re.compile(r"([^' ])('[smd]?) "), re.compile(r"([^' ])('ll|'re|'ve|n't) "))
_CANNOT = re.compile(r"\bcannot\b")
_MOST_DIGITS = 100
_FALLBACK_NUMBER = re.compile(r"[0-9]+\.?[0-9]*")
_NUMBER_WORDS = {
    word: value
    for value, words in enumerate(
        ["no zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen", "twenty"]
    )
    for word in words.split()
}  # fmt: skip


def words_of(text: str) -> list[str]:
    """Lower-case words by Penn Treebank tokenization, sentence by sentence."""
    found: list[str] = []
    for sentence in _SENTENCE.split(text.lower()):
        padded = _LONE_LETTER.sub(r"' \1", _OPENING.sub(r" \g<0> ", sentence))
        padded = _FINAL_STOP.sub(r"\1 \2 \3 ", padded)
        padded = _MARK_LAST.sub(r" \g<0> ", _MARK_BEFORE.sub(r" \1 \2", padded))
        padded = _MARKS.sub(r" \g<0> ", padded)
        padded = re.sub(r"\s+", " ", _CLOSING.sub(r" \g<0> ", f" {padded} "))
        for clitic in _CLITICS:
            padded = clitic.sub(r"\1 \2 ", padded)
        found += _CANNOT.sub(" can not ", padded).split()
    return found


def mentions(label: str, text: str, *, repaired: bool = False) -> bool:
    """Whether a text names a label anywhere, in any form of the first sense of its word.

    Some labels are never found. `repaired` also finds those, and labels of several words, in their
    literal spelling.
    """
    words = set(words_of(text))
    if repaired and re.search(rf"(?<!\w){re.escape(label.lower())}(?!\w)", text.lower()):
        return True
    return not words.isdisjoint(_forms(label))


def is_in_table(label: str) -> bool:
    """Whether the frozen table has the label; others match their own word and plural."""
    return label in FORMS or label in NEVER_COUNTED or " " in label


def numbers(text: str, group: int) -> list[list[float]]:
    """Numbers of all square brackets, then of all round ones, cut into groups.

    Only commas and spaces separate numbers, and text that is not a number is prepended to the next
    one. An incomplete last group is dropped. Without a complete group, all numbers of the text are
    used, ignoring minus signs and exponents.
    """
    values = _bracketed(text, "[", "]") + _bracketed(text, "(", ")")
    values = values[: len(values) // group * group]
    if not values:
        values = [float(number) for number in _FALLBACK_NUMBER.findall(text)]
        values = values[: len(values) // group * group]
    return [values[i : i + group] for i in range(0, len(values), group)]


def boxes(text: str) -> list[list[float]]:
    """Boxes of four numbers; swaps the corners if both axes are reversed, drops if one is."""
    kept = []
    for x1, y1, x2, y2 in numbers(text, 4):
        box = [x2, y2, x1, y1] if x1 > x2 and y1 > y2 else [x1, y1, x2, y2]
        if box[0] <= box[2] and box[1] <= box[3]:
            kept.append(box)
    return kept


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two 2D boxes; nan if both are empty."""
    width = max(min(first[2], second[2]) - max(first[0], second[0]), 0.0)
    height = max(min(first[3], second[3]) - max(first[1], second[1]), 0.0)
    overlap = width * height
    union = (
        (second[2] - second[0]) * (second[3] - second[1])
        + (first[2] - first[0]) * (first[3] - first[1])
        - overlap
    )
    return overlap / union if union else math.nan


def iou_3d(first: Sequence[float], second: Sequence[float], *, clamped: bool = False) -> float:
    """Upstream's overlap of two boxes [x, y, z, l, w, h], corners rounded to millimetres.

    Negative extents of the intersection are multiplied too, so that boxes that are disjoint on two
    axes overlap. Values outside 0 to 1 become 0. `clamped` computes the correct overlap.

    Raises:
        ZeroDivisionError: both boxes are empty; upstream fails here.
    """
    extents, volumes = [], [1.0, 1.0]
    for axis in range(3):
        sides = [
            (
                round(box[axis] - abs(box[axis + 3] / 2), 3),
                round(box[axis] + abs(box[axis + 3] / 2), 3),
            )
            for box in (first, second)
        ]
        extents.append(min(upper for _, upper in sides) - max(lower for lower, _ in sides))
        volumes = [
            volume * (high - low) for volume, (low, high) in zip(volumes, sides, strict=True)
        ]
    if clamped:
        extents = [max(0.0, extent) for extent in extents]
    overlap = extents[0] * extents[1] * extents[2]
    share = overlap / (volumes[0] + volumes[1] - overlap)
    return share if 0 <= share <= 1 else 0.0


def quoted_or_all(text: str) -> str:
    """The text between double quotes, joined by spaces; the whole text without quotes."""
    return " ".join(text.split('"')[1::2]) if '"' in text else text


class UpstreamStopsError(ValueError):
    """Upstream's scorer stops at an answer, and gives no score for the whole set."""


def count(text: str, *, repaired: bool = False) -> int | None:
    """The first word that is an integer or a number word up to twenty; None without one.

    `repaired` ignores punctuation around a word, and words of other digits.

    Raises:
        UpstreamStopsError: not `repaired`, and the word has digits that `int` does not read.
    """
    for word in text.lower().split():
        bare = word.strip(".,;:!?()[]\"'") if repaired else word
        # Longer numbers do not fit into a float and are not counts.
        if bare.isdecimal() and len(bare) <= _MOST_DIGITS:
            return int(bare)
        # Upstream asks `isdigit`, which holds for these, and then calls `int`, which does not.
        if bare.isdigit() and not bare.isdecimal() and not repaired:
            raise UpstreamStopsError("a count in superscript or circled digits")
        if bare in _NUMBER_WORDS:
            return _NUMBER_WORDS[bare]
    return None


def sentence_bleu(references: Sequence[Sequence[str]], said: Sequence[str]) -> float:
    """BLEU-4 of one sentence without smoothing (Papineni et al. 2002), 0 to 1.

    A precision of 0 is replaced by the smallest float, so a sentence without a common 4-gram scores
    about 1e-78, not 0.
    """
    precisions = []
    for order in range(1, 5):
        mine = _ngrams(said, order)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _ngrams(reference, order)
        shared = sum((mine & most).values())
        if order == 1 and not shared:
            return 0.0
        precisions.append(shared / max(1, mine.total()) if shared else sys.float_info.min)
    closest = min((len(r) for r in references), key=lambda n: (abs(n - len(said)), n))
    brevity = 1.0 if len(said) > closest else math.exp(1 - closest / len(said))
    return brevity * math.exp(math.fsum(0.25 * math.log(p) for p in precisions))


def _forms(label: str) -> frozenset[str]:
    if label in NEVER_COUNTED or " " in label:
        return frozenset()
    word = label.lower()
    return FORMS.get(label) or frozenset({word, f"{word}s", f"{word}es"})


def _bracketed(text: str, opening: str, closing: str) -> list[float]:
    values: list[float] = []
    inside, pending = False, ""
    for character in text:
        if character == opening:
            inside = True
        elif character == closing or (inside and character in ", "):
            inside = inside and character != closing
            if (value := _number(pending)) is not None:
                values.append(value)
                pending = ""
        elif inside:
            pending += character
    return values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
