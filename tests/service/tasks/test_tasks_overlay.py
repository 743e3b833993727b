"""Overlays: what is drawn where, in pictures of every size, and in clouds."""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from lamm_model.media import PointCloud, decode_point_cloud
from lamm_model.tasks import TASKS
from lamm_model.tasks.boxes_3d import Box3DAnswer, Detection3DAnswer, GroundingInputs, Object3D
from lamm_model.tasks.counting import CountingAnswer, CountingInputs
from lamm_model.tasks.detection import DetectedObject, DetectionAnswer, DetectionInputs
from lamm_model.tasks.keypoints import KeypointInputs, PointAnswer
from lamm_model.tasks.rotated_boxes import footprint
from lamm_model.tasks.vqa_choice import ChoiceAnswer, ChoiceInputs
from service.media.overlay_cloud import MAX_POINTS, BoxMark, overlay_ply
from service.media.overlay_picture import MAX_SIDE, PALETTE, Mark, draw_marks, overlay_png
from service.schemas.tasks import PlaceScore
from service.tasks.marks import marks_of
from service.tasks.places import CloudFrame, PictureFrame

GREY = (120, 120, 120)


def blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def changed(picture: Image.Image) -> np.ndarray[Any, Any]:
    different: np.ndarray[Any, Any] = (np.asarray(picture) != GREY).any(axis=2)
    return different


def test_a_box_is_drawn_where_it_is_in_its_colour() -> None:
    drawn = draw_marks(blank(640, 480), [Mark("dog", box=(100, 200, 300, 400))])
    assert drawn.size == (640, 480)
    for spot in ((100, 300), (300, 300), (200, 400)):
        assert drawn.getpixel(spot) == PALETTE[0]
    rows, columns = np.nonzero(changed(drawn))
    # The frame with its rim, and the label above it.
    assert (columns.min(), columns.max(), rows.max()) == (99, 301, 401)
    assert 160 <= rows.min() < 190
    assert not changed(drawn)[210:390, 110:290].any()


def test_labels_of_one_class_have_one_colour_and_do_not_cover_one_another() -> None:
    boxes = [(100.0, 100.0, 200.0, 300.0), (104.0, 100.0, 210.0, 300.0), (97.0, 99.0, 205.0, 310.0)]
    marks = [Mark(text, box=box) for text, box in zip(("cat", "cat", "dog"), boxes, strict=True)]
    drawn = np.asarray(draw_marks(blank(640, 480), marks))
    without = np.asarray(draw_marks(blank(640, 480), [Mark("", box=box) for box in boxes]))
    chips = (drawn != without).any(axis=2)
    for colour, count in ((PALETTE[0], 2), (PALETTE[1], 1)):
        area = (chips & (drawn == colour).all(axis=2)).sum()
        alone = np.asarray(draw_marks(blank(640, 480), [Mark("cat", box=boxes[0])]))
        assert area > 0.6 * count * 20 * 20, (colour, area)
        assert alone.shape == drawn.shape


def test_text_on_a_chip_stands_out() -> None:
    for index, colour in enumerate(PALETTE):
        marks = [Mark(str(i), box=(5, 5, 10, 10)) for i in range(index)]
        drawn = draw_marks(blank(400, 400), [*marks, Mark("WWWW", box=(100, 100, 200, 200))])
        chip = np.asarray(drawn.crop((100, 60, 200, 99))).reshape(-1, 3)
        ink = {tuple(int(v) for v in pixel) for pixel in chip} & {(0, 0, 0), (255, 255, 255)}
        assert len(ink) == 1
        assert contrast(colour, ink.pop()) > 4.5


