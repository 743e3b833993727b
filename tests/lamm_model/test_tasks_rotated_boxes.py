"""Rotated boxes: overlap against shapely's polygons, and how texts and records state a yaw."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from shapely import Polygon, affinity
from shapely import box as upright

from lamm_model.tasks import TASKS, Sample
from lamm_model.tasks.boxes_3d import Box3DAnswer
from lamm_model.tasks.rotated_boxes import box_3d_iou, edges, footprint, is_outside
from service.tasks.places import repairs

Numbers = tuple[float, ...]
UNIT: Numbers = (0, 0, 0, 1, 1, 1)


def shape_of(box: Sequence[float]) -> Polygon:
    """The footprint, made by shapely: an upright rectangle, then rotated about its middle."""
    x, y, _, length, width = box[:5]
    flat = upright(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    yaw = box[6] if len(box) > 6 else 0.0
    return affinity.rotate(flat, yaw, origin=(x, y), use_radians=True)


def iou_by_shapely(first: Sequence[float], second: Sequence[float]) -> float:
    top = min(first[2] + first[5] / 2, second[2] + second[5] / 2)
    bottom = max(first[2] - first[5] / 2, second[2] - second[5] / 2)
    # Without a grid, GEOS sometimes takes two that only touch for identical ones.
    ground = shape_of(first).intersection(shape_of(second), grid_size=1e-12).area
    shared = ground * max(0.0, top - bottom)
    union = math.prod(first[3:6]) + math.prod(second[3:6]) - shared
    return float(shared / union) if union > 0 else 0.0


def pairs() -> list[tuple[Numbers, Numbers]]:
    """Random pairs, each with its identical, touching, contained, thin and turned relatives."""
    rng = random.Random(0)

    def box() -> Numbers:
        centre = [rng.uniform(-1, 1) for _ in range(3)]
        return (*centre, *(rng.uniform(0.1, 3) for _ in range(3)), rng.uniform(-6.28, 6.28))

    found: list[tuple[Numbers, Numbers]] = []
    for _ in range(300):
        first, second = box(), box()
        x, y, z, length, width, height, yaw = first
        along = (x + length * math.cos(yaw), y + length * math.sin(yaw))
        inner = (x, y, z, length / 2, width / 3, height / 2, yaw + 0.1)
        found += [
            (first, second),
            (first, second[:6]),
            (first[:6], second),
            (first, first),
            (first, (*along, z, *first[3:])),
            (first, inner),
            (first, (*second[:3], second[3], 0.0, *second[5:])),
            (first, (*first[:6], yaw + math.pi / 2)),
            (first, (*first[:6], -yaw)),
        ]
    return found


def test_overlap_is_that_of_shapely_s_polygons() -> None:
    known = pairs()
    assert len(known) == 2700
    for first, second in known:
        expected = iou_by_shapely(first, second)
        assert box_3d_iou(first, second) == pytest.approx(expected, rel=0, abs=1e-9), (
            first,
            second,
        )
        assert box_3d_iou(second, first) == pytest.approx(expected, rel=0, abs=1e-9), (
            second,
            first,
        )
    partly = [pair for pair in known if 0.01 < box_3d_iou(*pair) < 0.99]
    assert len(partly) > 1000


def test_overlaps_known_without_calculation() -> None:
    rng = random.Random(1)
    for _ in range(100):
        x, y, z, length, width, height = (rng.uniform(0.1, 3) for _ in range(6))
        yaw = rng.uniform(-6, 6)
        turned = (x, y, z, width, length, height, math.pi / 2)
        assert box_3d_iou((x, y, z, length, width, height), turned) == pytest.approx(1, abs=1e-12)
        for full in (-math.pi, math.pi, 2 * math.pi):
            same = (x, y, z, length, width, height)
            assert box_3d_iou((*same, yaw), (*same, yaw + full)) == pytest.approx(1, abs=1e-12)
        assert box_3d_iou((*turned[:6], yaw), (*turned[:6], yaw)) == pytest.approx(1)
    # Two unit squares at 45 degrees share a regular octagon.
    octagon = 2 * math.sqrt(2) - 2
    assert box_3d_iou(UNIT, (*UNIT, math.pi / 4)) == pytest.approx(octagon / (2 - octagon))
    # Counter-clockwise seen from above: l points to the upper right.
    arm = (0, 0, 0, 4, 0.2, 1, math.pi / 4)
    assert box_3d_iou(arm, (1, 1, 0, 0.2, 0.2, 1)) > 0.03
    assert box_3d_iou(arm, (1, -1, 0, 0.2, 0.2, 1)) == 0.0
    # Far from the origin nothing is lost but the digits of the numbers themselves.
    far = (6e5, 5e6, 0, 1, 1, 1, math.pi / 4)
    assert box_3d_iou((6e5, 5e6, 0, 1, 1, 1), far) == pytest.approx(octagon / (2 - octagon))


def test_empty_and_enormous_boxes_do_not_raise() -> None:
    point = (0, 0, 0, 0, 0, 0, 1.0)
    assert box_3d_iou(point, point) == 0.0
    assert box_3d_iou((*UNIT, 1.0), point) == 0.0
    for most in (1e9, 1e300):
        assert 0 <= box_3d_iou((most, 0, 0, most, most, most, 1.0), (0, 0, 0, 1, most, 1, 2)) <= 1


def test_corners_go_round_counter_clockwise_from_above() -> None:
    assert footprint((1, 2, 0, 4, 2, 1)) == [(-1, 1), (3, 1), (3, 3), (-1, 3)]
    quarter = footprint((0, 0, 0, 4, 2, 1, math.pi / 2))
    for corner, expected in zip(quarter, [(1, -2), (1, 2), (-1, 2), (-1, -2)], strict=True):
        assert corner == pytest.approx(expected)
    lines = edges((0, 0, 1, 4, 2, 6, 0.7))
    assert len(set(lines)) == 12
    lengths = sorted(round(math.dist(*line), 9) for line in lines)
    assert lengths == [2.0] * 4 + [4.0] * 4 + [6.0] * 4
    assert {point[2] for line in lines for point in line} == {-2.0, 4.0}


def test_outside_is_what_shapely_calls_disjoint() -> None:
    rng = random.Random(2)
    outside = 0
    for _ in range(1000):
        box = (
            *(rng.uniform(-3, 3) for _ in range(2)), 0.0,
            *(rng.uniform(0, 3) for _ in range(2)), 1.0, rng.uniform(-6, 6),
        )  # fmt: skip
        low, high = (-1.0, -0.5, -1.0), (1.0, 0.5, 1.0)
        expected = shape_of(box).disjoint(upright(*low[:2], *high[:2]))
        assert is_outside(box, low, high) == expected, box
        outside += expected
    assert 300 < outside < 800
    assert is_outside((0, 0, 3, 1, 1, 1, 0.5), (-1, -1, -1), (1, 1, 1))


BOX = (1.0, 2.0, 0.5, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("text", "yaw", "status"),
    [
        ("[1, 2, 0.5, 1, 2, 3]", (), "ok"),
        ("[1, 2, 0.5, 1, 2, 3, 0.00]", (0.0,), "ok"),
        ("[1, 2, 0.5, 1, 2, 3, -1.57]", (-1.57,), "ok"),
        ("[1, 2, 0.5, 1, 2, 3, 6.2832]", (6.2832,), "ok"),
        ("[1, 2, 0.5, 1, 2, 3, 1.57 rad]", (1.57,), "ok"),
        ("[1m, 2m, 0.5m, 1m, 2m, 3m, 1.57 rad]", (1.57,), "ok"),
        ("[1, 2, 0.5, 1, -2, 3, 0.3]", (0.3,), "partial"),
        ("1, 2, 0.5, 1, 2, 3, 0.3", (0.3,), "partial"),
        ("1, 2, 0.5, 1, 2, 3, 0.3 rad", (0.3,), "partial"),
        ('{"x": 1, "y": 2, "z": 0.5, "l": 1, "w": 2, "h": 3, "yaw": 0.3}', (0.3,), "ok"),
        ("{x: 1, y: 2, z: 0.5, w: 2, heading: 0.3, l: 1, h: 3}", (0.3,), "ok"),
        ("(x, y, z, l, w, h, yaw): [1, 2, 0.5, 1, 2, 3, 0.3]", (0.3,), "ok"),
        ('{"center": [1, 2, 0.5], "size": [1, 2, 3], "yaw": 0.3}', (0.3,), "ok"),
        ('{\n  "center": [1, 2, 0.5],\n  "size": [1, 2, 3],\n\n  "yaw": 0.3\n}', (0.3,), "ok"),
        ("[1, 2, 0.5, 1, 2, 3] with a yaw of 0.3 rad.", (0.3,), "ok"),
        ("[1, 2, 0.5, 1, 2, 3], rotation: 0.3", (0.3,), "partial"),
        # A rotation that no box has taken is not passed over.
        ("yaw 0.3: [1, 2, 0.5, 1, 2, 3]", (), "partial"),
        ('{"yaw": 0.3, "bbox": [1, 2, 0.5, 1, 2, 3]}', (), "partial"),
        ('{"bbox": [1, 2, 0.5, 1, 2, 3], "rotation_y": 0.3}', (), "partial"),
        ('{"center": [1, 2, 0.5], "size": [1, 2, 3], "rotation": [0, 0, 0.3]}', (), "partial"),
        # The angle of other things is none of the box.
        ("The angle grinder is at [1, 2, 0.5, 1, 2, 3].", (), "ok"),
    ],
)
def test_a_text_s_yaw(text: str, yaw: Numbers, status: str) -> None:
    task = TASKS["grounding_3d"]
    result = task.parse(text, task.inputs_model(description="the chair"))
    assert (result.answer, result.status) == (Box3DAnswer(bbox=(*BOX, *yaw)), status)


@pytest.mark.parametrize("words", ["yaw ", "rotation of ", "yaw: ", "[1, 2, 3, 1, 1, 1], yaw "])
def test_a_text_of_nothing_but_such_words_is_read_in_no_time(words: str) -> None:
    task = TASKS["grounding_3d"]
    started = time.perf_counter()
    task.parse("[1, 2, 3, 1, 1, 1] " + words * 4000, task.inputs_model(description="the chair"))
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "written",
    [
        "[1, 2, 0.5, 1, 2, 3, 90]",
        "[1, 2, 0.5, 1, 2, 3, -6.3]",
        "[1, 2, 0.5, 1, 2, 3, 1 deg]",
        "[1, 2, 0.5, 1, 2, 3, 45\u00b0]",
        "[1, 2, 0.5, 1, 2, 3] rotated by 1 degree",
        "[1, 2, 0.5, 1, 2, 3], yaw: 90",
        "[1, 2, 0.5, 1, 2, 3, 0, 0, 0.3]",
    ],
)
def test_degrees_and_other_rotations_are_dropped_by_name(written: str) -> None:
    task = TASKS["grounding_3d"]
    inputs = task.inputs_model(description="the chair")
    assert task.parse(written, inputs).answer is None
    assert repairs(task, written, inputs, None) == ([], [written])
    scene, asked = TASKS["detection_3d"], TASKS["detection_3d"].inputs_model()
    text = f"bed [0, 0, 0, 1, 1, 1, 0.5]; chair {written}"
    found = scene.parse(text, asked)
    assert [(one.label, one.bbox) for one in found.answer.objects] == [("bed", (*UNIT, 0.5))]
    assert found.status == "partial"
    assert repairs(scene, text, asked, found.answer) == ([], [written])


def test_a_rotated_box_is_one_place_with_its_label() -> None:
    task = TASKS["detection_3d"]
    text = (
        '[{"label": "chair", "center": [1, 2, 0.5], "size": [1, 2, 3], "yaw": 0.3},'
        ' {"label": "desk", "bbox": [0, 0, 0, 1, 1, 1]}]'
    )
    found = task.parse(text, task.inputs_model(labels=("chair", "desk")))
    assert [(one.label, one.bbox) for one in found.answer.objects] == [
        ("chair", (*BOX, 0.3)),
        ("desk", UNIT),
    ]
    assert found.status == "ok"
    wrong = task.parse("chair [1, 2, 0.5, 1, 2, 3, 0.3]", task.inputs_model()).answer
    right = task.read_sample(sample("detection_3d", [{"label": "chair", "bbox": [*BOX, 1.87]}]))[1]
    assert task.is_hit(right, right)
    assert not task.is_hit(wrong, right)


def sample(task: str, target: Any) -> Sample:
    return Sample(id="a", task=task, question="?", target=target, pcl="a.npy")


def test_targets_may_have_a_yaw() -> None:
    grounding = TASKS["grounding_3d"]
    for target in ([*BOX, 0.3], {"bbox": [*BOX, 0.3], "unique": True}):
        assert grounding.read_sample(sample("grounding_3d", target))[1].bbox == (*BOX, 0.3)
    with pytest.raises(ValidationError, match="yaw 90; expected radians, from -2 pi to 2 pi"):
        grounding.read_sample(sample("grounding_3d", [*BOX, 90]))
    with pytest.raises(ValidationError, match="at most 7 items"):
        grounding.read_sample(sample("grounding_3d", [*BOX, 0, 0, 1]))
    with pytest.raises(ValidationError, match="at least 6 items"):
        grounding.read_sample(sample("grounding_3d", BOX[:5]))
    score = grounding.score([(Box3DAnswer(bbox=(*BOX, 0.3)), Box3DAnswer(bbox=(*BOX, 0.3)))])
    assert score["accuracy@0.5"].value == 1.0
