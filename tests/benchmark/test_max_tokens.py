"""`lamm bench quality --max-tokens`: longer answers, and those that a limit cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import bench
from benchmark.content import media_part
from benchmark.quality.controls import Question
from benchmark.quality.identity import Mode, ModelIdentity
from benchmark.quality.recipe import RECIPES
from benchmark.quality.targets import conditions
from benchmark.quality.task_target import encode_task
from benchmark.suite_reader import load_suite
from tests.benchmark.conftest import FakeServer, SuiteFiles


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in scores(out)["rows"]}


def scores(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return found


def test_a_longer_limit_asks_again_and_cut_answers_are_counted(
    server: FakeServer, suite_files: SuiteFiles, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.answers = {q: f"<think>{'hm ' * 40}</think>{a}" for q, a in
                      suite_files.right_answers.items()}  # fmt: skip
    server.needed = 500
    out = tmp_path / "out"
    argv = ["quality", "--data", str(suite_files.directory), "--out", str(out)]
    asking = [*argv, "--url", server.url]
    assert bench(asking) == 0
    assert rows(out)["classify"]["score"] == 0.0
    assert {name: row["cut"] for name, row in rows(out).items()} == {
        "classify": 10, "count": 6, "clouds": 4,
    }  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "classify: answers cut by their limit of tokens: 10 (c0; c1; c2; c3; c4; and 5" in said
    assert scores(out)["model"]["max_tokens"] is None

    assert bench([*asking, "--max-tokens", "500"]) == 0
    assert len(server.asked) == 40
    assert {body["max_tokens"] for body in server.bodies[-20:]} == {500}
    assert {row["score"] for name, row in rows(out).items() if name != "count"} == {1.0}
    assert {row["cut"] for row in rows(out).values()} == {0}
    assert "answers cut" not in capsys.readouterr().out
    assert scores(out)["model"]["max_tokens"] == 500
    # The run's own limit finds its answers again, with and without a server.
    assert bench([*argv, "--rescore"]) == 0
    assert rows(out)["classify"]["score"] == 1.0
    assert bench([*asking, "--max-tokens", "500"]) == 0
    assert bench(asking) == 0
    assert len(server.asked) == 40
    assert rows(out)["classify"]["score"] == 0.0


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--rescore"], "--max-tokens 9 cannot be given with --rescore, which uses the run's own"),
        (["--answers-from", "."], "--max-tokens has no meaning with --answers-from"),
        (["--recipe", next(iter(RECIPES))], "cannot be asked with --max-tokens 9"),
    ],
)
def test_a_limit_without_meaning_is_refused(
    others: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["quality", "--out", str(tmp_path), "--max-tokens", "9", *others]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_limit_is_a_positive_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench(["quality", "--max-tokens", value])
    assert "--max-tokens" in capsys.readouterr().err


def test_a_task_of_its_own_route_has_the_limit_too(suite_files: SuiteFiles) -> None:
    item = load_suite(suite_files.directory).rows[0].items[0]
    assert item.media is not None
    part = json.dumps(media_part(item.media, item.media.read_bytes()), separators=(",", ":"))
    plain = json.loads(encode_task(item, part.encode(), "lamm"))
    longer = json.loads(encode_task(item, part.encode(), "lamm", max_tokens=99))
    assert longer == {**plain, "max_tokens": 99}
    keys = {
        item.key("weights", conditions(Question(item), identity))
        for mode in (Mode.TASK, Mode.LIKELIHOOD)
        for limit in (None, 99)
        for identity in [
            ModelIdentity("http://host", "lamm", "weights", "now", mode=mode, max_tokens=limit)
        ]
    }
    # A ranked option has no length.
    assert len(keys) == 3
