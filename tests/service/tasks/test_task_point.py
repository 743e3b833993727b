"""The task `point` from its one file: read, scored, served, constrained, drawn and measured."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from benchmark.cli import bench
from benchmark.report.gallery import Gallery
from lamm_model.tasks import TASKS, ParseStatus, Sample
from lamm_model.tasks.point import PointInputs, PointsAnswer
from service.engine.base import FinishReason, GenerationChunk, GenerationRequest
from service.media.overlay_picture import PALETTE
from tests.benchmark.conftest import FakeServer
from tests.service.tasks.task_requests import URL, picture

TASK = TASKS["point"]
BAG = PointInputs(label="bag")
BOXES = [[0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]
SHARES = st.tuples(*[st.integers(0, 1000).map(lambda n: n / 1000)] * 2)
LABELS = st.text(
    st.characters(categories=("L", "N"), include_characters=" -/'&."), min_size=1, max_size=16
)

Says = Callable[[str], list[GenerationRequest]]


def sample(number: int = 0, **more: Any) -> Sample:
    target = {"label": "bag", "boxes": BOXES}
    given = {"id": f"b{number}", "task": "point", "question": f"Bags, {number}?", "target": target}
    return Sample.model_validate({**given, **more})


@pytest.mark.parametrize(
    ("text", "points", "status"),
    [
        ("bag [0.100, 0.200]; bag [0.600, 0.700]", [(0.1, 0.2), (0.6, 0.7)], "ok"),
        ("[0.1, 0.2]", [(0.1, 0.2)], "ok"),
        ("The bags are at [0.1, 0.2] and [0.3, 0.4].", [(0.1, 0.2), (0.3, 0.4)], "ok"),
        ("There are no objects.", [], "ok"),
        ("There is no bag in this picture.", [], "ok"),
        ("coat [0.5, 0.5]; blue bag [0.3, 0.4]", [(0.3, 0.4)], "partial"),
        ("bag [0.1, 0.2, 0.3, 0.4]", [(0.2, 0.3)], "partial"),
        ("bag [128, 50]", [(0.64, 0.5)], "partial"),
        ("coat [0.5, 0.5]", None, "unparsed"),
        ("I cannot tell.", None, "unparsed"),
    ],
)
def test_sentences(text: str, points: list[Any] | None, status: str) -> None:
    read = TASK.parse(text, PointInputs(label="bag", size=(200, 100)))
    assert read.status == status
    found = None if read.answer is None else list(read.answer.points)
    assert found == (None if points is None else [pytest.approx(point) for point in points])


@settings(max_examples=150, deadline=None)
@given(label=LABELS, points=st.lists(SHARES, max_size=5))
def test_round_trip(label: str, points: list[tuple[float, float]]) -> None:
    try:
        inputs = PointInputs(label=label)
    except ValidationError:
        return
    answer = PointsAnswer(label=label, points=tuple(points))
    read = TASK.parse(TASK.render(answer, inputs), inputs)
    assert (read.answer, read.status) == (answer, ParseStatus.OK)


@pytest.mark.parametrize("label", ["", "a [b]", "??"])
def test_a_label_that_no_text_can_name_is_refused(label: str) -> None:
    with pytest.raises(ValidationError):
        PointInputs(label=label)


def test_points_are_scored_by_the_boxes_that_hold_them() -> None:
    inputs, target = TASK.read_sample(sample())
    assert TASK.prompt(inputs).startswith("Where in this picture is every bag?")
    assert TASK.is_hit(target, target)
    both_in_one = PointsAnswer(label="bag", points=((0.1, 0.1), (0.15, 0.15)))
    assert not TASK.is_hit(both_in_one, target)
    for beside in ((0.4, 0.6), (0.95, 0.6), (0.6, 0.4), (0.6, 0.95)):
        assert not TASK.is_hit(PointsAnswer(label="bag", points=((0.1, 0.1), beside)), target)
    score = TASK.score([(both_in_one, target), (None, target)])
    assert {name: one.value for name, one in score.items()} == pytest.approx(
        {"precision": 0.5, "recall": 0.25, "f1": 1 / 3}
    )
    assert [mark.box for mark in target.marks()] == [tuple(box) for box in BOXES]
    with pytest.raises(ValueError, match="expected the keys 'label' and 'boxes'"):
        TASK.read_sample(sample(target=[]))
    with pytest.raises(ValidationError, match="is not 0 <= x1 <= x2"):
        TASK.read_sample(sample(target={"label": "bag", "boxes": [[1, 1, 0, 0]]}))


@pytest.fixture
def says(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Sets what the engine answers; what reached it is in the list that comes back."""

    def say(text: str) -> list[GenerationRequest]:
        requests: list[GenerationRequest] = []

        async def generate(request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
            requests.append(request)
            yield GenerationChunk(text, finish_reason=FinishReason.STOP, completion_tokens=1)

        monkeypatch.setattr(app.state.services.engines[0].engine, "generate", generate)
        return requests

    return say


@pytest.mark.asyncio(loop_scope="module")
async def test_it_is_served_in_pixels_and_drawn(client: httpx.AsyncClient, says: Says) -> None:
    says("bag [0.10, 0.20]; bag [0.50, 1.05]")
    body = {**picture(label="bag"), "overlay": "png"}
    answer = (await client.post(f"{URL}/point", json=body)).json()
    assert answer["answer"] == {
        "label": "bag",
        "points": [[20.0, 20.0], [100.0, 100.0]],
        "points_normalized": [[0.1, 0.2], [0.5, 1.0]],
    }
    [moved] = answer["clipped"]
    assert (answer["parse_status"], moved["field"]) == ("partial", "points[1]")
    drawn = Image.open(io.BytesIO(base64.b64decode(answer["overlay"].partition(",")[2])))
    assert drawn.getpixel((20, 20)) == PALETTE[0]
    says("There are no objects.")
    nothing = (await client.post(f"{URL}/point", json=body)).json()
    assert nothing["answer"] == {"label": "bag", "points": [], "points_normalized": []}
    form = await client.post(
        f"{URL}/point",
        files={"file": ("a.png", base64.b64decode(body["image_url"]["url"].partition(",")[2]))},
        data={"label": "bag"},
    )
    assert form.json()["parse_status"] == "ok", form.text


@pytest.mark.asyncio(loop_scope="module")
async def test_its_route_is_typed_and_its_answers_may_be_constrained(
    client: httpx.AsyncClient, app: FastAPI, says: Says
) -> None:
    requests = says("bag [0.100, 0.200]")
    body = {**picture(label="bag"), "constrain": True}
    assert (await client.post(f"{URL}/point", json=body)).json()["parse_status"] == "ok"
    assert requests[0].grammar is not None
    schemas = app.openapi()["components"]["schemas"]
    assert schemas["PointRequest"]["properties"]["inputs"]["$ref"].endswith("/PointInputs")
    assert "size" not in schemas["PointInputs"]["properties"]
    assert set(schemas["PlacedPointsAnswer"]["properties"]) == {
        "label", "points", "points_normalized",
    }  # fmt: skip
    [card] = [c for c in (await client.get(URL)).json()["data"] if c["name"] == "point"]
    assert (card["modes"], card["constrain"], card["overlays"]) == (["text"], True, ["png"])
    assert card["example"]["inputs"] == {"label": "bag"}
    error = (await client.post(f"{URL}/point", json=picture())).json()["error"]
    assert "label" in error["param"]


def test_a_suite_of_it_is_asked_scored_and_drawn(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "0.png")
    records = [sample(number, image="0.png").model_dump_json() for number in range(2)]
    (tmp_path / "bags.jsonl").write_text("\n".join(records))
    suite = {"name": "s", "rows": [{"name": "bags", "task": "point", "file": "bags.jsonl"}]}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    server = FakeServer(
        answers={"Bags, 0?": "bag [0.1, 0.1]; bag [0.6, 0.6]", "Bags, 1?": "bag [0.1, 0.1]"}
    )
    server.start()
    try:
        argv = ["quality", "--url", server.url, "--data", str(tmp_path)]
        assert bench([*argv, "--out", str(tmp_path / "out")]) == 0
    finally:
        server.stop()
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    [row] = scores["rows"]
    assert (row["metric"], row["score"]) == ("f1", pytest.approx(6 / 7, abs=1e-3))
    [line] = scores["protocols"]
    assert (line["protocol"], line["metric"], line["score"]) == ("corrected-v1", "accuracy", 0.5)
    gallery = Gallery.model_validate_json((tmp_path / "out/gallery.json").read_text())
    miss = gallery.rows[0].items[0]
    assert [mark.box for mark in miss.truth.boxes] == [tuple(box) for box in BOXES]
    assert [mark.point for mark in miss.answer.points] == [(0.1, 0.1)]
