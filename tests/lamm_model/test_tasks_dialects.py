"""Recorded answers of other models, and what hostile or broken ones give."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamm_model.tasks import TASKS, ParseStatus
from lamm_model.tasks.dialects.base import Frame
from lamm_model.tasks.dialects.manner import AUTO, DIALECT_NAMES, Manner
from lamm_model.tasks.dialects.qwen import seen_size
from lamm_model.tasks.dialects.registry import DIALECTS
from tests.lamm_model.dialect_answers import RECORDED, SIZE, Recorded


def parse(task: str, text: str, manner: Manner, **inputs: Any) -> Any:
    found = TASKS[task].in_manner(manner)
    return found.parse(text, found.inputs_model(**inputs))


@pytest.mark.parametrize("one", RECORDED, ids=str)
def test_recorded_answers(one: Recorded) -> None:
    read = Manner(one.dialect).read(one.answer, SIZE)
    assert read is not None
    found, faults = read
    assert faults == ()
    assert [place.values for place in found] == [
        pytest.approx(values, abs=1e-6) for _, values in one.places
    ]
    task = {2: "locating", 4: "detection"}.get(len(one.places[0][1]), "detection_3d")
    inputs: dict[str, Any] = {} if task == "detection_3d" else {"size": SIZE}
    if not one.has_labels:
        return
    if not found[0].in_prose:
        answer = parse(task, one.text, Manner(one.dialect), **inputs).answer
        assert [place.label for place in answer.objects] == [label for label, _ in one.places]
    closed = parse(task, one.text, Manner(one.dialect), labels=one.labels, **inputs)
    assert closed.status is ParseStatus.OK
    assert [place.label for place in closed.answer.objects] == [
        label.removeprefix("a ") for label, _ in one.places
    ]


@pytest.mark.parametrize("name", DIALECTS)
def test_the_example_of_a_dialect_is_read_wholly(name: str) -> None:
    dialect = DIALECTS[name]
    read = Manner(name).read(dialect.example, (1000, 1000))
    assert read is not None
    assert read[1] == ()
    assert all(one.values is not None and one.words for one in read[0])
    assert all(one.intact for one in read[0]) == (
        dialect.frame is not None or name in {"spatiallm", "json-3d"}
    )
    again = Manner(AUTO).read(dialect.example, (1000, 1000))
    if dialect.marks:
        assert again is not None
        assert [(one.words, one.values) for one in again[0]] == [
            (one.words, one.values) for one in read[0]
        ]


def test_auto_never_guesses_a_frame_unsaid() -> None:
    text = '[{"bbox_2d": [139, 268, 315, 454], "label": "cat"}]'
    guessed = parse("detection", text, Manner(AUTO), size=SIZE)
    assert guessed.status is ParseStatus.PARTIAL
    stated = parse("detection", text, Manner(AUTO, Frame.PER_MILLE), size=SIZE)
    assert stated.status is ParseStatus.OK
    assert stated.answer.objects[0].bbox == pytest.approx((0.139, 0.268, 0.315, 0.454))


def test_qwen_2_5_writes_pixels_of_the_resized_picture() -> None:
    assert seen_size((1000, 500)) == (1008, 504)
    assert seen_size((28, 28)) == (56, 56)
    width, height = seen_size((8000, 6000))
    assert width * height <= 12_845_056
    assert width % 28 == height % 28 == 0
    text = '[{"bbox_2d": [504, 126, 1008, 252], "label": "cat"}]'
    answer = parse("detection", text, Manner("qwen2.5-vl"), size=SIZE)
    assert answer.status is ParseStatus.OK
    assert answer.answer.objects[0].bbox == pytest.approx((0.5, 0.25, 1.0, 0.5))
    # A stated frame is that of the picture as it was sent.
    sent = parse("detection", text, Manner("qwen2.5-vl", Frame.PIXELS), size=(2016, 1008))
    assert sent.answer.objects[0].bbox == pytest.approx((0.25, 0.125, 0.5, 0.25))
    assert parse("detection", text, Manner("qwen2.5-vl")).answer is None


@pytest.mark.parametrize(
    ("dialect", "text", "fault"),
    [
        ("kosmos-2", "<phrase>cat</phrase><object><patch_index_0044><patch_index_1024></object>"
         "<phrase>cat</phrase><object><patch_index_0044><patch_index_0863></object>",
         "patch index 1024 is not below 1024"),
        ("paligemma", "<loc0256><loc0256><loc0768><loc0768> cat ; <loc0256><loc0256><loc1768>"
         "<loc0768> cat", "location 1768 is not below 1024"),
        ("florence-2", "cat<loc_1><loc_2><loc_30><loc_40><loc_5>", "has 5 numbers"),
        ("florence-2", "{'<OD>': {'bboxes': [[1, 2, 3, 4], [5, 6, 7, 8]], 'labels': ['cat']}}",
         "2 bboxes and 1 labels"),
        ("qwen3-vl", '[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}, {"bbox_2d": [5, 6, 70], '
         '"label": "cat"}]', "'[5, 6, 70]' of 'cat' is not a place"),
        ("qwen3-vl", '[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}, {"bbox_2d": [5, 6',
         "cut off or malformed"),
        ("qwen3-vl", '[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}, '
         '{"bbox_2d": [1, 2, 3000, 40], "label": "cat"}]', "outside its frame"),
        ("molmo", '<points x1="22.7" y1="86.1" x2="45.1" alt="cat">cat</points>',
         "has no x or no y"),
        ("voc-xml", "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
         "<ymax>40</ymax></bndbox></object><object><name>cat</name><bndbox><xmin>5</xmin>",
         "the box of 'cat' has 1 corners of 4"),
        ("markdown", "| object | box |\n|---|---|\n| cat | [1, 2, 30, 40] |\n| cat | none |",
         "has no place"),
        ("minigpt-v2", "<p>cat</p>{<1><2><30><40>}{<1><2><30>}", "has 3 numbers"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_said(dialect: str, text: str, fault: str) -> None:
    manner = Manner(dialect, Frame.PER_MILLE if dialect == "markdown" else None)
    task = "locating" if dialect == "molmo" else "detection"
    result = parse(task, text, manner, labels=("cat",), size=SIZE)
    assert any(fault in one for one in result.faults), result.faults
    if "bboxes and" in fault:
        assert result.status is ParseStatus.UNPARSED
    else:
        assert result.status is ParseStatus.PARTIAL
        assert len(result.answer.objects) == 1


def test_boxes_in_space_keep_their_yaw() -> None:
    text = (
        "wall_0=Wall(0.1,0.2,0.0,4.1,0.2,0.0,2.8,0.0)\nbbox_0=Bbox(coffee_table,1.5,2.0,0.25,0.0,1.0,"
        "0.5,0.5)\nbbox_1=Bbox(sofa,1.5,2.0,0.25,1.5708,2.0,0.5,0.5)\n"
        "bbox_2=Bbox(sofa,3.5,2.0,0.25,-2.4,2.0,0.5,0.5)"
    )
    labels = ("coffee table", "sofa")
    result = parse("detection_3d", text, Manner("spatiallm"), labels=labels)
    assert result.status is ParseStatus.OK
    assert [(one.label, one.bbox) for one in result.answer.objects] == [
        ("coffee table", (1.5, 2.0, 0.25, 1.0, 0.5, 0.5, 0.0)),
        ("sofa", (1.5, 2.0, 0.25, 2.0, 0.5, 0.5, 1.5708)),
        ("sofa", (3.5, 2.0, 0.25, 2.0, 0.5, 0.5, -2.4)),
    ]
    bins = parse("detection_3d", "bbox_0=Bbox(sofa,412,300,40,640,128,64,64)", Manner("spatiallm"))
    assert "in bins" in bins.faults[0]


@pytest.mark.parametrize(
    ("fields", "box"),
    [
        ('"bbox_3d": [1, 2, 3, 2.0, 0.5, 0.8]', (1, 2, 3, 2.0, 0.5, 0.8)),
        ('"bbox_3d": [1, 2, 3, 2.0, 0.5, 0.8, 0.4]', (1, 2, 3, 2.0, 0.5, 0.8, 0.4)),
        # Half turns, and degrees.
        ('"bbox_3d": [1, 2, 3, 2.0, 0.5, 0.8, 0, 0, 0.5]', (1, 2, 3, 2, 0.5, 0.8, math.pi / 2)),
        ('"box_3d": [1, 2, 3, 2.0, 0.5, 0.8, 0, 0, -90]', (1, 2, 3, 2, 0.5, 0.8, -math.pi / 2)),
    ],
)
def test_json_states_a_yaw_or_none(fields: str, box: tuple[float, ...]) -> None:
    text = f'[{{{fields}, "label": "sofa"}}]'
    result = parse("grounding_3d", text, Manner("json-3d"), description="the sofa")
    assert (result.answer.bbox, result.status) == (pytest.approx(box), ParseStatus.OK)


HEAD = "| label | x | y | z | l | w | h | {} |\n|---|---|---|---|---|---|---|---|\n"


@pytest.mark.parametrize(
    ("dialect", "text", "fault", "kept"),
    [
        ("spatiallm", "bbox_0=Bbox(sofa,1.0,2.0,0.3,7.0,0.9,0.5,0.4)", "has yaw 7; expected", 0),
        ("spatiallm", "bbox_0=Bbox(sofa,1.0,2.0,0.3,-6.4,0.9,0.5,0.4)\n"
         "bbox_1=Bbox(sofa,1.0,2.0,0.3,6.28,0.9,0.5,0.4)", "has yaw -6.4; expected", 1),
        ("json-3d", '{"bbox_3d": [1, 2, 3, 2, 1, 1, 90], "label": "sofa"}', "has yaw 90;", 0),
        ("json-3d", '{"bbox_3d": [1, 2, 3, 2, 1, 1, 0, 0, 90], "label": "sofa"}',
         "yaw 90 of 'sofa' is more than a turn; bbox_3d has half turns", 0),
        ("json-3d", '{"bbox_3d": [1, 2, 3, 2, 1, 1, 0.1, 0, 0.5], "label": "sofa"}',
         "roll and pitch (0.1, 0.0)", 1),
        ("markdown", HEAD.format("yaw (deg)") + "| sofa | 1 | 2 | 3 | 2 | 1 | 1 | 45 |",
         "column 'yaw (deg)' is not read", 1),
        ("markdown", HEAD.format("rotation_z") + "| sofa | 1 | 2 | 3 | 2 | 1 | 1 | 45 |",
         "column 'rotation_z' is not read", 1),
    ],
)  # fmt: skip
def test_a_rotation_that_is_not_read_is_said(
    dialect: str, text: str, fault: str, kept: int
) -> None:
    result = parse("detection_3d", text, Manner(dialect), labels=("sofa",))
    assert any(fault in one for one in result.faults), result.faults
    assert result.status is (ParseStatus.PARTIAL if kept else ParseStatus.UNPARSED)
    assert kept == (len(result.answer.objects) if kept else 0)


@pytest.mark.parametrize(
    "text", [HEAD.format("yaw") + "| sofa | 1 | 2 | 3 | 2 | 1 | 1 | 0.7 |",
             "| label | box |\n|---|---|\n| sofa | [1, 2, 3, 2, 1, 1, 0.7] |"],
)  # fmt: skip
def test_tables_have_a_yaw(text: str) -> None:
    result = parse("detection_3d", text, Manner("markdown"), labels=("sofa",))
    assert result.status is ParseStatus.OK
    assert result.answer.objects[0].bbox == (1, 2, 3, 2, 1, 1, 0.7)


def test_a_rotated_answer_is_scored_against_a_rotated_target() -> None:
    # Most of a long box lies outside the same box without its yaw.
    task = TASKS["grounding_3d"].in_manner(Manner("spatiallm"))
    inputs = task.inputs_model(description="the sofa")
    answer = task.parse("bbox_0=Bbox(sofa,1.0,2.0,0.5,0.6,3.0,0.5,1.0)", inputs).answer
    rotated = task.answer_model(bbox=(1.0, 2.0, 0.5, 3.0, 0.5, 1.0, 0.6 - math.pi))
    upright = task.answer_model(bbox=(1.0, 2.0, 0.5, 3.0, 0.5, 1.0))
    assert task.is_hit(answer, rotated)
    assert not task.is_hit(answer, upright)
    objects = TASKS["detection_3d"].in_manner(Manner("spatiallm"))
    asked = objects.inputs_model(labels=("sofa",))
    found = objects.parse("bbox_0=Bbox(sofa,1.0,2.0,0.5,0.6,3.0,0.5,1.0)", asked).answer
    target = {"objects": [{"label": "sofa", "bbox": rotated.bbox}]}
    assert objects.is_hit(found, objects.answer_model.model_validate(target))


def test_a_joint_is_found_by_its_name() -> None:
    text = (
        '[{"point_2d": [100, 200], "label": "head"}, {"point_2d": [331, 482], "label": '
        '"left knee"}]'
    )
    result = parse("keypoints", text, Manner("qwen3-vl"), joint="left knee", size=SIZE)
    assert (result.answer.point, result.status) == ((0.331, 0.482), ParseStatus.OK)
    other = parse("keypoints", text, Manner("qwen3-vl"), joint="neck", size=SIZE)
    assert (other.answer.point, other.status) == ((0.1, 0.2), ParseStatus.PARTIAL)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame.PER_MILLE, "cat [100, 200, 300, 400]"),
        (Frame.PERCENT, "cat [10, 20, 30, 40]"),
        (Frame.SHARES, "cat [0.1, 0.2, 0.3, 0.4]"),
        (Frame.PIXELS, "cat [100, 100, 300, 200]"),
    ],
)
def test_a_stated_frame_is_not_guessed(frame: Frame, text: str) -> None:
    result = parse("detection", text, Manner(frame=frame), size=SIZE)
    assert result.status is ParseStatus.OK
    assert result.answer.objects[0].bbox == pytest.approx((0.1, 0.2, 0.3, 0.4))
    swapped = parse("detection", text, Manner(frame=frame, y_first=True), size=(500, 500))
    if frame is not Frame.PIXELS:
        assert swapped.answer.objects[0].bbox == pytest.approx((0.2, 0.1, 0.4, 0.3))


def test_numbers_outside_the_stated_frame_are_left_out() -> None:
    text = "cat [0.1, 0.2, 0.3, 0.4]; cat [100, 200, 300, 400]"
    result = parse("detection", text, Manner(frame=Frame.SHARES), size=SIZE)
    assert (len(result.answer.objects), result.status) == (1, ParseStatus.PARTIAL)


def test_free_text_in_a_dialect_is_read_in_its_frame_and_partial() -> None:
    result = parse("detection", "A cat (139,268),(315,454)", Manner("qwen2-vl"), size=SIZE)
    assert result.status is ParseStatus.PARTIAL
    assert result.answer.objects[0].bbox == pytest.approx((0.139, 0.268, 0.315, 0.454))
    nothing = parse("detection", "There are no items.", Manner("qwen2-vl"), size=SIZE)
    assert (nothing.answer.objects, nothing.status) == ((), ParseStatus.OK)
    empty = parse("detection", "```json\n[]\n```", Manner("qwen3-vl"), size=SIZE)
    assert (empty.answer.objects, empty.status) == ((), ParseStatus.OK)


def test_other_things_and_denied_labels_are_left_out() -> None:
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "hat"}, {"bbox_2d": [5, 6, 7, 8], "label": "cat"}]'
    result = parse("detection", text, Manner("qwen3-vl"), labels=("cat",), size=SIZE)
    assert [one.label for one in result.answer.objects] == ["cat"]
    assert result.status is ParseStatus.PARTIAL


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="dialect 'klingon' is not one of lamm, auto, "):
        Manner("klingon")


PIECES = st.sampled_from([
    "<", ">", "[", "]", "{", "}", "(", ")", ",", ";", "|", "-", "\n", '"', "'", "\\", "\0", "=",
    "<|box_start|>", "<|box_end|>", "<ref>", "</ref>", "<box>", "</box>", "<phrase>", "<object>",
    "<patch_index_0044>", "<patch_index_9999>", "<loc0123>", "<loc_123>", "<p>", "</p>",
    "<point x=",
    "<points coords=\"1 1 2", "bbox_2d", '{"bbox_2d": ', '"label": ', '"point":', "[[", "]]",
    "Bbox(", "bbox_0=Bbox(cat,", "<bndbox>", "<xmin>", "<object>", "| a | x1 |\n|---|---|\n",
    "1e999",
    "NaN", "Infinity", "1", "0.5", "999999999999999999999999", "cat", " ", "-1",
    "<![CDATA[", "<!--",
    "<think>", "</think>", "<answer>", "&#x110000;", "\ud800", "<!DOCTYPE x [", "\uff11", "²",
    "bboxes",
    "labels", "'bboxes': [[1,2,3,4]]",
])  # fmt: skip


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(pieces=st.lists(PIECES, max_size=25), frame=st.sampled_from([None, *Frame]))
def test_no_text_makes_a_dialect_raise(pieces: list[str], frame: Frame | None) -> None:
    text = "".join(pieces)
    for name in DIALECT_NAMES:
        manner = Manner(name, frame)
        for task, inputs in (
            ("detection", {"labels": ("cat",), "size": SIZE}),
            ("detection", {}),
            ("locating", {"size": SIZE}),
            ("keypoints", {"joint": "neck", "size": SIZE}),
            ("detection_3d", {}),
            ("grounding_3d", {"description": "the cat"}),
            ("point", {"label": "cat"}),
        ):
            result = parse(task, text, manner, **inputs)
            assert (result.answer is None) == (result.status is ParseStatus.UNPARSED)


@pytest.mark.parametrize(
    "piece",
    ["[", "{", "(", "<", "<box>[", "[{", '{"bbox_2d":[', "<patch_index_0001>", "<loc0001>",
     "<loc_1>", "{<1>", "<point ", '<points coords="', "Bbox(", "Bbox(a,1,", "<bndbox>", "<object>",
     "| ", "1,",
     "-", "|---", "<|box_start|>(1,2)", "[1,2;", "<!", "</", "&", "<object> ", "<p>", "[[1,2,3,4]]",
     "bboxes[", "a"],
)  # fmt: skip
def test_long_texts_take_bounded_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    for name in DIALECTS:
        started = time.process_time()
        Manner(name).read(text, SIZE)
        assert time.process_time() - started < 5, name
    Manner(AUTO).read(text, SIZE)
