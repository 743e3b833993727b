"""Blind controls: what they do to an item, and what their scores say."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.cli import bench
from benchmark.content import media_part
from benchmark.errors import BenchmarkError
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.quality import controls_report, report
from benchmark.quality.controls import (
    Control,
    option_spans,
    questions_of,
    seed_of,
    under_control,
    without_options,
)
from benchmark.quality.controls_media import BLANK_SIZE, blank_cloud, blank_part, blank_picture
from benchmark.quality.identity import ModelIdentity
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.targets import conditions
from benchmark.suite import Item
from benchmark.suite_reader import load_suite

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)
ALL = tuple(Control)
COLOURS = ["red", "blue", "green"]


def lettered(question: str, choices: list[str]) -> str:
    letters = zip("ABCDEF", choices, strict=False)
    return f"{question} Options: " + " ".join(f"({a}) {choice}" for a, choice in letters)


@pytest.fixture
def choices(suite_files: Any) -> Any:
    """The suite with its cloud row replaced by twelve pictures' multiple-choice questions."""
    records = [
        {
            "id": f"v{i}", "task": "vqa_choice", "image": f"images/{i % 10}.png",
            "question": lettered(f"Which colour, try {i}?", COLOURS),
            "target": {"choice": i % 3, "choices": COLOURS},
        }
        for i in range(12)
    ]  # fmt: skip
    suite_files.write_rows("clouds.jsonl", [json.dumps(record) for record in records])
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    suite["rows"][2] |= {"name": "choices", "task": "vqa_choice"}
    path.write_text(json.dumps(suite))
    return suite_files


def items(directory: Path, row: str) -> list[Item]:
    return next(list(found.items) for found in load_suite(directory).rows if found.name == row)


@pytest.mark.parametrize(
    "question",
    [
        "Which? Options: (A) red (B) blue (C) green",
        "Which?\nA. red\nB. blue\nC. green",
        "Which? A: red, B: blue, C: green. Answer with a letter.",
    ],
)
def test_options_are_found_however_lettered(question: str) -> None:
    spans = option_spans(question, COLOURS)
    assert spans is not None
    assert [question[start:stop] for start, stop in spans] == COLOURS
    assert without_options(question, COLOURS).startswith("Which?")
    assert "blue" not in without_options(question, COLOURS)
    assert "Options" not in without_options(question, COLOURS)


def test_options_that_are_not_in_the_text_are_not_found() -> None:
    assert option_spans("Is it red, blue or green?", COLOURS) is None
    assert without_options("Is it red, blue or green?", COLOURS) == "Is it red, blue or green?"
    assert without_options("(A) red (B) blue", ["red", "blue"]) == "(A) red (B) blue"


def test_shuffled_options_move_the_target_with_them(choices: Any) -> None:
    orders: Counter[tuple[Any, ...]] = Counter()
    for item in items(choices.directory, "choices"):
        question = under_control(item, Control.SHUFFLED_OPTIONS)
        assert question is not None
        shuffled = question.item
        assert question == under_control(item, Control.SHUFFLED_OPTIONS)
        assert sorted(shuffled.inputs.choices) == sorted(COLOURS)
        assert list(shuffled.inputs.choices) != COLOURS
        right = COLOURS[item.target.choice]
        assert shuffled.inputs.choices[shuffled.target.choice] == right
        assert shuffled.sample.target["choices"][shuffled.sample.target["choice"]] == right
        # What is asked says the same as what is scored.
        assert option_spans(shuffled.sample.question, shuffled.inputs.choices) is not None
        assert shuffled.sample.question.startswith(item.sample.question.partition(" Options")[0])
        orders[tuple(shuffled.inputs.choices)] += 1
    assert len(orders) > 2


def test_controls_fit_only_where_they_make_sense(suite_files: Any) -> None:
    rows = {row.name: row for row in load_suite(suite_files.directory).rows}
    # Its options are not written in its questions.
    assert list(questions_of(rows["clouds"], ALL)) == [
        None, Control.BLANK_MEDIA, Control.TEXT_ONLY,
    ]  # fmt: skip
    assert Control.SHUFFLED_OPTIONS not in questions_of(rows["classify"], ALL)
    text = under_control(rows["classify"].items[0], Control.TEXT_ONLY)
    assert text is not None
    assert (text.item.media, text.item.sample.media) == (None, None)
    assert under_control(text.item, Control.TEXT_ONLY) is None
    assert under_control(text.item, Control.BLANK_MEDIA) is None


