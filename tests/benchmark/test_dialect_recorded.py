"""Recorded answers of other models through the whole bench: asked, stored, read and scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from lamm_model.tasks.dialects.registry import DIALECTS
from lamm_model.tasks.label_sets import JOINTS
from tests.benchmark.conftest import FakeServer, png
from tests.lamm_model.dialect_answers import RECORDED, SIZE, Origin, Recorded

# A point is right within this distance of the one that the answer says.
REACH = 0.005


def task_and_target(one: Recorded) -> tuple[str, Any]:
    """The task that the answer fits, with the answer's own places as the truth."""
    places = [(label.removeprefix("a "), values) for label, values in one.places]
    if len(places[0][1]) > 4:
        return "detection_3d", [{"label": label, "bbox": box} for label, box in places]
    if not one.has_labels:
        # A place without a name is asked for by name.
        [(_, (left, upper, right, lower))] = places
        joints = [[20.0 + 40 * i, 30 + 20 * i] for i in range(len(JOINTS))]
        joints[0] = [(left + right) / 2 * SIZE[0], (upper + lower) / 2 * SIZE[1]]
        return "keypoints", {"joint": JOINTS[0], "joints": joints}
    if len(places[0][1]) == 4:
        return "detection", [{"label": label, "bbox": box} for label, box in places]
    regions = [
        {"label": label, "bbox": [x - REACH, y - REACH, x + REACH, y + REACH]}
        for label, (x, y) in places
    ]
    return "locating", {"objects": regions}


def write_suite(directory: Path, asked: Sequence[Recorded]) -> dict[str, str]:
    """A suite whose truth is what the recorded answers say; the answers by question."""
    (directory / "media").mkdir(parents=True)
    (directory / "media/0.png").write_bytes(png(1))
    (directory / "media/0.npy").write_bytes(b"not read by the client")
    lines: dict[str, list[str]] = {}
    answers: dict[str, str] = {}
    for index, one in enumerate(asked):
        task, target = task_and_target(one)
        record: dict[str, Any] = {
            "id": f"r{index}", "task": task, "question": f"Recorded {index}?", "target": target,
        }  # fmt: skip
        if task == "detection_3d":
            record |= {"pcl": "media/0.npy"}
        else:
            record |= {"image": "media/0.png", "size": SIZE}
        if one.has_labels:
            record |= {"labels": one.labels}
        lines.setdefault(task, []).append(json.dumps(record))
        answers[record["question"]] = one.text
    for task, records in lines.items():
        (directory / f"{task}.jsonl").write_text("\n".join(records) + "\n")
    rows = [{"name": task, "task": task, "file": f"{task}.jsonl"} for task in lines]
    (directory / "suite.json").write_text(json.dumps({"name": "recorded", "rows": rows}))
    return answers


def hits(
    dialect: str, asked: Sequence[Recorded], server: FakeServer, directory: Path
) -> dict[str, bool]:
    """Which recorded answers the bench finds right, by text."""
    server.answers = write_suite(directory / "suite", asked)
    out = directory / "out"
    argv = ["quality", "--data", str(directory / "suite"), "--out", str(out), "--url", server.url]
    assert bench([*argv, "--dialect", dialect]) == 0
    stored = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert sorted(one["text"] for one in stored) == sorted(one.text for one in asked)
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    # A box is a partial answer where a point is asked for.
    read = {"ok", "partial"} if dialect == "cogvlm" else {"ok"}
    assert {item["status"] for item in items} <= read, items
    return {item["text"]: item["hit"] for item in items}


def test_recorded_answers_are_right_in_every_dialect(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right: dict[Origin, list[bool]] = {origin: [] for origin in Origin}
    for dialect in DIALECTS:
        asked = [one for one in RECORDED if one.dialect == dialect]
        found = hits(dialect, asked, server, tmp_path / dialect)
        assert any(found.values()), dialect
        for one in asked:
            right[one.origin].append(found[one.text])
    capsys.readouterr()
    for origin, each in right.items():
        assert sum(each) >= 0.95 * len(each), origin
    assert len(right[Origin.OUTPUT]) >= 14
    assert sum(map(len, right.values())) == len(RECORDED)


def test_a_yaw_that_is_lost_makes_recorded_boxes_wrong(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [asked] = [one for one in RECORDED if "-2.9747025" in one.text]
    server.answers = write_suite(tmp_path / "suite", [asked])
    upright = asked.text.replace("-2.9747025", "0.0").replace("-0.7854000000000001", "0.0")
    server.answers = dict.fromkeys(server.answers, upright)
    out = tmp_path / "out"
    argv = ["quality", "--data", str(tmp_path / "suite"), "--out", str(out), "--url", server.url]
    assert bench([*argv, "--dialect", "spatiallm"]) == 0
    [item] = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert item["hit"] is False
    capsys.readouterr()
