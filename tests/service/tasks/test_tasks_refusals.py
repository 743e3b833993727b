"""Task requests that are wrong: each its own clear answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.chat_requests import CONTEXT, image, png
from tests.service.tasks.task_requests import URL, picture, points

pytestmark = pytest.mark.asyncio(loop_scope="module")


CASES: dict[str, tuple[str, Any, int, str | None, str]] = {
    "a cloud for a picture": (
        "detection", points(), 400, None,
        "has point_cloud_url; this task takes a picture (JPEG, PNG, WebP, BMP, GIF, "
        "TIFF, HEIC, AVIF) in image_url"),
    "a picture for a cloud": (
        "detection_3d", picture(), 400, None, "takes a point cloud (asc, bin, csv"),
    "no medium": ("counting", {"inputs": {}}, 400, "image_url", "image_url is missing"),
    "no question": ("vqa", picture(), 400, "inputs.question", "is missing"),
    "no inputs": (
        "vqa", {"image_url": picture()["image_url"]}, 400, "inputs", "inputs is missing"),
    "an unknown input": (
        "counting", picture(nouns="x"), 400, "inputs.nouns", "not a known field"),
    "an unknown field": (
        "counting", {**picture(), "input": {}}, 400, "input", "not a known field"),
    "a size": ("detection", picture(size=[9, 9]), 400, "inputs.size", "not a known field"),
    "an unknown joint": (
        "keypoints", picture(joint="nose"), 400, "inputs.joint", "'nose' is not one of right"),
    "labels alike": (
        "classification", picture(labels=["cat", "Cats"]), 400, "inputs.labels",
        "'cat' and 'Cats' cannot be told apart"),
    "many inputs": (
        "counting", picture(**{f"x{i}": 1 for i in range(70)}), 400, "inputs", "at most 64"),
    "an overlay of another kind": (
        "counting", {**picture(), "overlay": "ply"}, 400, "overlay", "'png'"),
    "an overlay that there is not": (
        "classification_3d", {**points(), "overlay": "ply"}, 400, "overlay", "null"),
    "probabilities of an open set": (
        "caption", {**picture(), "mode": "likelihood"}, 400, "mode", "'text'"),
    "probabilities without labels": (
        "classification", {**picture(), "mode": "likelihood"}, 400, "mode", "inputs.labels"),
    "hot temperature": ("counting", {**picture(), "temperature": 3}, 400, "temperature", "most 2"),
    "an unknown model": ("counting", {**picture(), "model": "gpt"}, 404, "model", "'gpt'"),
    "a broken picture": (
        "counting", {"image_url": image(png()[:40])["image_url"]}, 422, "image_url", "truncated"),
    "no picture": (
        "counting", {"image_url": image(b"hello")["image_url"]}, 415, "image_url", "JPEG"),
    "a path": (
        "counting", {"image_url": {"url": "/etc/passwd"}}, 400, "image_url", "never opened"),
    "a long question": (
        "vqa", picture(question="why " * 100), 400, "inputs",
        f"maximum context length is {CONTEXT}"),
    "a long answer": (
        "counting", {**picture(), "max_tokens": 300}, 400, "inputs", "max_tokens is 300"),
    "no object": ("counting", [], 400, None, "must be an object"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, case: tuple[str, Any, int, str | None, str]
) -> None:
    task, body, status, param, words = case
    error = await refused(client, task, body, status)
    assert words in error["message"]
    assert error["param"] == param
    assert set(error) == {"message", "type", "param", "code"}


async def test_an_unknown_task(client: httpx.AsyncClient) -> None:
    error = await refused(client, "segmentation", picture(), 404)
    assert (error["param"], error["code"]) == ("task", "task_not_found")
    assert "'segmentation' not found; the tasks are caption, classification" in error["message"]


async def refused(
    client: httpx.AsyncClient, task: str, body: dict[str, Any], status: int = 400
) -> dict[str, Any]:
    response = await client.post(f"{URL}/{task}", json=body)
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    return error
