"""Clouds of every format over HTTP: what their parts say, and what answers report of them."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from lamm_model.formats.mesh import SURFACE_POINTS
from tests.lamm_model.formats import mesh_files
from tests.service.chat_requests import REPLY, chat_body, cloud, data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
TASK = "/v1/tasks/classification_3d"
SQUARE = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0.0]])
POLYGONS = [[0, 1, 2, 3], [0, 0, 1]]
OBJ = mesh_files.obj(SQUARE, POLYGONS)
PLY = mesh_files.ply_mesh(SQUARE, POLYGONS, None, "binary_little_endian")
GLB = mesh_files.glb(*mesh_files.gltf_parts(SQUARE, np.array([[0, 1, 2], [0, 2, 3]])))


CAMERA = {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5}
_STREAM = io.BytesIO()
Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(_STREAM, "PNG")
DEPTH = _STREAM.getvalue()


async def media(client: httpx.AsyncClient, data: bytes, format: str, **more: Any) -> Any:
    part = {"url": data_url(data), "format": format, **more}
    answer = await client.post(TASK, json={"point_cloud_url": part})
    assert answer.status_code == 200, answer.text
    return answer.json()["media"]


async def test_a_mesh_s_surface_is_reported(client: httpx.AsyncClient) -> None:
    seen = await media(client, OBJ, "obj")
    assert seen["points_in"] == SURFACE_POINTS
    assert seen["surface"] == {"faces": 3, "dropped": 1}
    vertices = await media(client, PLY, "ply")
    assert (vertices["points_in"], vertices["surface"]) == (4, None)
    sampled = await media(client, PLY, "ply", sample="surface")
    assert sampled["surface"] == {"faces": 3, "dropped": 1}


async def test_a_glb_file_s_y_axis_points_up(client: httpx.AsyncClient) -> None:
    seen = await media(client, GLB, "glb", sample="vertices")
    assert seen["up_axis"] == "y"
    assert seen["bounds"] == [[0, 0, 0], [2, 2, 0]]  # along the file's own axes
    seen = await media(client, GLB, "glb", sample="vertices", up_axis="z")
    assert seen["up_axis"] == "z"


async def test_a_form_and_a_file_part_are_read_alike(client: httpx.AsyncClient) -> None:
    json_ = await media(client, PLY, "ply", sample="surface", units="cm")
    form = await client.post(
        TASK, files={"file": ("a.ply", PLY)}, data={"sample": "surface", "units": "cm"}
    )
    assert form.json()["media"] == json_
    file = {"type": "file", "file": {"file_data": data_url(GLB), "filename": "thing"}}
    answer = await client.post(CHAT, json=chat_body(file))
    assert answer.json()["choices"][0]["message"]["content"] == REPLY


async def test_a_depth_picture_is_a_cloud_in_chat_task_and_form(client: httpx.AsyncClient) -> None:
    seen = await media(client, DEPTH, "depth", camera=CAMERA)
    assert seen["points_in"] == 48 * 64
    assert seen["bounds"][0][1] == seen["bounds"][1][1] == 2.0
    form = await client.post(
        TASK, files={"file": ("frame.png", DEPTH, "image/png")},
        data={"format": "depth", "camera": json.dumps(CAMERA)},
    )  # fmt: skip
    assert form.json()["media"] == seen
    chat = await client.post(CHAT, json=chat_body(cloud(DEPTH, "depth", camera=CAMERA)))
    assert chat.json()["choices"][0]["message"]["content"] == REPLY
    part = {"url": data_url(DEPTH), "format": "depth", "camera": CAMERA}
    body = {"point_cloud_url": part, "overlay": "ply"}
    drawn = await client.post("/v1/tasks/detection_3d", json=body)
    assert drawn.status_code == 200, drawn.text
    picture = await client.post(TASK, files={"file": ("frame.png", DEPTH, "image/png")})
    assert picture.json()["error"]["code"] == "wrong_medium"


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (None, "`camera` is missing; the format depth needs it"),
        ({}, "camera.fx is missing"),
        ({"fx": 1, "fy": 1, "cx": 1}, "camera.cy is missing"),
        (CAMERA | {"depthscale": 5}, "camera.depthscale is not a known field"),
        (CAMERA | {"fx": "a"}, "camera.fx must be a number"),
        (CAMERA | {"fx": -1}, "camera is not valid: fx is -1; it must be above 0"),
        (CAMERA | {"pose": [[1, 0, 0, 0]]}, "camera.pose[1] is missing"),
        (CAMERA | {"pose": [[1, 0, 0, 0]] * 4}, "pose must be a rotation"),
        ("none", "camera must be an object"),
    ],
)
async def test_a_camera_that_cannot_be_is_refused(
    client: httpx.AsyncClient, camera: Any, words: str
) -> None:
    part = {"url": data_url(DEPTH), "format": "depth", "camera": camera}
    refused = await client.post(TASK, json={"point_cloud_url": part})
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "format", "fields", "words"),
    [
        (b"0 0 0\n", "xyz", {"sample": "surface"}, "`sample` is only for the format glb, gltf"),
        (PLY, "PLY", {"columns": 3}, "`columns` is only for the format bin; the format is ply"),
        (PLY, "ply", {"camera": CAMERA}, "`camera` is only for the format depth"),
        (DEPTH, "depth", {"camera": CAMERA, "units": "mm"}, "`units` is mm"),
        (OBJ, "obj", {"sample": "edges"}, "'vertices' or 'surface'"),
    ],
)
async def test_a_field_that_is_not_for_the_format_is_refused(
    client: httpx.AsyncClient, data: bytes, format: str, fields: dict[str, Any], words: str
) -> None:
    chat = await client.post(CHAT, json=chat_body(cloud(data, format, **fields)))
    part = {"url": data_url(data), "format": format, **fields}
    task = await client.post(TASK, json={"point_cloud_url": part})
    for refused in (chat, task):
        assert refused.status_code == 400, refused.text
        assert words in refused.json()["error"]["message"]
        assert "point_cloud_url" in refused.json()["error"]["param"]
