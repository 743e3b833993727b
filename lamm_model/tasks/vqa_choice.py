"""Multiple-choice questions about a picture or cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from pydantic import Field, field_validator

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.metrics import Estimate, proportion
from lamm_model.tasks.parsing import find_labels, plain
from lamm_model.tasks.sample import Sample

_STATED = re.compile(
    r"\b(?:answer|option|choice)(?:\s+(?:is|would be|must be))?\s*:?\s*(?:option\s+)?"
    r"(?:\((?P<bracketed>[A-Za-z])\)|(?P<bare>[A-Z])(?=$|[\s.,;:!)]))(?!\w)",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^[^\w(]*(?:(?P<upper>[A-Z])(?=\W*$|[.):,]|\s+-)|(?P<lower>[a-z])(?=\W*$|\)))"
)
_BRACKETED = re.compile(
    r"(?P<denied>\b(?:not|isn't|than)\s+)?\((?P<letter>[A-Za-z])\)", re.IGNORECASE
)


class ChoiceInputs(TaskModel):
    """The question and its options, lettered (A), (B) ... in order."""

    question: str = Field(min_length=1, max_length=4000)
    choices: tuple[str, ...] = Field(min_length=2, max_length=len(ascii_uppercase))

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError(f"two of the {len(choices)} choices are the same text")
        return choices


class ChoiceAnswer(TaskModel):
    """The chosen option's index, from 0."""

    choice: int = Field(ge=0, lt=len(ascii_uppercase))


class ChoiceTask(Task[ChoiceInputs, ChoiceAnswer]):
    """Choose one of several answers."""

    inputs_model = ChoiceInputs
    answer_model = ChoiceAnswer
    max_tokens = 32

    def prompt(self, inputs: ChoiceInputs) -> str:
        """The question with its lettered options."""
        options = " ".join(
            f"({letter}) {c}" for letter, c in zip(ascii_uppercase, inputs.choices, strict=False)
        )
        return f"{inputs.question} Options: {options}"

    def parse(self, text: str, inputs: ChoiceInputs) -> ParseResult[ChoiceAnswer]:
        """The last stated letter, else a leading or bracketed one, else an option's own text."""
        text = plain(text)
        stated = [m["bracketed"] or m["bare"] for m in _STATED.finditer(text)]
        if stated:
            return _by_letter(stated[-1:], inputs)
        if leading := _LEADING.match(text.strip()):
            return _by_letter([leading["upper"] or leading["lower"]], inputs)
        bracketed = [m["letter"] for m in _BRACKETED.finditer(text) if m["denied"] is None]
        if bracketed:
            return _by_letter(bracketed, inputs)
        named = [match.label for match in find_labels(text, inputs.choices) if not match.negated]
        return _first(named)

    def render(self, answer: ChoiceAnswer, inputs: ChoiceInputs) -> str:
        """`The answer is (B).`

        Raises:
            ValueError: there is no such option.
        """
        if answer.choice >= len(inputs.choices):
            raise ValueError(
                f"choice {answer.choice} of {len(inputs.choices)} options (counted from 0)"
            )
        return f"The answer is ({ascii_uppercase[answer.choice]})."

    def read_sample(self, sample: Sample) -> tuple[ChoiceInputs, ChoiceAnswer]:
        """Target: `{"choice": index from 0, "choices": [...]}`."""
        if not isinstance(sample.target, dict) or set(sample.target) != {"choice", "choices"}:
            raise ValueError(f"target is {sample.target!r}; it must have 'choice' and 'choices'")
        inputs = ChoiceInputs(question=sample.question, choices=tuple(sample.target["choices"]))
        answer = ChoiceAnswer(choice=sample.target["choice"])
        if answer.choice >= len(inputs.choices):
            raise ValueError(
                f"choice {answer.choice} of {len(inputs.choices)} options (counted from 0)"
            )
        return inputs, answer

    def is_hit(self, answer: ChoiceAnswer | None, target: ChoiceAnswer) -> bool:
        """The same option."""
        return answer == target

    def score(
        self, pairs: Sequence[tuple[ChoiceAnswer | None, ChoiceAnswer]]
    ) -> Mapping[str, Estimate]:
        """`accuracy`; an unparsed answer is wrong."""
        if not pairs:
            return {}
        return {"accuracy": proportion(sum(self.is_hit(a, t) for a, t in pairs), len(pairs))}


def _by_letter(letters: Sequence[str], inputs: ChoiceInputs) -> ParseResult[ChoiceAnswer]:
    indices = [ascii_uppercase.index(letter.upper()) for letter in letters]
    return _first([index for index in indices if index < len(inputs.choices)])


def _first(indices: Sequence[int]) -> ParseResult[ChoiceAnswer]:
    if not indices:
        return ParseResult.unparsed()
    status = ParseStatus.OK if len(set(indices)) == 1 else ParseStatus.PARTIAL
    return ParseResult(ChoiceAnswer(choice=indices[0]), status)
