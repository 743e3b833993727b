"""Whole numbers in free text, in digits or in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from lamm_model.tasks.reading.words import NUMBERS, plain

_NUMBER_WORDS: Mapping[str, int] = {**NUMBERS, "single": 1, "couple": 2, "dozen": 12}
_SCALES: Mapping[str, int] = {"hundred": 100, "thousand": 1000, "million": 1_000_000}

# A numeral is matched with everything attached to it and then checked: with backtracking a pattern
# would find "97" in "97.5%".
_NUMERAL = re.compile(
    r"(?<![\w.])(?P<sign>-?)(?P<digits>\d++(?:,\d++)*+(?:\.\d++)*+)(?P<power>e[+-]?\d{1,2}(?![\w.]))?"
    r"(?P<unit>\s*%|\s+per\s?cent\b|\w+)?|(?P<word>[a-z]+)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
# In some languages "1.000" is a thousand, in others a fraction.
_AMBIGUOUS = re.compile(r"\d+\.000")
_LONGEST = 18
# "There are thirty. Two are red."; a number may have a comma: "one thousand, two hundred".
_STOP = re.compile(r"[.;:!?\n]")

_FRACTION = re.compile(
    r"\b\w+\s+and\s+a\s+(?:half|third|quarter)\b|\b(?:one|two|three)[\s-](?:half|halves|thirds?"
    r"|quarters?|fifths?)\b|(?<![\w/.])\d+\s?/\s?\d+(?![\w/])"
)

# Next to these words "one" is a pronoun.
_BEFORE_PRONOUN = frozenset({"no", "this", "that", "each", "every", "any", "another", "which"})
_AFTER_PRONOUN = frozenset({
    "can", "could", "may", "might", "would", "should", "must", "sees", "of", "another"
})  # fmt: skip
_LIMITING = frozenset({"only", "just", "exactly"})


def integers(text: str) -> list[int]:
    """Whole numbers of the text in order, in digits or words ("twenty-one", "1,000", "a dozen").

    Fractions, percentages and numbers attached to letters are skipped; a minus makes a number
    negative; digits with commas that do not separate thousands are a list.
    """
    text = _FRACTION.sub(" 0.5 ", plain(text).casefold())
    matches = list(_NUMERAL.finditer(text))
    found: list[int] = []
    run: list[int] = []
    halved = False
    for index, match in enumerate(matches):
        word = match["word"]
        if run and _STOP.search(text, matches[index - 1].end(), match.start()):
            found.append(sum(run))
            run = []
        if halved and word in {"a", "an"}:
            continue
        if not run and _is_part(matches, index - 1) and _is_multiplied(matches, index - 1):
            continue  # "1.5 thousand" is not 1000
        if word in _NUMBER_WORDS or word in _SCALES or (word == "and" and run):
            if word == "one" and _is_pronoun(text, matches, index):
                continue
            run = _extend(run, word, found)
            if halved and (word == "dozen" or word in _SCALES):
                run = [sum(run) // 2]
        else:
            found += [sum(run)] if run else []
            run = _in_digits(match) if word is None else []
            if len(run) > 1 or not _is_multiplied(matches, index):
                found += run
                run = []
        halved = word == "half"
    return found + ([sum(run)] if run else [])


def _in_digits(match: re.Match[str]) -> list[int]:
    digits, power = match["digits"], match["power"] or ""
    if match["unit"] or len(digits) > _LONGEST or digits.count(".") > 1:
        return []
    sign = -1 if match["sign"] else 1
    if _THOUSANDS.fullmatch(digits.split(".")[0]):
        digits = digits.replace(",", "")
    if "." not in digits and not power:
        return [sign * int(part) for part in digits.split(",")]
    if "," in digits or _AMBIGUOUS.fullmatch(digits):
        return []
    value = Decimal(digits + power)
    return [sign * int(value)] if value == value.to_integral_value() else []


def _is_part(matches: Sequence[re.Match[str]], index: int) -> bool:
    """Whether the digits are not a whole number."""
    return index >= 0 and matches[index]["word"] is None and not _in_digits(matches[index])


def _is_multiplied(matches: Sequence[re.Match[str]], index: int) -> bool:
    """Whether "dozen" or a scale word follows directly, as in "2 dozen"."""
    following = matches[index + 1]["word"] if index + 1 < len(matches) else None
    return following == "dozen" or following in _SCALES


def _is_pronoun(text: str, matches: Sequence[re.Match[str]], index: int) -> bool:
    """Whether "one" is a pronoun, by the adjacent words."""

    def word_at(other: int) -> str | None:
        if not 0 <= other < len(matches):
            return None
        first, second = sorted((matches[other], matches[index]), key=lambda m: m.start())
        apart = text[first.end() : second.start()].strip(" -")
        return None if apart else matches[other]["word"]

    before = word_at(index - 1)
    if before in _LIMITING:
        return False
    return before in _BEFORE_PRONOUN or word_at(index + 1) in _AFTER_PRONOUN


def _extend(run: list[int], word: str, found: list[int]) -> list[int]:
    """The parts of the number after one more word, which may start a new number."""
    if word == "and":
        # "one hundred and five" is one number; "one and two" are two.
        if run[-1] % 100:
            found.append(sum(run))
            return []
        return run
    if word in _SCALES:
        return _scaled(run, _SCALES[word], found)
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


def _scaled(run: list[int], scale: int, found: list[int]) -> list[int]:
    """The number after "hundred" or a larger scale, which multiplies only smaller parts."""
    larger = [part for part in run if part >= scale]
    value = (sum(part for part in run if part < scale) or 1) * scale
    if larger and value >= larger[-1]:
        # "two hundred, three hundred" are two numbers; "one thousand two hundred" is one.
        found.append(sum(larger))
        return [value]
    return [*larger, value]
