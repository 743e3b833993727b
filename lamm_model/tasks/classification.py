"""Classification of a picture or cloud, over a closed label set or in free words."""

from __future__ import annotations

import re

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import Option, ParseResult, Task
from lamm_model.tasks.models import AnswerModel, TaskModel
from lamm_model.tasks.reading.classes import find_classes
from lamm_model.tasks.reading.denials import negates, says_unknown
from lamm_model.tasks.reading.words import plain, tokens
from lamm_model.tasks.sample import Sample

MAX_LABELS = 1000
MAX_FREE_WORDS = 4
LABELS_EXAMPLE = {"labels": ["chair", "table", "sofa"]}
_LEAD = re.compile(
    r"^(?:i (?:think|believe|guess)(?: that)?\s+)?"
    r"(?:(?:(?:this|the)\s+"
    r"(?:object|item|picture|image|product|point cloud|cloud|answer|class|label)"
    r"|this|that|it|there)"
    r"\s*(?:here\s+)?(?:(?:in|of) (?:the|this) (?:picture|image|photo|point cloud|cloud)\s+)?"
    r"(?:is|shows|depicts|contains|features|represents|looks like|must be|appears to be"
    r"|seems to be|resembles|:)"
    r"|it's|that's|(?:i|you|we) (?:can )?see|answer:)\s+",
    re.IGNORECASE,
)
# Parts of a sentence that do not name a class: locations and polite phrases.
_ASIDE = re.compile(
    r"^(?:(?:in|on|from|at|based on|according to|looking at|judging by)\s.*"
    r"\b(?:picture|image|photo|cloud|data|scene|shape|points|structure)"
    r"|sure|yes|no|certainly|of course|okay|ok|well|absolutely|hello|hi|thanks?|however)$",
    re.IGNORECASE,
)
_NO_CLASS = frozenset({"unknown", "none", "nothing", "unclear", "blurry", "empty", "n/a"})
_ARTICLE = re.compile(
    r"^(?:(?:most likely|likely|probably|possibly|perhaps|maybe|clearly)\s+)?"
    r"(?:(?:a|an|the|some)\s+)?"
    r"(?:(?:pair|(?:3d\s+)?(?:model|picture|image|photo|point cloud|scan|shape))\s+of\s+)?"
    r"(?:(?:a|an|the)\s+)?",
    re.IGNORECASE,
)


class ClassificationInputs(TaskModel):
    """`labels`: the closed set to choose from; with None the model answers in its own words."""

    labels: tuple[str, ...] | None = Field(default=None, min_length=2, max_length=MAX_LABELS)

    @field_validator("labels")
    @classmethod
    def _distinguishable(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        seen: dict[tuple[str, ...], str] = {}
        for label in labels or ():
            spelling = tuple(tokens(label))
            if not spelling:
                raise ValueError(f"label {label!r} has no letter and no digit")
            if spelling in seen:
                raise ValueError(
                    f"labels {seen[spelling]!r} and {label!r} cannot be told apart in a text"
                )
            seen[spelling] = label
        return labels


class ClassificationAnswer(AnswerModel):
    """The class, spelled as in the label set if there is one."""

    label: str = Field(min_length=1)


class ClassificationTask(Task[ClassificationInputs, ClassificationAnswer]):
    """Classification, over the labels of a request or in free words.

    Attributes:
        question: the prompt without its closed set, `{noun}` for the medium's name.
    """

    inputs_model = ClassificationInputs
    answer_model = ClassificationAnswer
    max_tokens = 32
    question = "What does this {noun} show?"

    def prompt(self, inputs: ClassificationInputs) -> str:
        """Asks for the class; a closed set is written out."""
        question = self.question.format(noun=self.noun)
        labels = self.closed_set(inputs)
        return f"{question} Choose one of: {', '.join(labels)}." if labels else question

    def _parse(self, text: str, inputs: ClassificationInputs) -> ParseResult[ClassificationAnswer]:
        """The first label that is not negated; partial when the text names other labels too.

        A synonym names its label, unless it may name two labels of the set.
        """
        labels = self.closed_set(inputs)
        if not labels:
            return _free_label(text)
        named = [match.label for match in find_classes(text, labels) if not match.negated]
        if not named:
            return ParseResult.unparsed()
        answer = ClassificationAnswer(label=labels[named[0]])
        return ParseResult.of(answer, sure=len(set(named)) == 1)

    @override
    def render(self, answer: ClassificationAnswer, inputs: ClassificationInputs) -> str:
        return answer.label

    def read_sample(self, sample: Sample) -> tuple[ClassificationInputs, ClassificationAnswer]:
        """Target: a label, a member of the closed set if there is one."""
        inputs = ClassificationInputs(labels=sample.labels)
        labels = self.closed_set(inputs)
        if not isinstance(sample.target, str):
            raise ValueError(f"target is {sample.target!r}; expected a label")
        label = self.spelled(sample.target, labels) if labels else sample.target
        if label is None:
            raise ValueError(f"target {sample.target!r} is not among the {len(labels)} labels")
        return inputs, ClassificationAnswer(label=label)

    def is_hit(self, answer: ClassificationAnswer | None, target: ClassificationAnswer) -> bool:
        """Same label, ignoring case and plural."""
        return answer is not None and tokens(answer.label) == tokens(target.label)

    @override
    def options(self, inputs: ClassificationInputs) -> tuple[Option, ...]:
        """The labels of the closed set, if there is one."""
        answers = ((name, ClassificationAnswer(label=name)) for name in self.closed_set(inputs))
        return tuple(Option(name, one, (self.render(one, inputs),)) for name, one in answers)

    def closed_set(self, inputs: ClassificationInputs) -> tuple[str, ...]:
        """The labels that an answer may have; empty for an open set."""
        return inputs.labels or ()

    def spelled(self, target: str, labels: tuple[str, ...]) -> str | None:
        """The label that a sample's target names; None if there is none."""
        return target if target in labels else None


TASKS = (
    ClassificationTask(
        "classification",
        Modality.IMAGE,
        "Name what a picture shows, from a closed set or in free words.",
        LABELS_EXAMPLE,
    ),
    ClassificationTask(
        "classification_3d",
        Modality.POINT_CLOUD,
        "Name the object that a point cloud shows.",
        LABELS_EXAMPLE,
    ),
)


def _free_label(text: str) -> ParseResult[ClassificationAnswer]:
    """The first part of the text that names a class without negating it."""
    for part in re.split(r"[.;!?\n](?:\s|$)|,\s", plain(text).strip()):
        said = part.strip(" .;:!?\"'*`")
        label = _ARTICLE.sub("", _LEAD.sub("", said)).strip(" *\"'`")
        words = label.casefold().split()
        if says_unknown(said):
            return ParseResult.unparsed()
        named = bool(tokens(label)) and label.casefold() not in _NO_CLASS
        denied = any(negates(words, index) for index in range(len(words)))
        if denied or not named or _ASIDE.match(said):
            continue
        # A long remainder is a sentence that no pattern covered, and "a or b" are two classes.
        sure = len(tokens(label)) <= MAX_FREE_WORDS and "or" not in words
        return ParseResult.of(ClassificationAnswer(label=label), sure=sure)
    return ParseResult.unparsed()
