"""Points in a picture: one joint of a body, and the place of each object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator
from typing_extensions import override

from lamm_model.tasks.base import ParseResult, ParseStatus, Task, TaskModel
from lamm_model.tasks.classification import ClassificationInputs
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tasks.metrics import (
    Estimate,
    precision_recall_f1,
    proportion,
)
from lamm_model.tasks.reading.coordinates import (
    Group,
    Point,
    Size,
    groups,
    joined_pairs,
    scale_of,
    shares,
    tidy,
)
from lamm_model.tasks.reading.named_numbers import Role
from lamm_model.tasks.reading.places import (
    cut_short,
    is_denied,
    labelled,
    says_nothing_is_there,
)
from lamm_model.tasks.sample import Sample
from lamm_model.tasks.targets import (
    JointTarget,
    LocatedObject,
    LocatingAnswer,
    LocatingTarget,
    PointAnswer,
    read_joint_target,
    read_locating_target,
    region_counts,
)


class KeypointInputs(TaskModel):
    """`joint`: which point of the body; `size`: width and height, to read answers in pixels."""

    joint: str = Field(min_length=1, max_length=100)
    size: Size | None = None

    @field_validator("joint")
    @classmethod
    def _one_of_fourteen(cls, joint: str) -> str:
        if joint not in JOINTS:
            raise ValueError(f"joint {joint!r} is none of {', '.join(JOINTS)}")
        return joint


class LocatingInputs(ClassificationInputs):
    """`labels`: the closed set to look for; `size`: width and height, to read pixels."""

    size: Size | None = None


class KeypointTask(Task[KeypointInputs, PointAnswer]):
    """Find one joint of a body."""

    inputs_model = KeypointInputs
    answer_model = PointAnswer
    max_tokens = 48
    primary_metric = "pck@0.2_torso"

    @override
    def prompt(self, inputs: KeypointInputs) -> str:
        """Asks for one joint."""
        return (
            f"Where is the {inputs.joint} of the person in this {self.noun()}? "
            "Answer with a point [x, y], both from 0 to 1."
        )

    @override
    def parse(self, text: str, inputs: KeypointInputs) -> ParseResult[PointAnswer]:
        """The first point; the centre of a box, another frame or further points are partial."""
        text = tidy(text)
        numbers = groups(text)
        usable = [g for g in numbers if _is_place(g) and not is_denied(text, g)]
        scale = scale_of(usable, inputs.size)
        points = [_read_point(group, scale) for group in usable]
        found = [(point, intact) for point, intact in points if point is not None]
        if not found:
            return ParseResult.unparsed()
        point, intact = found[0]
        alone = len({point for point, _ in found}) == 1 and usable == numbers
        sure = intact and alone and usable[0].bracketed
        return ParseResult(
            PointAnswer(point=point), ParseStatus.OK if sure else ParseStatus.PARTIAL
        )

    @override
    def render(self, answer: PointAnswer, inputs: KeypointInputs) -> str:
        """`[0.512, 0.340]`, rounded to three decimals."""
        return _written(answer.point)

    def read_sample(self, sample: Sample) -> tuple[KeypointInputs, JointTarget]:
        """Target: `{"joint": name, "joints": [[x, y] or [x, y, flag] in pixels, 14 of them]}`."""
        target = read_joint_target(sample)
        return KeypointInputs(joint=target.joint, size=sample.size), target

    def is_hit(self, answer: PointAnswer | None, target: PointAnswer) -> bool:
        """Within a fifth of the torso's length of the joint, measured in pixels (PCK@0.2)."""
        if answer is None:
            return False
        return isinstance(target, JointTarget) and target.within_torso(answer.point, 0.2)

    def score(
        self, pairs: Sequence[tuple[PointAnswer | None, PointAnswer]]
    ) -> Mapping[str, Estimate]:
        """`pck@0.2_torso`: the share of joints found; an unparsed answer found none."""
        if not pairs:
            return {}
        hits = sum(self.is_hit(a, t) for a, t in pairs)
        return {"pck@0.2_torso": proportion(hits, len(pairs))}


