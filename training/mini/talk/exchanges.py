"""A question with its answer, and the forms that questions about pictures and clouds share.

Answers vary in form and follow instructions in the question ("one word", "just the number").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from training.mini.scenes.clouds import CloudScene, PlacedObject
from training.mini.scenes.pictures import PictureScene, PlacedProduct
from training.mini.sources import Split
from training.mini.talk.phrasings import ask

_T = TypeVar("_T")
_Placed = TypeVar("_Placed", PlacedProduct, PlacedObject)

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
_UNKNOWN = (
    "I cannot tell that from what I see.",
    "That does not show, so I cannot say.",
    "I do not know; nothing here tells me that.",
    "I can't know that from this alone.",
)
WELCOMES = ("You are welcome!", "Glad to help.", "My pleasure.")
_PLURALS = {"trousers": "pairs of trousers", "dress": "dresses", "person": "people"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer."""

    question: str
    answer: str


# A multiple-choice question, four options, the index of the right one, opening of the answer.
Choice = tuple[str, list[str], int, str]
# A question family: (scene, generator) -> Exchange; some take a split too.
Family = Callable[..., Exchange]


def noun(name: str) -> str:
    """A class name with its article: "a coat", "a pair of trousers", "an ankle boot"."""
    if name == "trousers":
        return "a pair of trousers"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def plural(name: str) -> str:
    return _PLURALS.get(name, name + "s")


def options_text(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question in the form of the suite and the training data."""
    return (
        question + " " + " ".join(f"({chr(65 + k)}) {option}" for k, option in enumerate(options))
    )


def converse(
    scene: PictureScene | CloudScene,
    families: list[tuple[float, Family]],
    rng: np.random.Generator,
) -> list[Exchange]:
    """Up to four of the weighted families, each at most once; the last may give way to thanks."""
    weight = np.array([w for w, _ in families])
    picked = rng.choice(
        len(families), min(4, len(families)), replace=False, p=weight / weight.sum()
    )
    turns = [families[int(k)][1](scene, rng) for k in picked]
    if rng.random() < 0.06:
        turns[-1] = Exchange(ask("thanks", rng), pick(WELCOMES, rng))
    return turns


def named(intent: str, name: str, rng: np.random.Generator, split: Split) -> Exchange:
    """What one thing is: the bare name where the question is terse, else a sentence."""
    question = ask(intent, rng, split)
    if terse(question):
        return Exchange(question, name + ".")
    forms = ("This is {}.", "It is {}.", "I see {}.", "It looks like {}.", "That is {}.")
    return Exchange(question, say(forms, rng, noun(name)))


def counted(
    intent: str,
    number: int,
    thing: str,
    rng: np.random.Generator,
    split: Split = "train",
    verb: str = "",
) -> Exchange:
    """How many: a digit where the question is terse, else a sentence."""
    question = ask(intent, rng, split)
    if terse(question):
        return Exchange(question, f"{number}.")
    spelled = NUMBERS[number] if rng.random() < 0.7 else str(number)
    lead = verb or ("There is" if number == 1 else "There are")
    things = thing if number == 1 else f"{thing}s"
    form = pick((f"{lead} {spelled} {things}.", f"I count {spelled}."), rng)
    return Exchange(question, form)


def chosen(
    question: str, options: list[str], right: int, reason: str, rng: np.random.Generator
) -> Exchange:
    """A four-way question, answered by naming the option, in a sentence or alone.

    A model of this size did not learn to look up the letter of an option, but it does name the
    option. Answers with the option alone let options be ranked by their likelihood.
    """
    text = options_text(question, options)
    if rng.random() < 0.3:
        text = text.replace(" (A)", " Options: (A)", 1)
    return Exchange(text, f"{options[right] if rng.random() < 0.35 else reason}.")


def existence(
    intent: str, present: list[str], names: Sequence[str], rng: np.random.Generator
) -> Exchange:
    """Whether something is there; in half of the cases it is not."""
    if rng.random() < 0.5:
        shown = noun(pick(present, rng))
        question = ask(intent, rng, x=shown)
        return Exchange(question, say(("Yes, I see {}.", "Yes, there is {}."), rng, shown))
    name = absent(names, [names.index(n) for n in present], rng)
    question = ask(intent, rng, x=noun(name))
    return Exchange(question, say(("No, I see no {}.", "No, there is no {}."), rng, name))


def unknown(scene: PictureScene | CloudScene, rng: np.random.Generator) -> Exchange:
    """A question that no medium answers, and an answer that says so."""
    del scene
    return Exchange(ask("unknown", rng), pick(_UNKNOWN, rng))


def absent(names: Sequence[str], labels: Sequence[int], rng: np.random.Generator) -> str:
    """A name whose index is not among `labels`."""
    return str(rng.choice([name for k, name in enumerate(names) if k not in labels]))


def distract(
    question: str, right: str, pool: Sequence[str], reason: str, rng: np.random.Generator
) -> Choice:
    """A question whose options are `right` and three others of the pool."""
    others = [str(v) for v in rng.permutation([v for v in pool if v != right])[:3]]
    options = reordered([right, *others], rng)
    return question, options, options.index(right), reason


def which_is_shown(
    names: Sequence[str], labels: Sequence[int], questions: Sequence[str], rng: np.random.Generator
) -> Choice:
    """A question whose options are four classes, one of them shown."""
    right = names[pick(labels, rng)]
    others = [name for k, name in enumerate(names) if k not in labels]
    options = reordered([right, *map(str, rng.permutation(others)[:3])], rng)
    return str(rng.choice(questions)), options, options.index(right), f"I see {noun(right)}"


def reordered(values: Sequence[_T], rng: np.random.Generator) -> list[_T]:
    return [values[int(k)] for k in rng.permutation(len(values))]


def label_list(names: Sequence[str], rng: np.random.Generator) -> str:
    """All names, shuffled: "a, b, c or d"."""
    order = reordered(names, rng)
    return ", ".join(order[:-1]) + " or " + order[-1]


def join(parts: Sequence[str]) -> str:
    """ "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def terse(question: str) -> bool:
    """Whether the question asks for the answer alone."""
    return any(mark in question for mark in ("ne word", "ust the", "number.", "only a number"))


def pick(options: Sequence[_T], rng: np.random.Generator) -> _T:
    """One of the options, drawn uniformly."""
    return options[int(rng.integers(len(options)))]


def say(forms: Sequence[str], rng: np.random.Generator, *values: object) -> str:
    """One of the forms, filled in."""
    return pick(forms, rng).format(*values)


def only_ones(placed: Sequence[_Placed]) -> list[_Placed]:
    """The things that are the only ones of their class."""
    labels = [thing.label for thing in placed]
    return [thing for thing in placed if labels.count(thing.label) == 1]
