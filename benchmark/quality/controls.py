"""Blind controls: the same questions without their media, or with shuffled options.

The score under a control is the part of the score that does not come from the picture. Controls are
deterministic, so that their answers are stored and found like all others.
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
from benchmark.quality.recipe import Asked
from benchmark.suite import Item, SuiteRow
from lamm_model.tasks.vqa_choice import ChoiceInputs

# Clouds in other formats would have to be decoded first.
BLANKED_CLOUDS = ("npy",)
_HEADING = re.compile(r"\b(?:options|choices)\s*:?\s*$", re.IGNORECASE)


class Control(StrEnum):
    """The change to an item; the values are those of `--control`."""

    BLANK_MEDIA = "blank-media"
    SHUFFLED_OPTIONS = "shuffled-options"
    TEXT_ONLY = "text-only"


@dataclass(frozen=True, slots=True)
class Question:
    """An item, unchanged (`control` None) or under a control.

    `item` is the changed item: without its media, or with its options in another order. A blank
    medium is made when the question is sent (`controls_media`). `asked` is how a recipe asks it.
    `examples` come before it in the prompt, unchanged.
    """

    item: Item
    control: Control | None = None
    asked: Asked | None = None
    examples: tuple[Item, ...] = ()

    @property
    def text(self) -> str:
        """The words that are sent; a recipe asks in those of the published file."""
        sample = self.item.sample
        return sample.question if self.asked is None else sample.query or sample.question


def questions_of(
    row: SuiteRow, controls: Sequence[Control]
) -> dict[Control | None, tuple[Question, ...]]:
    """The questions of a row: unchanged (key None), and under each control that applies."""
    found: dict[Control | None, tuple[Question, ...]] = {None: tuple(map(Question, row.items))}
    for control in controls:
        changed = (under_control(item, control) for item in row.items)
        if questions := tuple(question for question in changed if question is not None):
            found[control] = questions
    return found


def under_control(item: Item, control: Control) -> Question | None:
    """The question under a control; None if the control does not apply to the item."""
    match control:
        case Control.BLANK_MEDIA:
            return Question(item, control) if _can_be_blank(item) else None
        case Control.TEXT_ONLY:
            return Question(_without_media(item), control) if item.media is not None else None
        case Control.SHUFFLED_OPTIONS:
            shuffled = _with_shuffled_options(item)
            return None if shuffled is None else Question(shuffled, control)


def option_spans(question: str, choices: Sequence[str]) -> list[tuple[int, int]] | None:
    """The spans of the option texts in a question that lists them as (A), A. or A:; else None."""
    found = _listed(question, choices)
    return None if found is None else [found.span(i + 1) for i in range(len(choices))]


def without_options(question: str, choices: Sequence[str]) -> str:
    """The question without its list of options; unchanged if it has none, or nothing else."""
    found = _listed(question, choices)
    if found is None:
        return question
    stem = _HEADING.sub("", question[: found.start()]).rstrip()
    rest = question[found.end() :].lstrip(" .,;\n")
    return " ".join(part for part in (stem, rest) if part) or question


def seed_of(item: Item) -> int:
    """A seed that depends on the item only."""
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
    """The item with its options in another order and its target adjusted."""
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
    """A permutation of `range(count)` other than the identity."""
    rng = random.Random(seed)
    order = list(range(count))
    while order == sorted(order):
        rng.shuffle(order)
    return order
