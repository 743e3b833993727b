"""Multiple-choice records as others write them, equal options among them: none is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.quality.protocol_scores import PROTOCOLS
from tests.benchmark.conftest import FakeServer, png

COUNT = 200
WORDS = ("a red chair", "2", "two", "yes", "left", "A", "none", "chairs and tables")


def record(rng: random.Random, number: int, task: str) -> dict[str, Any]:
    """A record with two to six options, drawn with replacement."""
    choices = rng.choices(WORDS, k=rng.randint(2, 6))
    written = [one + rng.choice(("", "", " ", ".")) for one in choices]
    listed = " ".join(f"({a}) {b}" for a, b in zip(ascii_uppercase, written, strict=False))
    question = rng.choice(("What is it, {}? {}", "Question {}: which?\nOptions: {}"))
    medium = ("pcl", "0.npy") if task.endswith("_3d") else ("image", "0.png")
    return {
        "id": f"{task}-{number}", "task": task, "question": question.format(number, listed),
        "target": {"choice": rng.randrange(len(written)), "choices": written},
        medium[0]: medium[1],
    }  # fmt: skip


@pytest.mark.parametrize("task", ["vqa_choice", "vqa_choice_3d"])
def test_no_record_with_equal_options_is_refused(
    task: str, server: FakeServer, tmp_path: Path
) -> None:
    rng, directory, out = random.Random(7), tmp_path / "suite", tmp_path / "out"
    records = [record(rng, number, task) for number in range(COUNT)]
    equal = [r for r in records if len(set(r["target"]["choices"])) < len(r["target"]["choices"])]
    assert len(equal) > COUNT // 4
    directory.mkdir()
    (directory / "0.png").write_bytes(png(1))
    (directory / "0.npy").write_bytes(b"not read by the client")
    (directory / "asked.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
    rows = [{"name": "asked", "task": task, "file": "asked.jsonl"}]
    suite = {"name": "strange", "rows": rows, "provenance": {}}
    (directory / "suite.json").write_text(json.dumps(suite))
    for one in records:
        letter = ascii_uppercase[one["target"]["choice"]]
        server.answers[one["question"]] = f"The answer is ({letter})."
    argv = ["quality", "--url", server.url, "--data", str(directory), "--out", str(out)]
    names = [flag for name in PROTOCOLS for flag in ("--protocol", name)]
    assert bench([*argv, *names]) == 0
    scores = json.loads((out / "scores.json").read_text())
    (row,) = scores["rows"]
    assert (row["problems"], row["unanswered"], row["n"], row["score"]) == ([], {}, COUNT, 1.0)
    read = {line["protocol"]: line for line in scores["protocols"]}
    assert set(read) == set(PROTOCOLS)
    assert {line["n"] for line in read.values()} == {COUNT}
    assert all(line["score"] is not None for line in read.values())
