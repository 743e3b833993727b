"""Localisation of objects in a picture: labels with points [x, y] as shares of its sides."""

from __future__ import annotations

from typing_extensions import override

from lamm_model.conversation import Modality
from lamm_model.tasks.classification import LABELS_EXAMPLE
from lamm_model.tasks.metrics import DetectionCounts
from lamm_model.tasks.places.listed import PlacesTask, SoughtInputs
from lamm_model.tasks.places.notations import PicturePoints
from lamm_model.tasks.reading.coordinates import Size
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.targets import (
    LocatingAnswer,
    LocatingTarget,
    read_locating_target,
    region_counts,
)


class LocatingInputs(SoughtInputs):
    """`labels`: the closed set to look for; with None the model uses its own words.

    `size`: width and height of the picture, needed to read an answer in pixels.
    """

    size: Size | None = None


class LocatingTask(PlacesTask[LocatingInputs, LocatingAnswer]):
    """Localisation of objects, one point per object."""

    inputs_model = LocatingInputs
    answer_model = LocatingAnswer
    max_tokens = 256
    primary_metric = "f1"
    notation = PicturePoints(joined=True)
    question = (
        "Which objects are in this {noun}, and where? Give a point [x, y] for each, "
        "both from 0 to 1."
    )
    thresholds = (None,)
    needs_labels = False

    @override
    def read_sample(self, sample: Sample) -> tuple[LocatingInputs, LocatingTarget]:
        """Target: `{"objects": ...}`, `{"joints": ...}` or `{"points": ...}`, see `targets`."""
        target = read_locating_target(sample)
        return LocatingInputs(labels=sample.labels, size=sample.size), target

    @override
    def counts(
        self, answer: LocatingAnswer | None, target: LocatingAnswer, threshold: float | None
    ) -> DetectionCounts:
        """One-to-one matches of points and regions with the same label."""
        return region_counts(answer, target)


TASKS = (
    LocatingTask(
        "locating",
        Modality.IMAGE,
        "Find the objects in a picture, a label and a point each.",
        LABELS_EXAMPLE,
    ),
)
