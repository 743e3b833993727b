"""Which of several lettered choices a text names, by letter or by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from lamm_model.tasks.reading.denials import without_doubts
from lamm_model.tasks.reading.words import find_labels, plain, tokens

# Marks around a letter have no meaning: **B**, `B`, "B", \boxed{B}; all brackets are alike.
_MARKS = re.compile(r"[*`\"\u201c\u201d$\\]|(?<!\w)'|'(?!\w)")
_OTHER_BRACKETS = re.compile(r"[\[{<]\s*([A-Za-z])\s*[\]}>]")
# A capital letter names an option, but A and I before a word are an article and a pronoun, unless
# that word continues a statement about the option. A lower-case letter names an option only before
# a pause or the end of the text.
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
# Phrases that present a letter as the answer.
_ANSWER = re.compile(
    r"\b(?i:answer|(?:correct|right|best|final|closest)\s+(?:option|choice|letter|one))\b"
    r"(?i:\s+(?:here|to (?:this|the) question|i would give|i choose))?"
    r"(?i:\s+(?:is|was|would be|must be|should be|could be|may be|might be|seems to be|has to be))?"
    rf"\s*[:=]?\s*(?i:{_FILLER})(?P<letter>{_LETTER}){_END}"
)
_LEADING = re.compile(
    r"^[^\w(]*(?:(?P<upper>[A-Z])(?=\W*$|[.):,](?!\w\b)|\s+-)|(?P<lower>[a-z])(?=\W*$|\)))"
)
# With one of these words before it, or a verdict after it, a bare letter names an option; otherwise
# it may belong to a name ("vitamin C").
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


class Chosen(NamedTuple):
    """The choices that a text names, from 0, the first the answer; `sure` without contradiction."""

    indices: Sequence[int]
    sure: bool = True


def read_choice(text: str, choices: Sequence[str]) -> Chosen | None:
    """The last letter given as the answer, or a leading, stated or bracketed one, or words.

    Letters beyond the choices are ignored. None if the text names no choice.
    """
    text = _OTHER_BRACKETS.sub(r"(\1)", _unmarked(text))
    text = _without_echo(text, choices).strip()
    same = _spelled_as(text, choices)
    if len({choices[index].strip() for index in same}) == 1:
        return Chosen(same[:1])
    for found in (_answers(text), _leading(text), *_mentions(text)):
        if letters := [match for match in found if _index(match) < len(choices)]:
            return _by_letter(letters, text, choices)
    # Words after "the answer is" take precedence over words about the picture.
    *_, said = re.split(r"\banswer\b(?: is|:| would be)\s+", text, flags=re.IGNORECASE)
    for words in (said, text):
        rest = without_doubts(words)
        if named := _named(rest, choices):
            return Chosen(named, sure=rest == words)
    return None


def _unmarked(text: str) -> str:
    return _MARKS.sub("", plain(text).replace("_", " "))


def _spelled_as(text: str, choices: Sequence[str]) -> list[int]:
    """The choices that equal the whole text, signs included; a single letter is not compared."""
    said, *spellings = (_unmarked(one).strip(" .").casefold() for one in (text, *choices))
    if len(said) == 1 and said.isalpha():
        return []
    return [index for index, spelling in enumerate(spellings) if spelling == said]


def _named(text: str, choices: Sequence[str]) -> list[int]:
    """The choices that a text names in words without negating them.

    Words alone do not distinguish "5" from "-5": the longest such choice in the text counts.
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
    """The text without a list of all choices, which does not choose one."""
    return re.sub(r"[\s,;.]*".join(_as_listed(choices)), " ", text, flags=re.IGNORECASE)


def _as_listed(choices: Sequence[str]) -> list[str]:
    """Patterns of the choices as items of a list, "(A) red" or "A. red"."""
    return [
        rf"\(?\b{letter}[).:]*\s*{re.escape(choice.strip())}"
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    ]


def _answers(text: str) -> list[re.Match[str]]:
    """The last letter that the text calls the answer."""
    return list(_ANSWER.finditer(text))[-1:]


def _leading(text: str) -> list[re.Match[str]]:
    match = _LEADING.match(text)
    return [match] if match else []


def _mentions(text: str) -> tuple[list[re.Match[str]], list[re.Match[str]]]:
    """Letters that other phrases state to be the answer, and letters in brackets; none negated."""
    kept = [m for m in _CUED.finditer(text) if not m["denied"] and not m["wrong"]]
    return (
        [match for match in kept if match["cue"] is not None or match["right"]],
        [match for match in kept if match["letter"].startswith("(")],
    )


def _index(match: re.Match[str]) -> int:
    """Index of the choice that a letter names."""
    letter = next(
        value for name, value in match.groupdict().items()
        if value and name in {"letter", "upper", "lower"}
    )  # fmt: skip
    return ascii_uppercase.index(letter.strip("( )").upper())


def _by_letter(letters: Sequence[re.Match[str]], text: str, choices: Sequence[str]) -> Chosen:
    """The first of the letters; not sure with another one after "or", or another choice's words."""
    indices = [_index(match) for match in letters]
    name = "letter" if "letter" in letters[-1].groupdict() else 0
    rest = text[letters[-1].end(name) :]
    clause = re.split(r"[.;!?\n](?=\s|$)", rest.lstrip(" ).:,-"), maxsplit=1)[0]
    following = [m for m in find_labels(clause, choices) if not m.negated and m.start <= 1]
    other = bool(following) and tokens(choices[following[0].label]) != tokens(choices[indices[-1]])
    # The answer may follow a list of choices; a letter in the list is not the answer.
    called = letters[0].re is _ANSWER
    listed = sum(bool(re.search(p, text, re.IGNORECASE)) for p in _as_listed(choices))
    doubted = other or _ALTERNATIVE.match(rest) or (listed > 1 and not called)
    return Chosen(indices, sure=not doubted)
