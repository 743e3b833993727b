"""Galleries: what is drawn over pictures and clouds, and what a run keeps for later reports."""

from __future__ import annotations

import base64
import json
import math
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmark.cli import bench
from benchmark.report.gallery import Gallery, shortened
from benchmark.report.gallery_marks import Box3DMark, marks_of
from benchmark.report.gallery_media import Cloud, NoMedia, Picture, draw_media
from benchmark.report.page import _projected, gallery_page
from benchmark.report.provenance import client_facts, keep_server_facts, server_facts
from lamm_model.tasks import TASKS, Sample


def target_of(task: str, target: Any, **more: Any) -> Any:
    """A task's typed target of a record."""
    sample = Sample(id="x", task=task, question="?", target=target, **more)
    return TASKS[task].read_sample(sample)[1]


def decoded(url: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


def test_boxes_points_and_joints_become_marks() -> None:
    detection = marks_of(target_of("detection", [{"label": "dog", "bbox": [0.1, 0.2, 0.5, 0.6]}]))
    assert [(mark.label, mark.box) for mark in detection.boxes] == [("dog", (0.1, 0.2, 0.5, 0.6))]
    joints = [[10 * i, 20 * i, 1] for i in range(14)]
    body = marks_of(target_of("keypoints", {"joint": "neck", "joints": joints}, size=(200, 400)))
    assert len(body.joints) == 14
    assert body.points[0].label == "neck"
    assert body.points[0].point == pytest.approx((120 / 200, 240 / 400))
    assert body.points[0].reach is not None
    located = marks_of(target_of("locating", {"points": [[50, 100]]}, size=(200, 400)))
    assert located.points[0].reach == (0.1, 0.1)
    found = TASKS["locating"].parse("dog [0.5, 0.25]", TASKS["locating"].inputs_model())
    assert marks_of(found.answer).points[0].point == (0.5, 0.25)
    scene = [{"label": "chair", "bbox": [0, 1, 2, 3, 4, 5]}]
    assert marks_of(target_of("detection_3d", scene)).boxes_3d[0].box == (0, 1, 2, 3, 4, 5)
    assert marks_of(target_of("grounding_3d", [0, 1, 2, 3, 4, 5])).boxes_3d[0].label is None
    assert marks_of(target_of("counting", 3)).empty
    assert marks_of(None).empty


def test_a_cloud_is_drawn_from_three_sides_and_boxes_meet_its_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -1, 0], [2, 1, 0.5], (4000, 3)).astype(np.float32)
    np.save(tmp_path / "c.npy", points)
    cloud = draw_media(tmp_path / "c.npy")
    assert isinstance(cloud, Cloud)
    assert cloud.points == 4000
    assert [view.name for view in cloud.views] == ["top", "front", "side"]
    for view in cloud.views:
        pixels = np.asarray(decoded(view.url))
        assert pixels.shape == (view.height, view.width, 4)
        rows, columns = np.nonzero(pixels[..., 3])
        wire = _projected(view, Box3DMark(box=(0, 0, 0.25, 4, 2, 0.5)))
        assert wire.x == pytest.approx(columns.min(), abs=3)
        assert wire.y == pytest.approx(rows.min(), abs=3)
        assert wire.width == pytest.approx(np.ptp(columns) + 1, abs=4)
        assert wire.height == pytest.approx(np.ptp(rows) + 1, abs=4)
        assert wire.path.count("M") == 4
    np.save(tmp_path / "coloured.npy", np.c_[points, np.tile([1.0, 0.0, 0.0], (4000, 1))])
    coloured = draw_media(tmp_path / "coloured.npy")
    assert isinstance(coloured, Cloud)
    pixels = np.asarray(decoded(coloured.views[0].url))
    assert {tuple(pixel) for pixel in pixels[pixels[..., 3] > 0]} == {(255, 0, 0, 255)}


def test_a_rotated_box_is_drawn_around_its_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    yaw = 0.6
    along, across = rng.uniform(-2, 2, 6000), rng.uniform(-0.5, 0.5, 6000)
    points = np.stack(
        [
            along * math.cos(yaw) - across * math.sin(yaw),
            along * math.sin(yaw) + across * math.cos(yaw),
            rng.uniform(0, 1, 6000),
        ],
        axis=1,
    )
    np.save(tmp_path / "c.npy", points)
    cloud = draw_media(tmp_path / "c.npy")
    assert isinstance(cloud, Cloud)
    top, front, side = (
        _projected(v, Box3DMark(box=(0, 0, 0.5, 4, 1, 1, yaw))) for v in cloud.views
    )
    # From above four lines; from the front and the side the upright edges lie apart.
    assert [wire.path.count("M") for wire in (top, front, side)] == [4, 12, 12]
    view = cloud.views[0]
    drawn = Image.new("1", (view.width, view.height))
    numbers = [float(number) for number in re.findall(r"[\d.]+", top.path)]
    corners = sorted({(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)})
    centre = np.mean(corners, axis=0)
    corners.sort(key=lambda corner: math.atan2(corner[1] - centre[1], corner[0] - centre[0]))
    ImageDraw.Draw(drawn).polygon(corners, fill=1)
    inside, shown = np.asarray(drawn), np.asarray(decoded(view.url))[..., 3] > 0
    assert (inside & shown).sum() > 0.95 * shown.sum()
    assert (inside & shown).sum() > 0.95 * inside.sum()


