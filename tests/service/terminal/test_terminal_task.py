"""`lamm task`: options from the task's inputs, a form for the service, an answer for people."""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from lamm_model.tasks import TASKS
from service.engine.echo_engine import DEFAULT_REPLY
from service.terminal import task as command
from service.terminal.attachments import ChatError, CloudOptions, cloud_part, read_camera
from tests.service.chat_requests import png
from tests.service.running_server import serving

Answers = Callable[..., list[bytes]]
ANSWER: dict[str, Any] = {
    "answer": None, "parse_status": "ok", "text": "Hm.", "clipped": [], "dropped": [],
    "options": None, "overlay": None, "score": None, "scores": None,
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "a.png").write_bytes(png())
    return str(tmp_path / "a.png")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Sets what the service answers; the bodies that reached it are in the list that comes back."""

    def set_answer(status: int = 200, **fields: Any) -> list[bytes]:
        bodies: list[bytes] = []

        def answer(request: httpx.Request) -> httpx.Response:
            bodies.append(request.url.path.encode() + b"\n" + request.read())
            return httpx.Response(status, json={**ANSWER, **fields})

        def connect(options: argparse.Namespace) -> httpx.Client:
            return httpx.Client(base_url=options.url, transport=httpx.MockTransport(answer))

        monkeypatch.setattr(command, "connect", connect)
        return bodies

    return set_answer


def sent(body: bytes, name: str) -> list[str]:
    """The values of a form's field."""
    pieces = body.split(f'name="{name}"'.encode())[1:]
    return [piece.split(b"\r\n\r\n")[1].split(b"\r\n--")[0].decode() for piece in pieces]


