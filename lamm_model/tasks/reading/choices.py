"""Which of several lettered choices a text names, by letter or by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from lamm_model.tasks.reading.denials import without_doubts
from lamm_model.tasks.reading.words import find_labels, plain, tokens

# Marks around a letter say nothing: **B**, `B`, "B", \boxed{B}; brackets of any kind are as good.
_MARKS = re.compile(r"[*`\"\u201c\u201d$\\]|(?<!\w)'|'(?!\w)")
_OTHER_BRACKETS = re.compile(r"[\[{<]\s*([A-Za-z])\s*[\]}>]")
# A capital is a letter of an option, but A and I before a word are an article and a pronoun, unless
# the word goes on about the option. A small letter is one only where the text ends or pauses.
_LETTER = (
    r"(?:\(\s*[A-Za-z]\s*\)|[B-HJ-Z](?![\w'])"
    r"|[AI](?=\s*$|\s*[).,:;!?/(]|\s+-|\s+(?:is|or|and|because|since|as|but|not)\b)"
    r"|[a-z](?=[).,:;]*(?:\s*$|(?<=[).,:;])\s)))"
)
_END = r"(?![\w'])"
_FILLER = (
    r"(?:(?:the|option|choice|letter|answer|probably|likely|most|definitely|clearly|therefore"
    r"|thus)\s+){0,8}"
)
# Of the texts that name a letter, these name the answer.
_ANSWER = re.compile(
    r"\b(?i:answer|(?:correct|right|best|final|closest)\s+(?:option|choice|letter|one))\b"
    r"(?i:\s+(?:here|to (?:this|the) question|i would give|i choose))?"
    r"(?i:\s+(?:is|was|would be|must be|should be|could be|may be|might be|seems to be|has to be))?"
    rf"\s*[:=]?\s*(?i:{_FILLER})(?P<letter>{_LETTER}){_END}"
)
_LEADING = re.compile(
    r"^[^\w(]*(?:(?P<upper>[A-Z])(?=\W*$|[.):,](?!\w\b)|\s+-)|(?P<lower>[a-z])(?=\W*$|\)))"
)
# These words, or a verdict behind it, make a bare letter an option rather than a part of a name
# ("vitamin C").
_CUED = re.compile(
    r"(?P<denied>\b(?i:not|isn't|than|neither|nor)\s+(?i:option\s+)?)?"
    r"(?:(?P<cue>(?:^[^\w(]*(?!\()|\b(?i:option|choice|letter|is|be|it's|that's|choose|chose|pick|select|with"
    r"|say|guess|probably|likely|definitely|perhaps|maybe|think|believe|but|so|leaving|leaves)\s+|:\s*))"
    rf"(?i:{_FILLER}))?(?P<letter>{_LETTER}){_END}"
    r"(?P<wrong>\s+(?i:is|are|seems|looks|can)\s*(?i:n't|not|wrong|incorrect|false|unlikely|impossible)\b)?"
    r"(?P<right>\s+(?i:is|seems|looks|appears|would be|must be|should be)\s+(?i:to be\s+)?"
    r"(?i:the\s+)?(?i:most\s+)?(?i:correct|right|best|true|answer|likely)\b)?"
)
_ALTERNATIVE = re.compile(rf"\s*(?i:,|/|or|and|&)\s*(?i:option\s+)?{_LETTER}{_END}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choices that a text names, counted from 0, the one it gives first; one at least.

    `sure`: whether nothing else in the text speaks against it.
    """

    indices: tuple[int, ...]
    sure: bool = True


def read_choice(text: str, choices: Sequence[str]) -> Chosen | None:
    """The last letter given as the answer, else a leading, stated or bracketed one, else words.

    Letters beyond the choices are none. None where the text names no choice.
    """
    text = _OTHER_BRACKETS.sub(r"(\1)", _unmarked(text))
    text = _without_echo(text, choices).strip()
    if len(same := _spelled_as(text, choices)) == 1:
        return Chosen(tuple(same))
    for found in (_answers(text), _leading(text), *_mentions(text)):
        if letters := [match for match in found if _index(match) < len(choices)]:
            return _by_letter(letters, text, choices)
    # What follows "the answer is" outweighs what else is in the picture.
    *_, said = re.split(r"\banswer\b(?: is|:| would be)\s+", text, flags=re.IGNORECASE)
    for words in (said, text):
        rest = without_doubts(words)
        if named := _named(rest, choices):
            return Chosen(tuple(named), sure=rest == words)
    return None