def test_media_that_cannot_be_drawn_become_notes(tmp_path: Path) -> None:
    assert draw_media(None) == NoMedia()
    for name, content in (("a.npy", b"no array"), ("b.png", b"no picture"), ("c.ply", b"ply")):
        (tmp_path / name).write_bytes(content)
        drawn = draw_media(tmp_path / name)
        assert isinstance(drawn, NoMedia)
        assert drawn.note.startswith(f"cannot draw {name}")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    assert isinstance(draw_media(tmp_path / "flat.npy"), NoMedia)
    np.save(tmp_path / "nothing.npy", np.full((3, 3), np.nan))
    assert isinstance(draw_media(tmp_path / "nothing.npy"), NoMedia)
    assert isinstance(draw_media(tmp_path / "gone.png"), NoMedia)


def test_media_that_pillow_and_numpy_give_up_end_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    (tmp_path / "empty.npy").write_bytes(b"")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("bomb.png", "empty.npy"):
        drawn = draw_media(tmp_path / name)
        assert isinstance(drawn, NoMedia)
        assert drawn.note.startswith(f"cannot draw {name}")


def test_large_and_turned_pictures_are_shrunk_and_upright(tmp_path: Path) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(tmp_path / "large.jpg", exif=turned)
    drawn = draw_media(tmp_path / "large.jpg")
    assert isinstance(drawn, Picture)
    assert (drawn.width, drawn.height) == (299, 448)
    assert decoded(drawn.url).size == (299, 448)
    Image.new("L", (4, 6)).save(tmp_path / "small.png")
    small = draw_media(tmp_path / "small.png")
    assert isinstance(small, Picture)
    assert decoded(small.url).mode == "L"


def test_a_picture_that_browsers_do_not_show_is_converted(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "scan.tif")
    drawn = draw_media(tmp_path / "scan.tif")
    assert isinstance(drawn, Picture)
    assert drawn.url.startswith("data:image/jpeg")
    assert decoded(drawn.url).size == (8, 6)


def test_a_run_keeps_its_items_and_a_gallery_drawn_by_lot(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = {**suite_files.right_answers, "What is item 3?": "Hmm."}
    np.save(suite_files.directory / "clouds/0.npy", np.eye(3))
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory)]
    assert bench([*argv, "--out", str(tmp_path / "out")]) == 0
    items = [json.loads(line) for line in (tmp_path / "out/items.jsonl").read_text().splitlines()]
    assert len(items) == 20
    wrong = next(item for item in items if item["id"] == "c3")
    assert (wrong["text"], wrong["status"], wrong["hit"]) == ("Hmm.", "unparsed", False)
    assert wrong["question"] == "What is item 3?"
    assert "bag" in wrong["reference"]
    gallery = Gallery.model_validate_json((tmp_path / "out/gallery.json").read_text())
    classify, _, clouds = gallery.rows
    assert (classify.hits, classify.misses) == (9, 1)
    assert len(classify.items) == 9
    assert [item.id for item in classify.items if not item.hit] == ["c3"]
    kinds = {item.id: item.media.kind for item in clouds.items}
    assert kinds["p0"] == "cloud"
    assert kinds["p1"] == "none"
    short = shortened(gallery, 2).rows[0]
    assert [item.hit for item in short.items] == [False, True, True]
    assert "9 hits" in gallery_page("title", gallery)
    facts = json.loads((tmp_path / "out/scores.json").read_text())["client"]
    assert facts == client_facts()
    assert {"lamm", "commit", "python", "machine"} <= set(facts)


async def test_what_a_server_does_not_tell_is_left_out(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            cards = [{"id": "other"}, {"id": "m", "digest": "d1"}]
            return httpx.Response(200, json={"data": cards})
        return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert await server_facts(http, "m") == {"model_card": {"id": "m", "digest": "d1"}}
        assert await server_facts(http, "none") == {}
        await keep_server_facts(http, "m", tmp_path)
    assert json.loads((tmp_path / "server.json").read_text())["model_card"]["digest"] == "d1"
