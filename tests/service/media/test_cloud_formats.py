"""Clouds of every format over HTTP: what their parts say, and what answers report of them."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

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


@pytest.mark.parametrize(
    ("data", "format", "fields", "words"),
    [
        (b"0 0 0\n", "xyz", {"sample": "surface"}, "`sample` is only for the format glb, gltf"),
        (PLY, "PLY", {"columns": 3}, "`columns` is only for the format bin; the format is ply"),
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
