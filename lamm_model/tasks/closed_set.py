"""Classification over the task's own label set: land use in aerial pictures, hair colour."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.base import ParseResult, ParseStatus
from lamm_model.tasks.classification import (
    ClassificationAnswer,
    ClassificationInputs,
    ClassificationTask,
)
from lamm_model.tasks.label_sets import HAIR_COLOURS, UCMERCED
from lamm_model.tasks.reading.classes import class_index, find_classes
from lamm_model.tasks.sample import Sample


class ClosedSetTask(ClassificationTask):
    """Classification over the task's own `labels`; `question` is the prompt.

    A request may replace the set with its own `labels`. Known synonyms count as their class.
    """

    def __init__(
        self,
        name: str,
        modality: Modality,
        description: str,
        labels: Sequence[str],
        question: str,
    ) -> None:
        super().__init__(name, modality, description)
        self.labels = tuple(labels)
        self._question = question

    @override
    def prompt(self, inputs: ClassificationInputs) -> str:
        """The task's question followed by the label set."""
        return f"{self._question} Choose one of: {', '.join(self.closed_set(inputs))}."

    @override
    def parse(self, text: str, inputs: ClassificationInputs) -> ParseResult[ClassificationAnswer]:
        """The first class that is not negated; partial when the text names other classes too."""
        labels = self.closed_set(inputs)
        named = [match.label for match in find_classes(text, labels) if not match.negated]
        if not named:
            return ParseResult.unparsed()
        status = ParseStatus.OK if len(set(named)) == 1 else ParseStatus.PARTIAL
        return ParseResult(ClassificationAnswer(label=labels[named[0]]), status)

    @override
    def read_sample(self, sample: Sample) -> tuple[ClassificationInputs, ClassificationAnswer]:
        """Target: a class of the set in any spacing or case."""
        inputs = ClassificationInputs(labels=sample.labels)
        labels = self.closed_set(inputs)
        if not isinstance(sample.target, str):
            raise ValueError(f"target is {sample.target!r}; expected a label")
        index = class_index(sample.target, labels)
        if index is None:
            raise ValueError(f"target {sample.target!r} is not among the {len(labels)} labels")
        return inputs, ClassificationAnswer(label=labels[index])

    @override
    def closed_set(self, inputs: ClassificationInputs) -> tuple[str, ...]:
        """The request's labels, or the task's own by default."""
        return inputs.labels or self.labels


TASKS = (
    ClosedSetTask(
        "fine_grained_classification",
        Modality.IMAGE,
        "Name the use of land that a picture from above shows.",
        UCMERCED,
        "Which use of land does this picture show from above?",
    ),
    ClosedSetTask(
        "facial_hair",
        Modality.IMAGE,
        "Name the colour of a person's hair.",
        HAIR_COLOURS,
        "Which colour is the hair of the person in this picture?",
    ),
)
