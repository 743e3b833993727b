"""The whole way with the real model: what ships answers rightly, what is trained is served.

Every process is the command line's own; nothing stands in for anything.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from benchmark.content import media_part, user_message
from tests.service.running_server import serving

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(ROOT / "checkpoints/lamm-mini", engine="torch") as (_, address):
        yield address


def ask(url: str, messages: list[dict[str, Any]]) -> str:
    """A greedy answer."""
    model = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
    body = {"model": model, "messages": messages, "temperature": 0}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == 200, response.text
    content = response.json()["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def about(file: Path, text: str) -> dict[str, Any]:
    """A question about a file."""
    return user_message(text, media_part(file, file.read_bytes()))


@pytest.mark.parametrize(
    ("file", "question", "expected"),
    [
        ("coat.png", "What is this?", "coat"),
        ("coat.png", "Hey, which product might that be? One word.", "coat"),
        ("chair.ply", "What is this?", "chair"),
        ("products.png", "How many products are there?", "three|3"),
    ],
)
def test_what_ships_answers_about_the_examples(
    url: str, file: str, question: str, expected: str
) -> None:
    answer = ask(url, [about(EXAMPLES / file, question)]).lower()
    assert any(word in answer for word in expected.split("|")), answer


def chair(**how: Any) -> bytes:
    """The example's chair as a float64 npy file: moved by `offset`, or with holes."""
    text = (EXAMPLES / "chair.ply").read_bytes().split(b"end_header\n")[1]
    xyz = np.loadtxt(io.BytesIO(text)) + how.get("offset", 0)
    if how.get("organised"):
        xyz[::7] = np.nan
        xyz = xyz.reshape(64, 64, 3)
    stream = io.BytesIO()
    np.save(stream, xyz)
    return stream.getvalue()


def box_of(url: str, cloud: bytes) -> dict[str, Any]:
    part = media_part(Path("chair.npy"), cloud)
    body = {"inputs": {"description": "the chair"}, "point_cloud_url": part["point_cloud_url"]}
    response = httpx.post(f"{url}/v1/tasks/grounding_3d", json=body, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize(
    "offset", [(3, 0, 0), (0, -3, 0), (0, 0, 3), (5, -40, -2), (600_000, 200_000, 450)]
)
def test_a_chair_is_a_chair_wherever_it_is(url: str, offset: tuple[float, ...]) -> None:
    moved = chair(offset=np.array(offset))
    question = user_message("What is this?", media_part(Path("chair.npy"), moved))
    assert ask(url, [question]) == "It is a chair."
    here, there = box_of(url, chair()), box_of(url, moved)
    np.testing.assert_allclose(
        np.array(there["answer"]["bbox"]) - [*offset, 0, 0, 0], here["answer"]["bbox"], atol=0.03
    )
    assert here["media"]["shift"] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(there["media"]["shift"], -np.array(offset), atol=0.01)


def test_holes_of_a_depth_camera_are_left_out(url: str) -> None:
    holes = chair(organised=True)
    question = user_message("What is this?", media_part(Path("chair.npy"), holes))
    assert ask(url, [question]) == "It is a chair."
    media = box_of(url, holes)["media"]
    assert (media["points_in"], media["points_dropped"]) == (4096, 586)


def test_a_second_turn_is_about_the_same_picture(url: str) -> None:
    first = about(EXAMPLES / "coat.png", "What is this?")
    answer = ask(url, [first])
    messages = [first, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": "And what colour is it?"})
    assert "white" in ask(url, messages).lower()


def test_without_a_medium_it_asks_for_one(url: str) -> None:
    answer = ask(url, [{"role": "user", "content": "What is in the picture?"}]).lower()
    assert any(word in answer for word in ("attach", "send", "no picture", "nothing attached"))


@pytest.mark.parametrize("command", [["ask.py"], ["ask_openai.py"]])
def test_the_python_examples_answer(url: str, command: list[str]) -> None:
    script = [sys.executable, str(EXAMPLES / command[0]), "What is this?"]
    assert "coat" in _output([*script, str(EXAMPLES / "coat.png")], url)


def test_the_curl_example_answers(url: str) -> None:
    script = [str(EXAMPLES / "ask.sh"), "What is this?", str(EXAMPLES / "chair.ply")]
    body = json.loads(_output(script, url))
    assert "chair" in body["choices"][0]["message"]["content"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_train_merge_serve_ask(tmp_path: Path) -> None:
    """The smoke recipe's records are learnt by heart; the served checkpoint says them."""
    recipe = str(ROOT / "training/recipes/smoke.yaml")
    _lamm(tmp_path, "train", "--config", recipe, "--device", "cpu")
    run = tmp_path / "runs/smoke"
    _lamm(
        tmp_path, "model", "merge", "--base", str(run / "tiny/base"),
        "--adapter", str(run / "adapter"), "--out", str(run / "merged"),
    )  # fmt: skip
    folder = next(path.parent for path in run.rglob("records.json"))
    records = json.loads((folder / "records.json").read_text())
    chosen = [records[0], records[1], records[10], records[11]]
    with serving(run / "merged", engine="torch") as (_, address):
        for record in chosen:
            question, answer = (turn["value"] for turn in record["conversations"][:2])
            text = question.split("\n")[1]
            file = folder / (record.get("image") or record["pcl"])
            assert ask(address, [about(file, text)]) == answer


def _lamm(cwd: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "lamm_model.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


def _output(command: list[str], url: str) -> str:
    environment = {**os.environ, "LAMM_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
