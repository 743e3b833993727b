"""`/v1/tasks` over ASGI: the list, typed answers, what is refused, the OpenAPI document."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from lamm_model.media import PointCloud, decode_point_cloud
from lamm_model.tasks import TASKS
from service.engine.base import GenerationRequest
from service.engine.echo_engine import EchoEngine
from service.media.overlay_picture import PALETTE
from service.tasks.models import TaskModels
from tests.service.tasks.task_requests import URL, picture, points

CONTEXT = 1024
pytestmark = pytest.mark.asyncio(loop_scope="module")

Says = Callable[[str], list[GenerationRequest]]


@pytest.fixture(scope="module")
def checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny one with room for prompts that write out a set of labels letter by letter."""
    directory = tmp_path_factory.mktemp("tasks") / checkpoint.name
    shutil.copytree(checkpoint, directory)
    config = json.loads((directory / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = CONTEXT
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def says(engine: EchoEngine, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Sets what the engine answers; what reached it is in the list that comes back."""

    def say(text: str) -> list[GenerationRequest]:
        requests: list[GenerationRequest] = []
        other = EchoEngine(engine._config, text)
        other._alive = True

        def generate(request: GenerationRequest) -> Any:
            requests.append(request)
            return other.generate(request)

        monkeypatch.setattr(engine, "generate", generate)
        return requests

    return say


async def answered(client: httpx.AsyncClient, task: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(f"{URL}/{task}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    TaskModels.of(TASKS[task]).response.model_validate(answer)
    return answer


async def test_every_task_is_listed_with_an_example_that_works(
    client: httpx.AsyncClient, says: Says
) -> None:
    says("The answer is (A).")
    listed = (await client.get(URL)).json()
    assert listed["object"] == "list"
    assert [card["name"] for card in listed["data"]] == list(TASKS)
    for card in listed["data"]:
        task = TASKS[card["name"]]
        assert (card["modality"], card["description"]) == (task.modality, task.description)
        assert card["models"] == ["tiny-lamm"]
        assert "size" not in card["inputs_schema"]["properties"]
        task.inputs_model.model_validate(card["example"]["inputs"])
        answer = await answered(client, task.name, card["example"])
        assert answer["media"]["modality"] == task.modality


async def test_a_body(client: httpx.AsyncClient, says: Says) -> None:
    says("There are three apples.")
    response = await client.post(f"{URL}/counting", json=picture(noun="apples"))
    answer = response.json()
    assert answer["id"].startswith("task-")
    assert (answer["object"], answer["model"], answer["task"]) == (
        "task.answer", "tiny-lamm", "counting",
    )  # fmt: skip
    assert answer["system_fingerprint"].startswith("fp_")
    assert (answer["answer"], answer["parse_status"]) == ({"count": 3}, "ok")
    assert (answer["text"], answer["finish_reason"]) == ("There are three apples.", "stop")
    assert answer["usage"]["prompt_tokens_details"]["image_tokens"] == 16
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["media"] == {
        "modality": "image", "format": "PNG", "width": 200, "height": 100,
        "exif_orientation_applied": False,
        "transform": {"kind": "squash", "size": [32, 32], "scale": [0.16, 0.32], "offset": [0, 0]},
    }  # fmt: skip
    assert (answer["options"], answer["overlay"], answer["clipped"]) == (None, None, [])
    assert "generate" in response.headers["server-timing"]


async def test_the_prompt_and_the_defaults_are_the_task_s(
    client: httpx.AsyncClient, app: FastAPI, says: Says
) -> None:
    requests = says("3")
    await answered(client, "counting", picture(noun="apples"))
    await answered(client, "counting", {**picture(), "temperature": 0.5, "max_tokens": 7})
    first, second = requests
    tokenizer = app.state.services.models.get("tiny-lamm").processor.tokenizer
    ids = [i for i in first.prompt_token_ids[1:] if i < tokenizer.vocab_size]
    assert "How many apples are in this picture?\n### Assistant:" in tokenizer.decode(ids)
    assert first.sampling_params.greedy
    assert first.sampling_params.max_tokens == TASKS["counting"].max_tokens
    assert (second.sampling_params.temperature, second.sampling_params.max_tokens) == (0.5, 7)
    assert first.model == "tiny-lamm"


async def test_boxes_come_in_pixels_and_in_shares(client: httpx.AsyncClient, says: Says) -> None:
    says("dog [0.10, 0.20, 0.45, 0.60]; cat [0.50, 0.50, 1.05, 0.90]")
    answer = await answered(client, "detection", picture())
    dog, cat = answer["answer"]["objects"]
    assert dog == {
        "label": "dog", "bbox": [20.0, 20.0, 90.0, 60.0],
        "bbox_normalized": [0.1, 0.2, 0.45, 0.6],
    }  # fmt: skip
    assert cat["bbox"] == [100.0, 50.0, 200.0, 90.0]
    assert answer["parse_status"] == "partial"
    assert answer["clipped"] == [
        {
            "field": "objects[1].bbox", "written": "[0.50, 0.50, 1.05, 0.90]",
            "given": [0.5, 0.5, 1.05, 0.9], "used": [0.5, 0.5, 1.0, 0.9],
        }
    ]  # fmt: skip


async def test_pixels_in_an_answer_are_read_with_the_picture_s_own_size(
    client: httpx.AsyncClient, says: Says
) -> None:
    says("[150, 50]")
    answer = await answered(client, "keypoints", picture(joint="neck"))
    assert answer["answer"] == {"point": [150.0, 50.0], "point_normalized": [0.75, 0.5]}


async def test_what_cannot_be_used_is_listed(client: httpx.AsyncClient, says: Says) -> None:
    says("dog [0.1, 0.1, 0.5, 0.5]; cat [7.0, 0.1, 0.5]; [0.2, 0.2, 0.3, 0.3]")
    answer = await answered(client, "detection", picture(labels=["dog", "cat"]))
    assert [one["label"] for one in answer["answer"]["objects"]] == ["dog", "cat"]
    assert answer["dropped"] == ["[7.0, 0.1, 0.5]"]


async def test_boxes_of_a_cloud_are_in_its_own_frame(client: httpx.AsyncClient, says: Says) -> None:
    says("chair [1.0, -0.5, 0.25, 0.4, 0.6, 0.8]; lamp [90, 0, 0, 1, 1, 1]")
    answer = await answered(client, "detection_3d", points(units="cm", up_axis="y"))
    chair, lamp = answer["answer"]["objects"]
    # z up to y up: (x, y, z) -> (x, z, -y), extents alike.
    assert chair["bbox"] == [1.0, 0.25, 0.5, 0.4, 0.8, 0.6]
    assert chair["bbox_in_units"] == [100.0, 25.0, 50.0, 40.0, 80.0, 60.0]
    assert (chair["outside_cloud"], lamp["outside_cloud"]) == (False, True)
    media = answer["media"]
    assert (media["units"], media["up_axis"]) == ("cm", "y")
    assert (media["points_in"], media["points_kept"], media["points_sampled"]) == (3, 3, 64)
    assert media["bounds"] == [[0.0, 0.0, 0.0], [4.0, 3.0, 2.0]]
    assert media["center"] == pytest.approx([2.0, 1.5, 1.0])


async def test_a_rotated_box_has_seven_numbers_and_others_have_six(
    client: httpx.AsyncClient, says: Says
) -> None:
    says(
        "chair [1.0, 0.5, 0.25, 0.4, 0.6, 0.8, 1.57]; lamp [1, 1, 1, 1, 1, 1]; "
        "bed [0, 0, 0, 1, 1, 1, 90]"
    )
    answer = await answered(client, "detection_3d", {**points(units="cm"), "overlay": "ply"})
    chair, lamp = answer["answer"]["objects"]
    assert chair["bbox"] == [1.0, 0.5, 0.25, 0.4, 0.6, 0.8, 1.57]
    assert chair["bbox_in_units"] == [100.0, 50.0, 25.0, 40.0, 60.0, 80.0, 1.57]
    assert lamp["bbox"] == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert (answer["parse_status"], answer["dropped"]) == ("partial", ["[0, 0, 0, 1, 1, 1, 90]"])
    corners = decode_overlay(answer["overlay"], "cm", "z").xyz[3:11]
    # A quarter of a turn: what is 0.4 long lies along y.
    np.testing.assert_allclose(np.ptp(corners, axis=0), [0.6, 0.4, 0.8], atol=2e-3)
    schema = (await client.get("/openapi.json")).json()["components"]["schemas"]
    bbox = schema["PlacedBox3DAnswer"]["properties"]["bbox"]
    assert (bbox["minItems"], bbox["maxItems"], bbox["items"]) == (6, 7, {"type": "number"})
    assert "yaw in radians about the up axis, counter-clockwise from above" in bbox["description"]


async def test_boxes_of_a_georeferenced_cloud_are_in_the_frame_of_the_file(
    client: httpx.AsyncClient, says: Says
) -> None:
    says("chair [1.0, -0.5, 0.25, 0.4, 0.6, 0.8]")
    far = points((60_000_000, 45_000, -20_000_000), units="cm", up_axis="y")
    answer = await answered(client, "detection_3d", {**far, "overlay": "ply"})
    [chair] = answer["answer"]["objects"]
    # The model saw the middle of the floor at 0: in the file that is (602 m, 450 m, 199 m - y).
    assert chair["bbox"] == [600_003.0, 450.25, -199_998.5, 0.4, 0.8, 0.6]
    assert chair["bbox_in_units"][:3] == [60_000_300.0, 45_025.0, -19_999_850.0]
    media = answer["media"]
    assert (media["points_in"], media["points_dropped"], media["points_kept"]) == (4, 1, 3)
    assert media["bounds"] == [[600_000.0, 450.0, -200_000.0], [600_004.0, 453.0, -199_998.0]]
    assert media["shift"] == [-600_002.0, -450.0, 199_999.0]
    drawn = decode_overlay(answer["overlay"], "cm", "y")
    xyz = drawn.xyz + np.array(drawn.origin)
    scan, box = xyz[:3], xyz[3:11]  # the corners follow the points
    np.testing.assert_allclose(scan.min(axis=0), [600_000, 199_998, 450], atol=1e-4)
    np.testing.assert_allclose(scan.max(axis=0), [600_004, 200_000, 453], atol=1e-4)
    np.testing.assert_allclose(box.min(axis=0), [600_002.8, 199_998.2, 449.85], atol=1e-4)
    np.testing.assert_allclose(box.max(axis=0), [600_003.2, 199_998.8, 450.65], atol=1e-4)


def decode_overlay(url: str, units: str, up_axis: str) -> PointCloud:
    kind, _, data = url.partition(",")
    assert kind == "data:application/octet-stream;base64"
    return decode_point_cloud(base64.b64decode(data), "ply", units, up_axis)


async def test_an_answer_that_cannot_be_read_is_null(client: httpx.AsyncClient, says: Says) -> None:
    says("I would rather not say.")
    answer = await answered(client, "counting", {**picture(), "overlay": "png"})
    assert (answer["answer"], answer["parse_status"]) == (None, "unparsed")
    assert answer["text"] == "I would rather not say."
    assert answer["overlay"] is None
    exposition = (await client.get("/metrics")).text
    labels = 'model_name="tiny-lamm",parse_status="unparsed",task="counting"'
    assert f"lamm:task_answers_total{{{labels}}} " in exposition


async def test_a_picture_comes_back_with_the_answer_drawn_on_it(
    client: httpx.AsyncClient, says: Says
) -> None:
    says("dog [0.10, 0.20, 0.45, 0.60]")
    answer = await answered(client, "detection", {**picture(), "overlay": "png"})
    kind, _, data = answer["overlay"].partition(",")
    assert kind == "data:image/png;base64"
    drawn = Image.open(io.BytesIO(base64.b64decode(data)))
    assert drawn.size == (200, 100)
    # The picture is red, the box's left edge is not.
    assert drawn.getpixel((150, 90)) == (255, 0, 0)
    assert drawn.getpixel((20, 40)) == PALETTE[0]


async def test_a_cloud_comes_back_with_its_boxes(client: httpx.AsyncClient, says: Says) -> None:
    says("chair [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]")
    answer = await answered(client, "detection_3d", {**points(units="cm"), "overlay": "ply"})
    kind, _, data = answer["overlay"].partition(",")
    assert kind == "data:application/octet-stream;base64"
    file = base64.b64decode(data)
    assert file.startswith(b"ply\nformat binary_little_endian 1.0\ncomment units cm, up axis z\n")
    assert b"comment chair = #e69f00\n" in file
    assert len(decode_point_cloud(file, "ply").xyz) > 3 + 8


async def test_who_leaves_has_the_answer_aborted(
    app: FastAPI, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: GenerationRequest) -> Any:
        try:
            started.set()
            await asyncio.Event().wait()
            yield
        finally:
            ended.set()

    monkeypatch.setattr(engine, "generate", endless)
    content = json.dumps(picture()).encode()
    messages = [{"type": "http.request", "body": content, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await started.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": f"{URL}/counting", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1",
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 60)
    assert ended.is_set()
    assert sent[0]["status"] == 499
    assert app.state.services.lifecycle.in_flight == 0


async def test_each_route_is_typed_in_the_document(app: FastAPI) -> None:
    document = app.openapi()
    for name in TASKS:
        route = document["paths"][f"{URL}/{name}"]["post"]
        content = route["requestBody"]["content"]
        schemas = document["components"]["schemas"]
        body = schemas[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        assert {"inputs", "mode", "overlay", "temperature"} <= set(body["properties"])
        form = content["multipart/form-data"]["schema"]
        assert "file" in form["required"]
        reply = route["responses"]["200"]["content"]["application/json"]["schema"]
        answer = schemas[reply["$ref"].rpartition("/")[2]]["properties"]["answer"]
        assert "$ref" in answer["anyOf"][0]
    assert f"{URL}/{{task}}" not in document["paths"]