def test_inputs_and_options_become_a_form(
    answers: Answers, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [
        {"label": "dog", "bbox": [20.0, 20.0, 90.0, 60.5], "bbox_normalized": [0.1] * 4},
        {"label": None, "bbox": [1.0, 2.0, 3.0, 4.0], "bbox_normalized": [0.1] * 4},
    ]
    bodies = answers(
        answer={"objects": objects}, parse_status="partial", dropped=["[7]"],
        clipped=[{"written": "[1.1]"}],
    )  # fmt: skip
    argv = ["detection", file, "--labels", "dog, traffic light", "--constrain", "--max-tokens", "9"]
    assert command.task(argv) == 0
    [body] = bodies
    assert body.startswith(b"/v1/tasks/detection\n")
    assert sent(body, "labels") == ["dog", "traffic light"]
    assert (sent(body, "constrain"), sent(body, "max_tokens")) == (["true"], ["9"])
    assert sent(body, "mode") == sent(body, "units") == sent(body, "overlay") == []
    assert capsys.readouterr().out.splitlines() == [
        "dog: bbox 20.00 20.00 90.00 60.50",
        "object: bbox 1.00 2.00 3.00 4.00",
        "Read in part: something was ambiguous, repaired or left out.",
        "Moved into range: [1.1]",
        "Not used: [7]",
    ]


def test_scores_are_beside_their_places_and_the_answer(
    answers: Answers, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [{"label": "dog", "bbox": [1.0, 2.0, 3.0, 4.0]}, {"label": "cat", "bbox": [5.0] * 4}]
    places = [
        {"path": "objects[0].bbox", "value": 0.806, "calibrated": True},
        {"path": "objects[1].bbox", "value": 0.3, "calibrated": False},
    ]
    score = {"value": 0.42, "calibrated": True}
    answers(answer={"objects": objects}, score=score, scores=places)
    assert command.task(["detection", file]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "dog: bbox 1.00 2.00 3.00 4.00  81%",
        "cat: bbox 5.00 5.00 5.00 5.00  30% uncalibrated",
        "score: 42%",
    ]
    places = [{"path": "point", "value": 0.9, "calibrated": True}]
    answers(answer={"point": [7.0, 8.0]}, score=score, scores=places)
    assert command.task(["point", file, "--label", "bag"]) == 0
    assert capsys.readouterr().out.splitlines() == ["point: 7.00 8.00  90%", "score: 42%"]


def test_a_cloud_s_form_says_how_to_read_it(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "c.ply").write_bytes(b"ply")
    bodies = answers(answer={"choice": 0}, options=[{"option": "a, b", "probability": 0.75}])
    argv = ["vqa_choice_3d", str(tmp_path / "c.ply"), "--question", "Which?", "--choices"]
    argv += ['["a, b", "c"]', "--mode", "likelihood", "--units", "cm", "--up-axis", "y"]
    assert command.task(argv) == 0
    assert sent(bodies[0], "choices") == ["a, b", "c"]
    assert (sent(bodies[0], "units"), sent(bodies[0], "up_axis")) == (["cm"], ["y"])
    assert sent(bodies[0], "mode") == ["likelihood"]


def test_fields_for_other_formats_are_not_sent(answers: Answers, tmp_path: Path) -> None:
    flags = ["--sample", "surface", "--columns", "4", "--camera", str(tmp_path / "camera.json")]
    camera = {"fx": 5, "fy": 5, "cx": 1, "cy": 1}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    found: dict[str, list[list[str]]] = {}
    for name in ("a.ply", "b.bin", "c.png", "d.xyz"):
        (tmp_path / name).write_bytes(b"x")
        bodies = answers(answer={"label": "chair"})
        assert command.task(["classification_3d", str(tmp_path / name), *flags]) == 0
        fields = ("format", "sample", "columns", "camera")
        found[name] = [sent(bodies[0], field) for field in fields]
    assert found == {
        "a.ply": [[], ["surface"], [], []],
        "b.bin": [[], [], ["4"], []],
        "c.png": [["depth"], [], [], [json.dumps(camera)]],
        "d.xyz": [[], [], [], []],
    }


def test_a_chat_s_cloud_has_the_fields_of_its_format(tmp_path: Path) -> None:
    (tmp_path / "frame.png").write_bytes(b"x")
    camera = {"fx": 5}
    options = CloudOptions(columns=4, camera=camera)
    value = cloud_part(tmp_path / "frame.png", options)["point_cloud_url"]
    assert {name: value[name] for name in value if name != "url"} == {
        "format": "depth", "units": "m", "camera": camera
    }  # fmt: skip
    with pytest.raises(ChatError, match=r"'png' is not a point-cloud format; .* png with --camera"):
        cloud_part(tmp_path / "frame.png", CloudOptions())
    with pytest.raises(ChatError, match="expected a JSON object with fx, fy, cx and cy"):
        read_camera(tmp_path / "frame.png")


def test_json_and_the_overlay_are_kept(
    answers: Answers, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = f"data:image/png;base64,{base64.b64encode(b'drawn').decode()}"
    bodies = answers(answer={"count": 3}, overlay=drawn)
    assert command.task(["counting", file, "--json", "--overlay", str(tmp_path / "o.png")]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == {"count": 3}
    assert (tmp_path / "o.png").read_bytes() == b"drawn"
    assert sent(bodies[0], "overlay") == ["png"]
    answers()
    assert command.task(["counting", file, "--overlay", str(tmp_path / "p.png")]) == 1
    assert "no answer could be read" in capsys.readouterr().err
    answers(answer={"count": 3}, overlay=drawn)
    assert command.task(["counting", file, "--overlay", str(tmp_path)]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_an_answer_that_cannot_be_read_is_an_answer(
    answers: Answers, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers()
    assert command.task(["counting", file]) == 0
    assert capsys.readouterr().out == "No answer could be read. The model wrote: Hm.\n"
    answers(answer={"smiling": False}, options=[{"option": "no", "probability": 0.9}])
    assert command.task(["facial_smile", file]) == 0
    assert capsys.readouterr().out == "smiling: no\n   90.0%  no\n"


def test_refusals_and_missing_files_are_said(
    answers: Answers, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(400, error={"message": "the picture is too large"})
    assert command.task(["ocr", file]) == 1
    assert "lamm task: the picture is too large" in capsys.readouterr().err
    assert command.task(["ocr", "nowhere.png"]) == 1
    assert "nowhere.png: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_inputs_as_options(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        command.task([name, "--help"])
    text = capsys.readouterr().out
    fields = set(TASKS[name].inputs_model.model_fields) - {"size"}
    assert all(f"--{field}" in text for field in fields)
    assert ("--mode {" in text, "--constrain" in text) == (
        TASKS[name].has_options, TASKS[name].has_form,
    )  # fmt: skip
    assert "--size" not in text


def test_against_a_running_service(
    checkpoint: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(checkpoint) as (_, url):
        assert command.task(["--url", url]) == 0
        listed = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in listed] == list(TASKS)
        # The service's address before the task's name and after it.
        assert command.task(["--url", url, "vqa", file, "--question", "What is it?"]) == 0
        assert command.task(["caption", file, "--url", url, "--model", "gpt-7"]) == 1
    captured = capsys.readouterr()
    assert DEFAULT_REPLY.rstrip(".") in captured.out
    assert "gpt-7" in captured.err


def test_it_loads_no_torch() -> None:
    code = "import sys, service.terminal.task; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
