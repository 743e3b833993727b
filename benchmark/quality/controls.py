"""Blind controls: the same questions with what should decide them taken away or moved about.

What a model scores without the picture is what its score owes to the picture not at all. Each
function is pure and gives the same control for the same item, so that answers to controls are kept
and found again like any others. Called by `quality`; scored by `controls_score`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from string import ascii_uppercase

from benchmark.content import CLOUD_FORMATS, IMAGE_TYPES
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks.vqa_choice import ChoiceInputs

# A cloud of another format would have to be decoded to be blanked.
BLANKED_CLOUDS = ("npy",)
_HEADING = re.compile(r"\b(?:options|choices)\s*:?\s*$", re.IGNORECASE)


class Control(StrEnum):
    """What is done to an item; the values are those of `--control`."""

    BLANK_MEDIA = "blank-media"
    SHUFFLED_OPTIONS = "shuffled-options"
    TEXT_ONLY = "text-only"


@dataclass(frozen=True, slots=True)
class Question:
    """An item to ask about as it is (`control` None), or under a control.

    `item` is the changed one: its media are gone, or its options in another order. A blank medium
    is made when it is sent, of the one that the item names (`controls_media`).
    """

    item: Item
    control: Control | None = None


def questions_of(
    row: SuiteRow, controls: Sequence[Control]
) -> dict[Control | None, tuple[Question, ...]]:
    """A row's questions as they are (under None) and under each control that fits any of them."""
    found: dict[Control | None, tuple[Question, ...]] = {None: tuple(map(Question, row.items))}
    for control in controls:
        changed = (under_control(item, control) for item in row.items)
        if questions := tuple(question for question in changed if question is not None):
            found[control] = questions
    return found


def under_control(item: Item, control: Control) -> Question | None:
    """The item's question under a control; None where the control makes no sense for it."""
    match control:
        case Control.BLANK_MEDIA:
            return Question(item, control) if _can_be_blank(item) else None
        case Control.TEXT_ONLY:
            return Question(_without_media(item), control) if item.media is not None else None
        case Control.SHUFFLED_OPTIONS:
            shuffled = _with_shuffled_options(item)
            return None if shuffled is None else Question(shuffled, control)


def option_spans(question: str, choices: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where a question writes its options, as (A) or A. or A: before each; None where it does not.

    The spans are those of the options' own texts, in order.
    """
    found = _listed(question, choices)
    return None if found is None else [found.span(i + 1) for i in range(len(choices))]


def without_options(question: str, choices: Sequence[str]) -> str:
    """The question alone; as it is where it writes no options, or nothing else."""
    found = _listed(question, choices)
    if found is None:
        return question
    stem = _HEADING.sub("", question[: found.start()]).rstrip()
    rest = question[found.end() :].lstrip(" .,;\n")
    return " ".join(part for part in (stem, rest) if part) or question


def seed_of(item: Item) -> int:
    """A seed of the item's own, whatever else is asked."""
    return int.from_bytes(hashlib.sha256(f"{item.row}/{item.sample.id}".encode()).digest()[:8])


def _listed(question: str, choices: Sequence[str]) -> re.Match[str] | None:
    pattern = r"[\s,;|]*".join(
        rf"(?:\({letter}\)|\b{letter}[.):])\s*({re.escape(choice.strip())})"
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
    )
    return re.search(pattern, question)


def _can_be_blank(item: Item) -> bool:
    suffix = "" if item.media is None else item.media.suffix.lower()
    if suffix in IMAGE_TYPES:
        return True
    return suffix[1:] in CLOUD_FORMATS and suffix[1:] in BLANKED_CLOUDS


def _without_media(item: Item) -> Item:
    sample = item.sample.model_copy(update={"image": None, "pcl": None})
    return replace(item, sample=sample, media=None)


def _with_shuffled_options(item: Item) -> Item | None:
    """The item with its options in another order, its target where the right one went."""
    inputs = item.inputs
    if not isinstance(inputs, ChoiceInputs):
        return None
    spans = option_spans(item.sample.question, inputs.choices)
    if spans is None:
        return None
    order = _another_order(len(inputs.choices), seed_of(item))
    choices = [inputs.choices[index] for index in order]
    question, end = "", 0
    for (start, stop), choice in zip(spans, choices, strict=True):
        question += item.sample.question[end:start] + choice.strip()
        end = stop
    question += item.sample.question[end:]
    target = {"choice": order.index(item.target.choice), "choices": choices}
    sample = item.sample.model_copy(update={"question": question, "target": target})
    new_inputs, new_target = item.task.read_sample(sample)
    return replace(item, sample=sample, inputs=new_inputs, target=new_target)


def _another_order(count: int, seed: int) -> list[int]:
    """A permutation of `range(count)` that moves something: the same order would test nothing."""
    rng = random.Random(seed)
    order = list(range(count))
    while order == sorted(order):
        rng.shuffle(order)
    return order