def test_a_blank_picture_is_grey_and_tells_nothing_by_its_size() -> None:
    found = set()
    for size in ((30, 20), (20, 30), (500, 400)):
        stream = io.BytesIO()
        Image.new("RGB", size, (255, 0, 0)).save(stream, "JPEG")
        found.add(blank_picture("a.jpg", stream.getvalue()))
    assert len(found) == 1
    with Image.open(io.BytesIO(found.pop())) as blank:
        assert blank.size == BLANK_SIZE
        assert blank.convert("RGB").getcolors() == [(blank.width * blank.height, (128, 128, 128))]


def test_a_blank_cloud_fills_one_box_whatever_the_cloud() -> None:
    rng = np.random.default_rng(3)
    stream = io.BytesIO()
    for scale, colours in ((0.2, 255), (40.0, 1)):
        cloud = np.concatenate(
            [scale * rng.normal(size=(500, 3)), rng.uniform(0, colours, (500, 3))], axis=1
        )
        stream = io.BytesIO()
        np.save(stream, cloud.astype(np.float32))
        blank = np.load(io.BytesIO(blank_cloud("a.npy", stream.getvalue(), 7)))
        assert (blank.shape, blank.dtype) == ((500, 6), np.float32)
        assert np.allclose(blank[:, :3].min(axis=0), (-3, -3, 0), atol=0.1)
        assert np.allclose(blank[:, :3].max(axis=0), (3, 3, 2.6), atol=0.1)
        assert np.allclose(blank[:, :3].mean(axis=0), (0, 0, 1.3), atol=0.3)
        assert (blank[:, 3:] == colours / 2).all()
    assert blank_cloud("a.npy", stream.getvalue(), 7) == blank_cloud("a.npy", stream.getvalue(), 7)
    assert blank_cloud("a.npy", stream.getvalue(), 8) != blank_cloud("a.npy", stream.getvalue(), 7)


def test_media_that_cannot_be_blanked_are_named() -> None:
    with pytest.raises(BenchmarkError, match=r"a\.png is not a readable picture"):
        blank_picture("a.png", b"not a picture")
    for content in (b"junk", _saved(np.zeros((4,))), _saved(np.full((4, 3), np.nan))):
        with pytest.raises(BenchmarkError, match=r"a\.npy is not an npy cloud"):
            blank_cloud("a.npy", content, 0)
    part = blank_part(Path("x.npy"), _saved(np.zeros((4, 3))), 0)
    assert part["point_cloud_url"]["format"] == "npy"


def test_answers_to_blanks_of_another_version_are_not_taken(suite_files: Any) -> None:
    item = items(suite_files.directory, "classify")[0]
    blank = under_control(item, Control.BLANK_MEDIA)
    text = under_control(item, Control.TEXT_ONLY)
    assert blank is not None
    assert text is not None
    identity = ModelIdentity("http://host", "lamm", "weights-1", "now")
    assert conditions(blank, identity)["control"] == "blank-media/2"
    assert conditions(text, identity)["control"] == "text-only"


