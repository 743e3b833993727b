"""Negations and doubts in free text: absent, not so, or not known."""

from __future__ import annotations

import re
from collections.abc import Sequence

# After "if" and "whether" nothing is stated either.
_NEGATIONS = frozenset({
    "not", "no", "never", "neither", "nor", "without", "cannot", "than", "whether", "if", "hardly",
    "unlikely"
})  # fmt: skip
# Words that may separate a negation from the word it negates, in canonical form ("it's" is "it'"):
# "does not look like a pair of".
_TRANSPARENT = frozenset({
    "a", "an", "the", "any", "single", "pair", "kind", "sort", "sign", "evidence", "trace", "hint",
    "of", "to", "it", "it'", "this", "that", "there", "is", "be", "are", "was", "have", "see",
    "show", "depict", "contain", "include", "display", "feature", "represent", "look", "like",
    "resemble", "appear", "seem", "think", "believe", "call", "find", "identify", "detect",
    "locate", "spot", "really", "actually", "clearly", "necessarily", "possibly"
})  # fmt: skip
_REACH = 8

# Words after "no" that do not state an absence: "no idea", "no way to tell".
_IDLE = (
    r"(?!(?:idea|way|ways|information|doubt|answer|clue|means|need|knowledge|access|question"
    r"|reason|problem|clear|specific|exact|longer|more|fewer|less|other|bounding|box|boxes"
    r"|coordinates|indication|ability|possibility|details?)\b)"
)
_NOTHING = re.compile(
    r"\b(?:none|nothing|nobody|no[ -]one)\b"
    rf"|\b(?:is|are|was|were|has|have|see|find|found|shows?|contains?|there's)\s+no\s+{_IDLE}\w+"
    rf"|(?:\bnot|n't)\s+(?:\w+\s+){{0,2}}any\s+{_IDLE}\w+"
    rf"|\bno\s+{_IDLE}(?:\w+\s+){{1,3}}?"
    r"(?:(?:is|are|was|were|can be|could be|has been|have been)\s+)?"
    r"(?:visible|present|found|detected|seen|shown|there|here|in)\b"
    rf"|\bno\s+{_IDLE}(?:\w+\s+){{0,2}}(?:items?|objects?|things?|products?)\b"
    rf"|^\W*no\s+{_IDLE}\w+\W*$",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"(?:\bnot|n't|\bunable|\bimpossible|\bhard|\bdifficult|\bcannot)\s+(?:\w+\s+){0,3}?"
    r"(?:tell|say|know|determine|provide|identify|judge|answer|help|read|make out|recogni[sz]e"
    r"|decipher|discern|access|assist|possible)\b"
    r"|\bsorry\b|\bas an ai\b|\bno (?:idea|clue|way|access)\b"
    r"|\b(?:not|n't|am|'m)\s+(?:\w+\s+){0,2}?(?:sure|certain|clear|able)\b|\bunsure\b|\bunclear\b",
    re.IGNORECASE,
)


def is_negated(words: Sequence[str], start: int) -> bool:
    """Whether the words before index `start` negate or question what begins there.

    `words` are the canonical words of one clause, see `words.tokens`.
    """
    for index in range(start - 1, max(-1, start - 1 - _REACH), -1):
        if negates(words, index):
            return True
        if words[index] not in _TRANSPARENT:
            return False
    return False


def negates(words: Sequence[str], index: int) -> bool:
    """Whether a word negates what follows it; "instead" does so only before "of"."""
    word = words[index]
    if word == "instead":
        return list(words[index + 1 : index + 2]) == ["of"]
    return word in _NEGATIONS or word.endswith("n't")


def says_nothing(text: str) -> bool:
    """Whether a text says that there are none of the objects asked about."""
    return bool(_NOTHING.search(text)) and not says_unknown(text)


def says_unknown(text: str) -> bool:
    """Whether a text says that the answer is not known."""
    return bool(_UNKNOWN.search(text))


def without_doubts(text: str) -> str:
    """The text without the phrases that say that the answer is not known."""
    return _UNKNOWN.sub(" ", text)
