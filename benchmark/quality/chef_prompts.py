"""How ChEF asks closed questions: its prompt, the beginning of the answer, and each option's text.

Facts from OpenGVLab/LAMM main at ea57136: the pools of prompts and answer templates, with the
numbers that its recipes name for LAMM. A template ends with the option, so that the text before it
is given and the option's own tokens are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType

from benchmark.quality.controls import without_options
from benchmark.suite import Item
from lamm_model.tasks.vqa_choice import ChoiceInputs

_QUESTION = "{question}"
_FINE = "What is the fine-grained category label for the object in this image?"
_FINE_PREFIX = "The fine-grained category label for this image is "
_OPTIONS, _CONTEXT = "Options:", "Context:"


@dataclass(frozen=True, slots=True)
class _Way:
    """A prompt and the text before the option, from ChEF's pools."""

    prompt: str
    prefix: str


# Recipes: CIFAR10/ppl (prompt 0, template 1 for LAMM), Omnibenchmark/singleturn_ppl (0, 0) and
# ScienceQA/ppl (0, 0). ChEF ranks no options about point clouds; they are asked as pictures are.
_WAYS: Mapping[str, _Way] = MappingProxyType(
    {
        "classification": _Way("The photo of the ", ""),
        "classification_3d": _Way("The photo of the ", ""),
        "fine_grained_classification": _Way(_FINE, _FINE_PREFIX),
        "vqa_choice": _Way("{question}The answer is", "The answer is "),
        "vqa_choice_3d": _Way("{question}The answer is", "The answer is "),
    }
)


def is_ranked(item: Item) -> bool:
    """Whether ChEF ranks the options of an item: classes of a closed set, and choices."""
    return item.task.name in _WAYS and bool(item.task.options(item.inputs))


def prefix(item: Item) -> str:
    """The beginning of the answer, before the option."""
    return _WAYS[item.task.name].prefix


def option_texts(item: Item) -> list[str]:
    """The options as they are scored: a class's name, or the begun letter of a choice, `(A`."""
    options = item.task.options(item.inputs)
    if isinstance(item.inputs, ChoiceInputs):
        return [f"({letter}" for letter, _ in zip(ascii_uppercase, options, strict=False)]
    return [option.name for option in options]


def prompt(item: Item) -> str:
    """The question of an item."""
    return _WAYS[item.task.name].prompt.replace(_QUESTION, _question(item))


def example(item: Item) -> str:
    """An in-context example: its question, and its right answer by the template."""
    question = _question(item) or _WAYS[item.task.name].prompt
    return f"{question}\n{prefix(item)}{_right(item)}"


def _right(item: Item) -> str:
    """The right option as examples state it: a class's name, or the letter of a choice, `(A)`."""
    words = item.task.words(item.target, item.inputs)
    if not isinstance(item.inputs, ChoiceInputs):
        return words
    letter, closed, _ = words.partition(")")
    return f"{letter}{closed}"


def _question(item: Item) -> str:
    """A choice's question and options as ChEF writes them, context left out; else nothing."""
    inputs = item.inputs
    if not isinstance(inputs, ChoiceInputs):
        return ""
    asked = item.sample.question
    if asked.count(_OPTIONS) == 1:
        stem, _, options = asked.partition(_OPTIONS)
    else:
        stem = f"{without_options(asked, inputs.choices)}\n"
        listed = zip(ascii_uppercase, inputs.choices, strict=False)
        options = "".join(f" ({letter}) {choice}" for letter, choice in listed)
    return f"Question: {stem.partition(_CONTEXT)[0]}{_OPTIONS}{options}\n"