def _unmarked(text: str) -> str:
    return _MARKS.sub("", plain(text).replace("_", " "))


def _spelled_as(text: str, choices: Sequence[str]) -> list[int]:
    """The options that are the whole text, signs and all; a letter alone is an option's letter."""
    said, *spellings = (_unmarked(one).strip(" .").casefold() for one in (text, *choices))
    if len(said) == 1 and said.isalpha():
        return []
    return [index for index, spelling in enumerate(spellings) if spelling == said]


def _named(text: str, choices: Sequence[str]) -> list[int]:
    """The options that a text names in words and does not deny.

    Words alone do not tell "5" from "-5": of such options the longest that stands there counts.
    """
    found: list[int] = []
    said = text.casefold()
    for match in find_labels(text, choices):
        words = tokens(choices[match.label])
        alike = [index for index, choice in enumerate(choices) if tokens(choice) == words]
        if len(alike) > 1:
            alike = [i for i in alike if _unmarked(choices[i]).strip().casefold() in said]
        if alike and not match.negated:
            found.append(max(alike, key=lambda index: len(choices[index])))
    return found


def _without_echo(text: str, choices: Sequence[str]) -> str:
    """The text without a list of all options, which chooses none of them."""
    return re.sub(r"[\s,;.]*".join(_as_listed(choices)), " ", text, flags=re.IGNORECASE)


def _as_listed(choices: Sequence[str]) -> list[str]:
    """Patterns of the options as lists write them, "(A) red" or "A. red"."""
    return [
        rf"\(?\b{letter}[).:]*\s*{re.escape(choice.strip())}"
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    ]


def _answers(text: str) -> list[re.Match[str]]:
    """The last letter that is called the answer."""
    return list(_ANSWER.finditer(text))[-1:]


def _leading(text: str) -> list[re.Match[str]]:
    match = _LEADING.match(text)
    return [match] if match else []


def _mentions(text: str) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """Letters stated to be the answer in other words, and those in brackets; none is denied."""
    kept = [m for m in _CUED.finditer(text) if not m["denied"] and not m["wrong"]]
    return (
        [match for match in kept if match["cue"] is not None or match["right"]],
        [match for match in kept if match["letter"].startswith("(")],
    )


def _index(match: re.Match[str]) -> int:
    """The option that a letter names, from 0."""
    letter = next(
        value for name, value in match.groupdict().items()
        if value and name in {"letter", "upper", "lower"}
    )  # fmt: skip
    return ascii_uppercase.index(letter.strip("( )").upper())


def _by_letter(letters: Sequence[re.Match[str]], text: str, choices: Sequence[str]) -> Chosen:
    """The first of the letters; another one after "or", or another option's words, is a doubt."""
    indices = [_index(match) for match in letters]
    name = "letter" if "letter" in letters[-1].groupdict() else 0
    rest = text[letters[-1].end(name) :]
    clause = re.split(r"[.;!?\n](?=\s|$)", rest.lstrip(" ).:,-"), maxsplit=1)[0]
    following = [m for m in find_labels(clause, choices) if not m.negated and m.start <= 1]
    other = bool(following) and tokens(choices[following[0].label]) != tokens(choices[indices[-1]])
    # The answer itself may come after a list of options; a letter of the list is none.
    called = letters[0].re is _ANSWER
    listed = sum(bool(re.search(p, text, re.IGNORECASE)) for p in _as_listed(choices))
    doubted = other or _ALTERNATIVE.match(rest) or (listed > 1 and not called)
    return Chosen(tuple(indices), sure=not doubted)