class LocatingTask(Task[LocatingInputs, LocatingAnswer]):
    """Say of each object where it is, as one point."""

    inputs_model = LocatingInputs
    answer_model = LocatingAnswer
    max_tokens = 256
    primary_metric = "f1"

    def prompt(self, inputs: LocatingInputs) -> str:
        """Asks for labels and points; a closed set is written out."""
        question = (
            f"Which objects are in this {self.noun()}, and where? Give a point [x, y] for each, "
            "both from 0 to 1."
        )
        if inputs.labels is None:
            return question
        return f"{question} Objects may be: {', '.join(inputs.labels)}."

    def parse(self, text: str, inputs: LocatingInputs) -> ParseResult[LocatingAnswer]:
        """Every point with the label before it (or after it); boxes count as their centres."""
        text = tidy(text)
        numbers = groups(text)
        joined = list(joined_pairs(numbers, text, 2))
        # "From (0.1, 0.2) to (0.5, 0.6)" is a box, whatever else the two points may be.
        cornered = len(joined) < len(numbers) and any(g.role is Role.LOW for g in numbers)
        numbers = joined if _has_boxes(numbers) else numbers
        usable = [group for group in numbers if _is_place(group)]
        if not usable:
            if says_nothing_is_there(text, inputs.labels):
                return ParseResult(LocatingAnswer(objects=()), ParseStatus.OK)
            return ParseResult.unparsed()
        scale = scale_of(usable, inputs.size)
        there = list(labelled(text, usable, inputs.labels))
        whole = usable == numbers and usable[0].bracketed and not cut_short(text, usable)
        whole = whole and len(there) == len(usable) and not cornered
        objects: list[LocatedObject] = []
        for label, group in there:
            point, intact = _read_point(group, scale)
            whole = whole and intact
            if point is not None:
                objects.append(LocatedObject(label=label, point=point))
        if not objects:
            return ParseResult.unparsed()
        unlabelled = sum(found.label is None for found in objects)
        if 0 < unlabelled < len(objects):
            whole = False
            objects = [found for found in objects if found.label is not None]
        status = ParseStatus.OK if whole else ParseStatus.PARTIAL
        return ParseResult(LocatingAnswer(objects=tuple(objects)), status)

    @override
    def render(self, answer: LocatingAnswer, inputs: LocatingInputs) -> str:
        """`dog [0.512, 0.340]; cat [...]`, rounded to three decimals."""
        if not answer.objects:
            return "There are no objects."
        return "; ".join(
            f"{found.label} {_written(found.point)}" if found.label else _written(found.point)
            for found in answer.objects
        )

    def read_sample(self, sample: Sample) -> tuple[LocatingInputs, LocatingTarget]:
        """Target: `{"objects": ...}`, `{"joints": ...}` or `{"points": ...}`, see `targets`."""
        target = read_locating_target(sample)
        return LocatingInputs(labels=sample.labels, size=sample.size), target

    def is_hit(self, answer: LocatingAnswer | None, target: LocatingAnswer) -> bool:
        """A point in every object, each of its own, and none beside."""
        return answer is not None and region_counts(answer, target).f1 == 1.0

    def score(
        self, pairs: Sequence[tuple[LocatingAnswer | None, LocatingAnswer]]
    ) -> Mapping[str, Estimate]:
        """`precision`, `recall`, `f1` of points against objects, one to one, labels alike."""
        if not pairs:
            return {}
        counts = [region_counts(answer, target) for answer, target in pairs]
        return precision_recall_f1(counts)


def _read_point(group: Group, scale: tuple[float, float] | None) -> tuple[Point | None, bool]:
    """A point (or a box's centre) within 0-1, and whether it is a point that needed no repair."""
    values, intact = shares(group, scale)
    if values is None:
        return None, False
    if len(values) == 2:
        return (values[0], values[1]), intact
    return ((values[0] + values[2]) / 2, (values[1] + values[3]) / 2), False


def _is_place(group: Group) -> bool:
    """Whether a group is a point or a box, and no width and height."""
    return len(group.values) in {2, 4} and group.role is not Role.EXTENT


def _has_boxes(found: Sequence[Group]) -> bool:
    return any(len(group.values) == 4 for group in found)


def _written(point: Point) -> str:
    return f"[{point[0]:.3f}, {point[1]:.3f}]"
