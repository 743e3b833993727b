"""How ChEF's scorers parse an answer, slips included: labels, options, sentences with boxes.

Follows OpenGVLab/LAMM main at ea57136 and is checked against the values of its code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from benchmark.protocols.chef_words import FORMS, NEVER_COUNTED

_LETTERS = ascii_uppercase[:7]
_SPACED = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    word: str(value)
    for value, words in enumerate(
        ("none zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
    for word in words.split()
}
# A slip of ChEF: a flag of its pattern is passed as the number of replacements.
_MOST_STOPS = int(re.UNICODE)
_ARTICLES = frozenset({"a", "an", "the"})
# Signs before and after a letter that mark it as an option, in the order in which they are tried.
_AROUND = (
    ("(", ")"), ("(", ")."), ("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."),
    (":", ""), (":", ","), (":", "."), (":", ")"), (":", ")."),
)  # fmt: skip
_BOX = re.compile(r"\[ ?([\d.]+), ?([\d.]+), ?([\d.]+), ?([\d.]+) ?\]")
# The last of these that is found names the class of a sentence's box.
_CLASSES = tuple(
    re.compile(pattern)
    for pattern in (
        r"The ([\w\W ]+?)(?=object)",
        r"classified as ([\w\W ]+?)(?= is| and| within|\.|,)",
        r"categorized as ([\w\W ]+?)(?= can| at|\.|,)",
        r"belong(?:s|ing) to the category of ([\w\W ]+?)(?= at|\.|,)",
        r"belong(?:s|ing) to the ([\w\W ]+) category",
        r"falls under the category of ([\w\W ]+?)(?=\.|,)",
        r"falls under the ([\w\W ]+) category",
        r"its category is ([\w\W ]+?)(?=\.|,)",
    )
)


def names(label: str, text: str) -> bool:
    """Whether a text names a label: a word of it, split at spaces, is a form of any sense.

    Case matters, and a word with a comma or a full stop is another word.
    """
    return not _forms(label).isdisjoint(text.split(" "))


def is_in_table(label: str) -> bool:
    """Whether the frozen table has the label; others match their own word and plural."""
    return label in FORMS or label in NEVER_COUNTED or " " in label


def cleaned(text: str) -> str:
    """A text in lower case without articles and most punctuation; number words become digits.

    A sign is removed where the text has it next to a space anywhere, and else becomes a space.
    """
    for space in "\n\t":
        text = text.replace(space, " ")
    given = text = text.strip()
    for sign in _SPACED:
        beside_space = f"{sign} " in given or f" {sign}" in given
        text = text.replace(sign, "" if beside_space else " ")
    words = re.sub(r"\.(?!\d)", "", text, count=_MOST_STOPS).lower().split()
    return " ".join(_NUMBERS.get(word, word) for word in words if word not in _ARTICLES)


def choice(text: str, choices: Sequence[str]) -> int | None:
    """The index of the option that a text chooses; None if there is none, or no single one.

    A letter with brackets or a full stop comes first, then a letter alone, then the options' words.
    """
    shortened = _around_the_option(text)
    letter = _letter(shortened.split())
    if letter is not None:
        return letter
    if shortened in choices:
        return list(choices).index(shortened)
    named = [i for i, option in enumerate(choices) if option.lower() in shortened.lower()]
    return named[0] if len(named) == 1 else None


def labelled_boxes(text: str) -> list[tuple[str, list[float]]]:
    """The classes and boxes of the sentences that have both, in one of eight phrases.

    Sentences end at a full stop and a space. A box with reversed corners is dropped.
    """
    found = []
    for part in text.strip().removesuffix(".").split(". "):
        sentence = f"{part.strip()}."
        box = _BOX.search(sentence)
        named = [match for match in (one.search(sentence) for one in _CLASSES) if match is not None]
        if box is None or not named:
            continue
        x1, y1, x2, y2 = map(float, box.groups())
        if x1 <= x2 and y1 <= y2:
            found.append((named[-1].group(1).strip(), [x1, y1, x2, y2]))
    return found


def _forms(label: str) -> frozenset[str]:
    if label in NEVER_COUNTED or " " in label:
        return frozenset()
    return FORMS.get(label) or frozenset({label, f"{label}s", f"{label}es"})


def _around_the_option(text: str) -> str:
    """The first option that is marked by a full stop or a bracket; without one, all the text."""
    text = text.partition("###")[0].rpartition("Assistant:")[2].strip()
    if (stopped := re.search(r"([A-Z])\.", text)) is not None:
        return f"({stopped.group(1)})"
    if (bracketed := re.search(r"\(([A-Z])", text)) is not None:
        return f"({bracketed.group(1)})"
    return text


def _letter(words: Sequence[str]) -> int | None:
    alone = [i for i, letter in enumerate(_LETTERS) if letter in words]
    # "A" is also an article.
    if len(alone) == 1 and ("A" not in words or len(words) < 3):
        return alone[0]
    for before, after in _AROUND:
        marked = [i for i, letter in enumerate(_LETTERS) if f"{before}{letter}{after}" in words]
        if len(marked) == 1:
            return marked[0]
    return None
