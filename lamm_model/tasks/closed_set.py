"""Classification over the task's own label set: land use in aerial pictures, hair colour."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.classification import ClassificationInputs, ClassificationTask
from lamm_model.tasks.label_sets import HAIR_COLOURS, UCMERCED
from lamm_model.tasks.reading.classes import class_index


class ClosedSetTask(ClassificationTask):
    """Classification over the task's own `labels`, which a request may replace."""

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
        self.question = question

    @override
    def spelled(self, target: str, labels: tuple[str, ...]) -> str | None:
        """The class of the set in any spacing or case."""
        index = class_index(target, labels)
        return None if index is None else labels[index]

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