def _saved(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


async def ask(server: Any, directory: Path, out: Path, controls: Any = ALL) -> QualityRun:
    async with server.client() as http:
        return await run_quality(
            load_suite(directory), ChatClient(http, 4, QUICK), server.url, out, 4, controls=controls
        )


def lines_by_file(out: Path) -> dict[str, int]:
    return {path.name: len(path.read_text().splitlines()) for path in out.glob("answers*")}


class Blindable(dict[str, str]):
    """Answers as a model that sees: right with the picture, (A) without."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, "The answer is (A).")


async def test_controls_are_asked_kept_apart_and_scored(
    server: Any, choices: Any, tmp_path: Path
) -> None:
    wanted = {}
    for item in items(choices.directory, "choices"):
        wanted[item.sample.question] = item.task.render(item.target, item.inputs)
        shuffled = under_control(item, Control.SHUFFLED_OPTIONS)
        assert shuffled is not None
        wanted[shuffled.item.sample.question] = item.task.render(
            shuffled.item.target, shuffled.item.inputs
        )
    server.answers = Blindable({**choices.right_answers, **wanted})
    run = await ask(server, choices.directory, tmp_path)
    row = run.rows[2]
    assert row.controls.keys() == {control.value for control in ALL}
    assert row.controls["shuffled-options"].score == 1.0
    assert row.controls["shuffled-options"].n == 12
    low, high = row.controls["shuffled-options"].interval
    assert 0.7 < low < high == 1.0
    assert row.order is not None
    assert row.order.consistency is not None
    assert (row.order.consistency.value, row.order.consistency.n) == (1.0, 12)
    assert row.order.position_bias == 0.0
    assert sum(row.order.positions) == 24
    # 28 as they are, 28 blank, 28 without, 12 in another order; nothing is asked twice.
    assert (run.asked, run.complete) == (28 * 3 + 12, True)
    again = await ask(server, choices.directory, tmp_path)
    assert (again.asked, again.reused) == (0, 96)
    assert lines_by_file(tmp_path) == {
        "answers.jsonl": 28, "answers.blank-media.jsonl": 28,
        "answers.shuffled-options.jsonl": 12, "answers.text-only.jsonl": 28,
    }  # fmt: skip
    kept = rescore(load_suite(choices.directory), tmp_path)
    assert report.as_json(kept)["rows"] == report.as_json(run)["rows"]


async def test_what_is_sent_under_a_control(server: Any, choices: Any, tmp_path: Path) -> None:
    await ask(server, choices.directory, tmp_path)
    asked = [body["messages"][0]["content"] for body in server.bodies if body["max_tokens"] > 1]
    item = items(choices.directory, "choices")[4]
    same = [content for content in asked if item.sample.question in str(content)]
    media = [None if isinstance(content, str) else content[0] for content in same]
    assert len(media) == 3
    assert None in media
    assert item.media is not None
    content = item.media.read_bytes()
    assert media_part(item.media, content) in media
    assert blank_part(item.media, content, seed_of(item)) in media


async def test_a_model_that_likes_a_position_is_found_out(
    server: Any, choices: Any, tmp_path: Path
) -> None:
    server.answers = Blindable()
    run = await ask(server, choices.directory, tmp_path, [Control.SHUFFLED_OPTIONS])
    order = run.rows[2].order
    assert order is not None
    assert order.positions == (24, 0, 0)
    assert order.consistency is not None
    # The first option is another one in the other order, but where only the last two changed.
    assert order.consistency.value < 0.6
    assert order.position_bias > 0.5
    notes = controls_report.notes(run.rows)
    assert any("position bias" in note and "A 24" in note for note in notes)


def test_the_command_shows_controls_beside_the_scores(
    server: Any, choices: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = Blindable(choices.right_answers)
    argv = ["quality", "--url", server.url, "--data", str(choices.directory), "--out"]
    argv += [str(tmp_path), "--control", "blank-media", "--control", "text-only"]
    assert bench(argv) == 0
    shown = capsys.readouterr().out
    assert "blind controls (a score" in shown
    assert "84 asked, 0 kept" in shown
    scores = json.loads((tmp_path / "scores.json").read_text())
    blank = scores["rows"][0]["controls"]["blank-media"]
    assert (blank["score"], blank["n"]) == (1.0, 10)
    assert blank["interval_95"] == scores["rows"][0]["interval_95"]
    assert scores["rows"][0]["order_check"] is None
    written = (tmp_path / "scores.md").read_text()
    assert "| classify | accuracy | 10 | 100.0 |" in written
    assert "| text-only | 10 | 100.0 |" in written
    server.stop()
    assert bench([*argv, "--rescore"]) == 0
    assert "0 asked, 84 kept" in capsys.readouterr().out


async def test_an_unanswered_control_is_missed_and_named(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    # The suite's clouds are no npy files that could be blanked.
    run = await ask(server, suite_files.directory, tmp_path, [Control.BLANK_MEDIA])
    clouds = run.rows[2]
    assert clouds.complete is False
    assert clouds.controls == {}
    assert clouds.estimate is not None
    assert run.rows[0].complete
    notes = "\n".join(controls_report.notes(run.rows))
    assert "clouds, blank-media: 1 without an answer, 0.npy is not an npy cloud" in notes


async def test_controls_of_another_model_s_run_are_not_missing(
    server: Any, choices: Any, tmp_path: Path
) -> None:
    suite = load_suite(choices.directory)
    async with server.client() as http:
        client = ChatClient(http, 2)
        await run_quality(suite, client, server.url, tmp_path, 2, controls=[Control.TEXT_ONLY])
        assert rescore(suite, tmp_path).rows[0].under
        # Other weights, which no control was asked of.
        server.fingerprint = "weights-2"
        assert (await run_quality(suite, client, server.url, tmp_path, 2)).complete
    again = rescore(suite, tmp_path)
    assert again.complete
    assert not again.rows[0].under
