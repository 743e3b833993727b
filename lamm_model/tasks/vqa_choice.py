"""Multiple-choice questions about a picture or cloud."""

from __future__ import annotations

from string import ascii_uppercase

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import Option, ParseResult, Task
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.choices import read_choice
from lamm_model.tasks.sample import Sample


class ChoiceInputs(TaskModel):
    """The question and its options, which the prompt letters (A), (B) ... in order."""

    question: str = Field(min_length=1, max_length=4000)
    choices: tuple[str, ...] = Field(min_length=2, max_length=len(ascii_uppercase))

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError(f"two of the {len(choices)} choices are equal; all must differ")
        return choices


class RecordedChoices(ChoiceInputs):
    """Inputs of a record, whose options may be equal, as in published sets."""

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        return choices


class ChoiceAnswer(AnswerModel):
    """Index of the chosen option, counted from 0."""

    choice: int = Field(ge=0, lt=len(ascii_uppercase))


class ChoiceTarget(ChoiceAnswer):
    """The right option, and the indices `alike` of all options with its text, itself included."""

    alike: tuple[int, ...]


class ChoiceTask(Task[ChoiceInputs, ChoiceAnswer]):
    """Multiple choice."""

    inputs_model = ChoiceInputs
    answer_model = ChoiceAnswer
    max_tokens = 32

    def prompt(self, inputs: ChoiceInputs) -> str:
        """The question followed by its lettered options."""
        options = " ".join(
            f"({letter}) {c}" for letter, c in zip(ascii_uppercase, inputs.choices, strict=False)
        )
        return f"{inputs.question} Options: {options}"

    def _parse(self, text: str, inputs: ChoiceInputs) -> ParseResult[ChoiceAnswer]:
        """The option that `read_choice` finds; several or ambiguous options are partial."""
        read = read_choice(text, inputs.choices)
        if read is None:
            return ParseResult.unparsed()
        sure = read.sure and len(set(read.indices)) == 1
        return ParseResult.of(ChoiceAnswer(choice=read.indices[0]), sure=sure)

    def render(self, answer: ChoiceAnswer, inputs: ChoiceInputs) -> str:
        """`The answer is (B).`

        Raises:
            ValueError: the inputs have fewer options.
        """
        _check_choice(answer, inputs)
        return f"The answer is ({ascii_uppercase[answer.choice]})."

    def read_sample(self, sample: Sample) -> tuple[ChoiceInputs, ChoiceAnswer]:
        """Target: `{"choice": index from 0, "choices": [...]}`."""
        if not isinstance(sample.target, dict) or set(sample.target) != {"choice", "choices"}:
            raise ValueError(
                f"target is {sample.target!r}; expected the keys 'choice' and 'choices'"
            )
        choices = tuple(sample.target["choices"])
        inputs = RecordedChoices(question=sample.question, choices=choices)
        answer = ChoiceAnswer(choice=sample.target["choice"])
        _check_choice(answer, inputs)
        right = inputs.choices[answer.choice].strip()
        alike = tuple(i for i, one in enumerate(inputs.choices) if one.strip() == right)
        return inputs, ChoiceTarget(choice=answer.choice, alike=alike)

    @override
    def is_hit(self, answer: ChoiceAnswer | None, target: ChoiceAnswer) -> bool:
        """The right option, or one with the same text."""
        right = target.alike if isinstance(target, ChoiceTarget) else (target.choice,)
        return answer is not None and answer.choice in right

    @override
    def options(self, inputs: ChoiceInputs) -> tuple[Option, ...]:
        """The choices, each as a sentence with its letter and by its own words."""
        answers = [ChoiceAnswer(choice=index) for index in range(len(inputs.choices))]
        stated = [self.render(answer, inputs).removesuffix(".") for answer in answers]
        # Blank words have no tokens to score.
        return tuple(
            Option(words, answer, (text, words) if words.strip() else (text,))
            for words, answer, text in zip(inputs.choices, answers, stated, strict=True)
        )

    @override
    def words(self, answer: ChoiceAnswer, inputs: ChoiceInputs) -> str:
        return f"({ascii_uppercase[answer.choice]}) {inputs.choices[answer.choice]}"


_EXAMPLE = {
    "question": "Which animal lies on the sofa?",
    "choices": ["a cat", "a dog", "a rabbit"],
}
TASKS = (
    ChoiceTask(
        "vqa_choice", Modality.IMAGE, "Answer a multiple-choice question about a picture.", _EXAMPLE
    ),
    ChoiceTask(
        "vqa_choice_3d",
        Modality.POINT_CLOUD,
        "Answer a multiple-choice question about a point cloud.",
        _EXAMPLE,
    ),
)


def _check_choice(answer: ChoiceAnswer, inputs: ChoiceInputs) -> None:
    if answer.choice >= len(inputs.choices):
        raise ValueError(
            f"choice is {answer.choice} (from 0), but there are {len(inputs.choices)} options"
        )
