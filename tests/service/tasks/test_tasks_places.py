"""Places in answers: frames of pictures and clouds, and what was clipped or left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lamm_model.preprocessing import prepare_image
from lamm_model.spec import ImageSpec
from lamm_model.tasks import TASKS
from lamm_model.tasks.detection import DetectionInputs
from lamm_model.tasks.rotated_boxes import footprint
from service.tasks.options import option_logprobs_of, probabilities
from service.tasks.places import CloudFrame, PictureFrame, placed, repairs


def frame_of(width: int, height: int, preset: str = "lamm-squash") -> PictureFrame:
    spec = ImageSpec(32, 16, preset, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return PictureFrame.of(prepare_image(Image.new("RGB", (width, height)), spec).info)


def test_a_squashed_picture_s_shares_are_the_picture_s() -> None:
    frame = frame_of(200, 50)
    assert frame.answer_size == (200, 50)
    assert frame.pixels((0.0, 0.0, 0.25, 1.0)) == [0.0, 0.0, 50.0, 50.0]


def test_a_cropped_picture_s_shares_are_the_crop_s() -> None:
    frame = frame_of(200, 100, "upstream-bench-centercrop")
    # 64 x 32 when its shortest side has 32; the middle 32 x 32 are pixels 50 to 150.
    assert frame.answer_size == (32, 32)
    assert frame.pixels((0.0, 0.0, 1.0, 1.0)) == [50.0, 0.0, 150.0, 100.0]
    assert frame.fields("point", (0.5, 0.5)) == {
        "point": [100.0, 50.0], "point_normalized": [0.5, 0.5],
    }  # fmt: skip
    assert frame_of(40, 40, "upstream-bench-centercrop").answer_size == (40, 40)


@given(
    st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.floats(0, 1),
    st.sampled_from(["lamm-squash", "upstream-bench-centercrop"]),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_pixels_lie_within_the_picture(
    width: int, height: int, x: float, y: float, preset: str
) -> None:
    fields = frame_of(width, height, preset).fields("point", (x, y))
    assert 0 <= fields["point"][0] <= width
    assert 0 <= fields["point"][1] <= height
    assert all(0 <= share <= 1 for share in fields["point_normalized"])


def test_a_cloud_with_y_up() -> None:
    frame = CloudFrame("mm", "y", ((0.0, -2.0, 0.0), (4.0, 0.0, 3.0)))
    assert frame.file_bounds() == [[0.0, 0.0, 0.0], [4.0, 3.0, 2.0]]
    fields = frame.fields("bbox", (1.0, -1.0, 2.0, 0.1, 0.2, 0.3))
    assert fields == {
        "bbox": [1.0, 2.0, 1.0, 0.1, 0.3, 0.2],
        "bbox_in_units": [1000.0, 2000.0, 1000.0, 100.0, 300.0, 200.0],
        "outside_cloud": False,
    }
    assert frame.fields("bbox", (1.0, 1.0, 2.0, 0.1, 0.2, 0.3))["outside_cloud"]


def test_a_box_in_a_shifted_cloud_is_where_the_file_has_it() -> None:
    bounds = ((600_000.0, -2.0, 0.0), (600_004.0, 0.0, 3.0))
    frame = CloudFrame("mm", "y", bounds, (-600_002.0, 1.0, 0.0))
    fields = frame.fields("bbox", (0.5, -0.5, 2.0, 0.1, 0.2, 0.3))
    assert fields == {
        "bbox": [600_002.5, 2.0, 1.5, 0.1, 0.3, 0.2],
        "bbox_in_units": [600_002_500.0, 2000.0, 1500.0, 100.0, 300.0, 200.0],
        "outside_cloud": False,
    }
    assert frame.fields("bbox", (3.0, -0.5, 2.0, 0.1, 0.2, 0.3))["outside_cloud"]


def test_a_rotated_box_keeps_its_yaw_in_every_frame() -> None:
    yaw, size = 0.5, (2.0, 0.4, 0.6)
    box = (1.0, -1.0, 2.0, *size, yaw)
    flat = CloudFrame("mm", "z", ((0.0, -2.0, 0.0), (4.0, 0.0, 3.0))).fields("bbox", box)
    assert flat["bbox"] == [1.0, -1.0, 2.0, 2.0, 0.4, 0.6, 0.5]
    assert flat["bbox_in_units"] == [1000.0, -1000.0, 2000.0, 2000.0, 400.0, 600.0, 0.5]
    frame = CloudFrame("m", "y", ((0.0, -2.0, 0.0), (4.0, 0.0, 3.0)), (0.5, 0.25, 0.0))
    x, y, z, length, height, width, turn = frame.fields("bbox", box)["bbox"]
    assert (length, height, width, turn) == (2.0, 0.6, 0.4, 0.5)
    # The corners of the box as the file's axes describe it are those of the model's box, moved:
    # from above (against y), x to the right and -z up, `turn` is counter-clockwise.
    cos, sin = math.cos(turn), math.sin(turn)
    described = sorted(
        (round(x + a * cos - b * sin, 9), round(z - a * sin - b * cos, 9))
        for a in (-length / 2, length / 2)
        for b in (-width / 2, width / 2)
    )
    moved = [(cx - 0.5, cy - 0.25, 0.0) for cx, cy in footprint(box)]
    expected = sorted((round(p[0], 9), round(p[2], 9)) for p in map(frame.along_file, moved))
    assert described == expected
    assert y == 2.0


def test_a_rotated_box_is_outside_only_if_all_of_it_is() -> None:
    frame = CloudFrame("m", "z", ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    # Beyond a corner: its upright extents reach the cloud, the rotated box does not.
    beyond = (1.4, 1.4, 0.5, 2.0, 0.2, 1.0)
    assert not frame.fields("bbox", (*beyond, math.pi / 4))["outside_cloud"]
    assert frame.fields("bbox", (*beyond, -math.pi / 4))["outside_cloud"]
    assert frame.fields("bbox", (1.4, 0.5, 0.5, 0.2, 2.0, 1.0))["outside_cloud"]
    assert not frame.fields("bbox", (1.4, 0.5, 0.5, 0.2, 2.0, 1.0, math.pi / 2))["outside_cloud"]


def found(task: str, text: str, **inputs: Any) -> tuple[Any, list[str], dict[str, Any] | None]:
    known = TASKS[task]
    asked = known.inputs_model(**inputs)
    answer = known.parse(text, asked).answer
    clipped, dropped = repairs(known, text, asked, answer)
    frame = CloudFrame("m", "z", ((0, 0, 0), (1, 1, 1))) if "3d" in task else frame_of(100, 100)
    moved = [(one.field, one.given, one.used) for one in clipped]
    return moved, dropped, None if answer is None else placed(answer, frame)


@pytest.mark.parametrize(
    ("task", "text", "inputs", "clipped", "dropped"),
    [
        ("detection", "cat [0.1, 0.2, 0.3, 0.4]", {}, [], []),
        ("detection", "cat [0.3, 0.4, 0.1, 0.2]", {}, [], []),
        ("detection", "cat [10, 20, 30, 40]", {}, [], []),
        (
            "detection", "cat [0.1, -0.05, 0.3, 1.1]", {},
            [("objects[0].bbox", (0.1, -0.05, 0.3, 1.1), (0.1, 0.0, 0.3, 1.0))], [],
        ),
        (
            "detection", "cat [10, 20, 210, 90]", {"size": (200, 100)},
            [("objects[0].bbox", (0.05, 0.2, 1.05, 0.9), (0.05, 0.2, 1.0, 0.9))], [],
        ),
        ("detection", "cat [0.1, 0.2, 0.3, 9400]; dog [0.1, 0.1, 0.2, 0.2]", {}, [],
         ["[0.1, 0.2, 0.3, 9400]"]),
        ("keypoints", "[1.02, 0.5]", {"joint": "neck"}, [("point", (1.02, 0.5), (1.0, 0.5))], []),
        ("keypoints", "[0.1, 0.5] or [0.2, 0.2]", {"joint": "neck"}, [], ["[0.2, 0.2]"]),
        ("locating", "dog [0.5, -0.1]; cat [0.2, 0.2, 0.4, 0.4]", {},
         [("objects[0].point", (0.5, -0.1), (0.5, 0.0))], []),
        ("grounding_3d", "[1, 2, 3, 0.5, -0.5, 0.5]", {"description": "x"},
         [("bbox", (1, 2, 3, 0.5, -0.5, 0.5), (1, 2, 3, 0.5, 0.5, 0.5))], []),
        ("detection_3d", "bed [1, 2, 3, 1, 1, 1]; sofa [1, 2]", {}, [], ["[1, 2]"]),
        ("detection_3d", "bed [1, 2, 3, 1, -1, 1, 0.5]", {},
         [("objects[0].bbox", (1, 2, 3, 1, -1, 1, 0.5), (1, 2, 3, 1, 1, 1, 0.5))], []),
        ("counting", "3 [0.1, 0.2, 0.3, 7]", {}, [], []),
    ],
)  # fmt: skip
def test_repairs_are_told(
    task: str, text: str, inputs: dict[str, Any], clipped: list[Any], dropped: list[str]
) -> None:
    moved, left_out, _ = found(task, text, **inputs)
    assert [field for field, _, _ in moved] == [field for field, _, _ in clipped]
    for (_, given_, used), (_, wanted, wanted_used) in zip(moved, clipped, strict=True):
        assert given_ == pytest.approx(wanted)
        assert used == pytest.approx(wanted_used)
    assert left_out == dropped


@given(st.text(max_size=200), st.sampled_from(sorted(TASKS)))
@settings(deadline=None, max_examples=60)
def test_no_text_makes_repairs_raise(text: str, task: str) -> None:
    known = TASKS[task]
    inputs = DetectionInputs()
    assert repairs(known, text + " dog [0.2, 2e9, 1, 4]", inputs, None)[0] == []


def test_options_of_closed_sets() -> None:
    def names(task: str, **inputs: Any) -> list[str]:
        known = TASKS[task]
        return [one.name for one in known.options(known.inputs_model(**inputs))]

    assert names("vqa_choice", question="?", choices=("x", "y")) == ["x", "y"]
    assert names("facial_smile") == ["yes", "no"]
    assert names("facial_hair") == ["black", "blond", "brown", "gray"]
    assert names("classification", labels=("a", "b")) == ["a", "b"]
    assert names("classification") == names("caption") == []
    choice = TASKS["vqa_choice"].inputs_model(question="?", choices=("x", "y"))
    assert [one.texts for one in TASKS["vqa_choice"].options(choice)] == [
        ("The answer is (A)", "x"), ("The answer is (B)", "y"),
    ]  # fmt: skip


def logs(**shares: float) -> dict[tuple[int, ...], float]:
    """Letters as token ids."""
    return {tuple(map(ord, name)): math.log(share) for name, share in shares.items()}


def test_ways_of_writing_an_option_add_up() -> None:
    beginnings = logs(ab=0.1, c=0.2, d=0.25)
    ab, c, d = beginnings
    found = option_logprobs_of([[ab, c], [d]], beginnings)
    assert [math.exp(value) for value in found] == pytest.approx([0.3, 0.25])


def test_a_name_that_another_continues_counts_without_it() -> None:
    """ "bus", "bus stop" and "bus stop sign" of one stem."""
    beginnings = logs(b=0.5, bs=0.4, bss=0.1, c=0.3)
    found = option_logprobs_of([[one] for one in beginnings], beginnings)
    assert [math.exp(value) for value in found] == pytest.approx([0.1, 0.3, 0.1, 0.3])
    # Within one option nothing is lost, and a beginning of two options is shared.
    b, bs, _, c = beginnings
    both = option_logprobs_of([[b, bs, c], [c]], {one: beginnings[one] for one in (b, bs, c)})
    assert [math.exp(value) for value in both] == pytest.approx([0.65, 0.15])


def test_impossible_options() -> None:
    none = float("-inf")
    assert option_logprobs_of([[(1,)], [(2,)]], {(1,): none, (2,): -1.0}) == [none, -1.0]
    assert option_logprobs_of([[(1,)], [(2,)]], {(1,): none, (2,): none}) == [none, none]
    assert option_logprobs_of([[(1,)], [(1, 2)]], {(1,): -1.0, (1, 2): -1.0}) == [none, -1.0]


def test_probabilities_of_options() -> None:
    assert probabilities([-1000.0, -1000.0]) == [0.5, 0.5]
    assert probabilities([float("-inf"), 0.0]) == [0.0, 1.0]
    assert probabilities([float("-inf")] * 4) == [0.25] * 4
    assert probabilities([-1.0, -2.0])[0] == pytest.approx(0.7310586)