def contrast(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    def luminance(colour: tuple[int, ...]) -> float:
        shares = [v / 255 for v in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 400), (400, 1), (7, 5), (64, 64), (64, 48), (3000, 30), (2500, 1800)]
)
def test_pictures_of_any_size_keep_it_up_to_the_limit(size: tuple[int, int]) -> None:
    width, height = size
    marks = [
        Mark("a label that is far longer than the picture is wide", box=(0, 0, width, height)),
        Mark("corner", box=(width - 1, height - 1, width + 50, height + 50)),
        Mark("turned round", box=(width, height, 0, 0)),
        Mark("joint", point=(width, 0)),
        Mark("words " * 80),
    ]
    drawn = Image.open(io.BytesIO(overlay_png(blank(width, height), marks)))
    scale = min(1.0, MAX_SIDE / max(size))
    assert drawn.size == (max(1, round(width * scale)), max(1, round(height * scale)))
    assert drawn.format == "PNG"


def test_lines_grow_with_the_picture_and_labels_stay_inside() -> None:
    def line(side: int) -> int:
        drawn = draw_marks(blank(side, side), [Mark("", box=(side / 4,) * 2 + (side / 2,) * 2)])
        return int(np.asarray(drawn)[side * 3 // 8].__eq__(PALETTE[0]).all(axis=1).sum() // 2)

    assert [line(64), line(640), line(2048)] == [1, 3, 6]
    # A frame that fills the picture has its label inside: some of it lies within the frame.
    drawn = changed(draw_marks(blank(640, 480), [Mark("everything", box=(0, 0, 640, 480))]))
    assert drawn[10:60, 10:200].any()


def test_words_stand_on_a_band_at_the_lower_edge() -> None:
    drawn = draw_marks(blank(320, 200), [Mark("3 apples")])
    rows = np.nonzero(changed(drawn).any(axis=1))[0]
    assert rows.max() == 199
    assert rows.min() > 150
    assert drawn.getpixel((2, 198)) == (30, 30, 30)
    assert (np.asarray(drawn) == 255).all(axis=2).any()


def test_a_cloud_comes_back_with_its_boxes_in_the_frame_it_was_sent_in() -> None:
    xyz = np.random.default_rng(0).uniform(-2, 2, (500, 3)).astype(np.float32)
    boxes = [
        BoxMark("chair", (0, 0, 0, 1, 2, 3)),
        BoxMark("t\u00e4ble\nend_header", (1, 1, 1, 1, 1, 1)),
    ]
    file = overlay_ply(PointCloud(xyz, up_axis="y"), boxes, "mm")
    head = file.split(b"end_header\n")[0].decode("ascii")
    assert "comment chair = #e69f00\n" in head
    assert "comment t\\xe4ble end_header = #56b4e9\n" in head
    assert "element edge 24\n" in head
    back = decode_point_cloud(file, "ply", "mm", "y")
    assert back.rgb is not None
    points = {tuple(row) for row in np.round(back.xyz[:500], 3).tolist()}
    assert points == {tuple(row) for row in np.round(xyz, 3).tolist()}
    corners = back.xyz[500:508]
    assert np.abs(corners.min(axis=0) - (-0.5, -1, -1.5)).max() < 1e-5
    assert np.abs(corners.max(axis=0) - (0.5, 1, 1.5)).max() < 1e-5
    frame = back.xyz[516:]
    assert (back.rgb[516:517] == PALETTE[0]).all()
    # Every point of a frame lies on an edge of its box: two of three coordinates are a face's.
    first = np.isclose(np.abs(frame[: len(frame) // 2]), (0.5, 1, 1.5), atol=1e-5)
    assert (first.sum(axis=1) >= 2).all()


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_a_rotated_box_is_drawn_rotated_in_every_frame(up_axis: Literal["y", "z"]) -> None:
    box = (1.0, -2.0, 0.5, 2.0, 0.4, 1.0, 0.7)
    cloud = PointCloud(np.zeros((5, 3), np.float32), up_axis=up_axis)
    file = overlay_ply(cloud, [BoxMark("bed", (5, 5, 5, 1, 1, 1)), BoxMark("chair", box)], "cm")
    back = decode_point_cloud(file, "ply", "cm", up_axis)
    corners = {tuple(np.round(corner, 4).tolist()) for corner in back.xyz[13:21].astype(float)}
    assert corners == {(round(x, 4), round(y, 4), z) for x, y in footprint(box) for z in (0.0, 1.0)}
    # The rows of the second frame lie on its edges.
    rows = np.split(back.xyz[21:].astype(float), 2)[1] - box[:3]
    cos, sin = math.cos(0.7), math.sin(0.7)
    own = np.stack(
        [rows[:, 0] * cos + rows[:, 1] * sin, rows[:, 1] * cos - rows[:, 0] * sin, rows[:, 2]], 1
    )
    on_faces = np.isclose(np.abs(own), (1.0, 0.2, 0.5), atol=1e-4)
    assert (on_faces.sum(axis=1) >= 2).all()


def test_a_large_cloud_is_thinned() -> None:
    xyz = np.zeros((MAX_POINTS + 10, 3), np.float32)
    file = overlay_ply(PointCloud(xyz, np.full_like(xyz, 7)), [], "m")
    assert f"element vertex {MAX_POINTS}\n".encode() in file


PICTURE = PictureFrame(200, 100, (32, 32), (0.16, 0.32), (0, 0))
CLOUD = CloudFrame("m", "z", ((0, 0, 0), (1, 1, 1)))


def test_answers_become_marks() -> None:
    boxes = DetectionAnswer(objects=(DetectedObject(label="dog", bbox=(0.1, 0.2, 0.5, 0.6)),))
    assert marks_of(TASKS["detection"], boxes, DetectionInputs(), PICTURE) == [
        {"text": "dog", "box": (20.0, 20.0, 100.0, 60.0), "point": None, "score": None}
    ]
    # A score is drawn if it is a measured probability.
    for calibrated, drawn in ((True, 0.8), (False, None)):
        score = PlaceScore(
            path="objects[0].bbox", value=0.8, calibrated=calibrated, logprob=-1, label_logprob=-1
        )
        [dog] = marks_of(TASKS["detection"], boxes, DetectionInputs(), PICTURE, [score])
        assert dog["score"] == drawn
    nothing = marks_of(TASKS["detection"], DetectionAnswer(objects=()), DetectionInputs(), PICTURE)
    assert nothing == [{"text": "nothing found", "box": None, "point": None, "score": None}]
    neck = KeypointInputs(joint="neck")
    point = marks_of(TASKS["keypoints"], PointAnswer(point=(0.5, 0.5)), neck, PICTURE)
    assert point == [{"text": "neck", "box": None, "point": (100.0, 50.0), "score": None}]
    choice = ChoiceInputs(question="Which?", choices=("a cat", "a dog"))
    chosen = marks_of(TASKS["vqa_choice"], ChoiceAnswer(choice=1), choice, PICTURE)
    assert chosen[0]["text"] == "(B) a dog"
    apples = CountingInputs(noun="apples")
    count = marks_of(TASKS["counting"], CountingAnswer(count=3), apples, PICTURE)
    assert count[0]["text"] == "3 apples"
    found = Detection3DAnswer(objects=(Object3D(label="bed", bbox=(0, 0, 0, 1, 1, 1)),))
    beds = marks_of(TASKS["detection_3d"], found, DetectionInputs(), CLOUD)
    assert beds == [{"text": "bed", "box": (0, 0, 0, 1, 1, 1)}]
    answer, asked = Box3DAnswer(bbox=(0, 0, 0, 1, 1, 1)), GroundingInputs(description="x")
    box = marks_of(TASKS["grounding_3d"], answer, asked, CLOUD)
    assert box == [{"text": "", "box": (0, 0, 0, 1, 1, 1)}]
    rotated = Box3DAnswer(bbox=(0, 0, 0, 1, 1, 1, 0.5))
    moved = CloudFrame("m", "z", ((0, 0, 0), (1, 1, 1)), (1.0, 2.0, 0.0))
    box = marks_of(TASKS["grounding_3d"], rotated, asked, moved)
    assert box == [{"text": "", "box": (-1, -2, 0, 1, 1, 1, 0.5)}]
