"""Servers of another make, and closed questions answered by likelihood."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmark.answers import KeptAnswers
from benchmark.cli import bench
from benchmark.content import MediaCache, encode_chat, media_part, user_message
from benchmark.errors import BenchmarkError, RequestFailedError
from benchmark.http.client import Backend, ChatClient, RetryPolicy
from benchmark.quality import report
from benchmark.quality.controls import Control, Question
from benchmark.quality.identity import Mode
from benchmark.quality.likelihood_target import can_be_ranked
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.targets import conditions
from benchmark.quality.tree import open_suite
from benchmark.suite_reader import load_suite
from tests.benchmark.conftest import FakeServer
from tests.training.datasets.published_tree import Tree

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)
STANDARD = {"model", "messages", "temperature", "max_tokens", "stream"}


async def ask(server: Any, directory: Path, out: Path, **how: Any) -> QualityRun:
    async with server.client() as http:
        suite, client = load_suite(directory), ChatClient(http, 4, QUICK)
        return await run_quality(suite, client, server.url, out, 4, **how)


# ------------------------------------------------------------------------------------ openai-chat


async def test_another_server_is_asked_in_standard_words_alone(
    server: Any, suite_files: Any, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    run = await ask(server, suite_files.directory, tmp_path, backend=Backend.OPENAI_CHAT)
    classify, count, clouds = run.rows
    assert classify.estimate is not None
    assert count.estimate is not None
    assert (classify.estimate.value, count.estimate.value) == (1.0, 1.0)
    # Nothing but questions: no probe.
    assert len(server.bodies) == run.asked == 16
    for body in server.bodies:
        assert set(body) == STANDARD
        part, text = body["messages"][0]["content"]
        assert (set(part), set(part["image_url"])) == ({"type", "image_url"}, {"url"})
        assert part["image_url"]["url"].startswith("data:image/png;base64,")
        assert text["type"] == "text"
    # Clouds are not asked: neither zero nor missing.
    assert clouds.estimate is None
    assert set(clouds.unanswered.values()) == {
        "not asked: --backend openai-chat cannot send point clouds"
    }
    assert clouds.complete
    assert run.complete
    entry = report.as_json(run)["rows"][2]
    assert (entry["n"], entry["score"]) == (0, None)
    assert any("clouds" in note and "point cloud" in note for note in report.notes(run))


@pytest.mark.parametrize("fingerprints", [[None], ["a", "b", None, "c"]])
async def test_fingerprints_of_another_server_do_not_matter(
    server: Any, suite_files: Any, tmp_path: Path, fingerprints: list[str | None]
) -> None:
    def change(_: Any) -> None:
        server.fingerprint = fingerprints[len(server.asked) % len(fingerprints)]

    server.answers = suite_files.right_answers
    how: dict[str, Any] = {"backend": Backend.OPENAI_CHAT, "on_answer": change}
    run = await ask(server, suite_files.directory, tmp_path, **how)
    assert run.identity.fingerprint == f"fake-lamm at {server.url}"
    assert run.complete
    again = await ask(server, suite_files.directory, tmp_path, **how)
    assert (again.asked, again.reused) == (0, 16)
    # Who answered is part of what is kept.
    assert rescore(load_suite(suite_files.directory), tmp_path).rows[2].complete
    other = await ask(server, suite_files.directory, tmp_path, model="other", **how)
    assert other.asked == 16


def test_the_command_asks_another_server(
    server: Any, suite_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = suite_files.right_answers
    argv = ["quality", "--url", server.url, "--data", str(suite_files.directory), "--out"]
    assert bench([*argv, str(tmp_path), "--backend", "openai-chat"]) == 0
    shown = capsys.readouterr().out
    assert "16 asked, 0 kept" in shown
    assert "cannot send point clouds: 4" in shown
    assert json.loads((tmp_path / "run.json").read_text())["backend"] == "openai-chat"
    argv += [str(tmp_path), "--backend", "openai-chat", "--mode", "likelihood"]
    assert bench(argv) == 1
    assert "--mode likelihood needs /v1/tasks" in capsys.readouterr().err


def test_bodies_put_together_are_what_json_would_write(suite_files: Any) -> None:
    path = suite_files.directory / "images/3.png"
    part, cache = media_part(path, path.read_bytes()), MediaCache()
    fields = {"model": 'a "quoted" name', "temperature": 0, "max_tokens": 8}
    text = "What is\n“this”, then?"
    body = encode_chat(text, cache.part(path), fields)
    assert json.loads(body) == {**fields, "messages": [user_message(text, part)]}
    body = encode_chat(text, None, fields)
    assert json.loads(body) == {**fields, "messages": [user_message(text, None)]}


def test_a_picture_is_encoded_once_and_room_is_bounded(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode() * 100)
    made: list[str] = []

    def make(path: Path, content: bytes) -> dict[str, Any]:
        made.append(path.name)
        return media_part(path, content)

    cache = MediaCache(max_bytes=1500)
    for path in [paths[0]] * 14 + [paths[1], paths[0]]:
        cache.part(path, make=make)
    assert made == ["0.png", "1.png"]
    for path in [*paths[2:], paths[3], paths[0]]:
        cache.part(path, make=make)
    assert made == ["0.png", "1.png", "2.png", "3.png", "0.png"]
    # Larger than all the room: sent all the same.
    assert b"base64" in MediaCache(max_bytes=1).part(paths[0])


# ------------------------------------------------------------------------------------- likelihood


@dataclass
class RankingServer(FakeServer):
    """Also ranks options at `/v1/tasks/{task}`: the one of `best` (by question), else the first."""

    best: dict[str, int] = field(default_factory=dict)
    ranked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    broken: bool = False

    def app(self) -> Starlette:
        app = super().app()
        app.routes.append(Route("/v1/tasks/{task}", self._task, methods=["POST"]))
        return app

    async def _task(self, request: Request) -> Response:
        body = await request.json()
        task = request.path_params["task"]
        self.ranked.append((task, body))
        if self.broken:
            return JSONResponse({"answer": None, "text": "", "options": []})
        names = body["inputs"].get("choices") or body["inputs"].get("labels")
        index = self.best.get(body["inputs"].get("question", ""), 0)
        logprobs = [-0.5 if i == index else -2.0 - i for i in range(len(names))]
        total = sum(math.exp(value) for value in logprobs)
        options = [
            {"option": name, "logprob": value, "mean_logprob": value / 2, "num_tokens": 2,
             "probability": math.exp(value) / total}
            for name, value in zip(names, logprobs, strict=True)
        ]  # fmt: skip
        answer = {"choice": index} if "choices" in body["inputs"] else {"label": names[index]}
        return JSONResponse(
            {"object": "task.answer", "task": task, "mode": "likelihood", "answer": answer,
             "parse_status": "ok", "text": names[index], "options": options,
             "system_fingerprint": self.fingerprint, "finish_reason": None,
             "usage": {"prompt_tokens": 9, "completion_tokens": 0}}
        )  # fmt: skip


@pytest.fixture
def ranking() -> Any:
    """A running server that ranks."""
    fake = RankingServer()
    fake.start()
    yield fake
    fake.stop()


async def test_closed_questions_are_ranked_and_open_ones_asked_in_words(
    ranking: RankingServer, suite_files: Any, tmp_path: Path
) -> None:
    ranking.answers = suite_files.right_answers
    ranking.best = {f"Which furniture, try {i}?": 1 for i in range(3)}
    run = await ask(ranking, suite_files.directory, tmp_path, mode=Mode.LIKELIHOOD)
    classify, count, clouds = run.rows
    assert classify.estimate is not None
    assert clouds.estimate is not None
    # The first label is right half of the time, the second option three times of four.
    assert (classify.estimate.value, clouds.estimate.value) == (0.5, 0.75)
    assert [one.text for one in clouds.scored] == ["The answer is (B)."] * 3 + [
        "The answer is (A)."
    ]
    assert count.metrics["mae"].value == 0.0
    assert len(ranking.asked) == 6
    assert (
        sorted(task for task, _ in ranking.ranked)
        == ["classification"] * 10 + ["vqa_choice_3d"] * 4
    )
    bodies = dict(ranking.ranked)
    assert set(bodies["classification"]) == {"model", "mode", "inputs", "image_url"}
    assert bodies["classification"]["inputs"] == {"labels": ["coat", "bag"]}
    assert bodies["vqa_choice_3d"]["point_cloud_url"]["format"] == "npy"
    assert bodies["vqa_choice_3d"]["mode"] == "likelihood"
    item = clouds.row.items[0]
    key = item.key("weights-1", conditions(Question(item), run.identity))
    stored = KeptAnswers(tmp_path / "answers.jsonl").get(key)
    assert stored is not None
    assert stored.options is not None
    assert [option["option"] for option in stored.options] == ["chair", "table"]
    assert (stored.prompt_tokens, stored.options[1]["num_tokens"]) == (9, 2)


async def test_answers_in_words_and_by_likelihood_are_kept_apart(
    ranking: RankingServer, suite_files: Any, tmp_path: Path
) -> None:
    ranking.answers = suite_files.right_answers
    words = await ask(ranking, suite_files.directory, tmp_path)
    # Counting has no options: its answers serve both.
    likely = await ask(ranking, suite_files.directory, tmp_path, mode=Mode.LIKELIHOOD)
    assert (likely.asked, likely.reused) == (14, 6)
    kept = rescore(load_suite(suite_files.directory), tmp_path)
    assert report.as_json(kept)["rows"] == report.as_json(likely)["rows"]
    again = await ask(ranking, suite_files.directory, tmp_path)
    assert again.asked == 0
    assert report.as_json(again)["rows"] == report.as_json(words)["rows"]


async def test_a_task_is_not_asked_without_its_medium(
    ranking: RankingServer, suite_files: Any, tmp_path: Path
) -> None:
    ranking.answers = suite_files.right_answers
    how: dict[str, Any] = {"mode": Mode.LIKELIHOOD, "controls": [Control.TEXT_ONLY]}
    run = await ask(ranking, suite_files.directory, tmp_path, **how)
    classify, count, _ = run.rows
    assert classify.controls == {}
    assert set(classify.under["text-only"].unanswered.values()) == {
        "not asked: --mode likelihood needs a medium"
    }
    assert count.controls["text-only"].n == 6
    assert run.complete


async def test_an_answer_without_options_is_a_failure(
    ranking: RankingServer, suite_files: Any, tmp_path: Path
) -> None:
    ranking.broken = True
    run = await ask(ranking, suite_files.directory, tmp_path, mode=Mode.LIKELIHOOD)
    reasons = set(run.rows[0].unanswered.values())
    assert len(reasons) == 1
    assert "not a task response with options" in reasons.pop()
    assert not run.complete


async def test_other_weights_stop_a_ranking_too(
    ranking: RankingServer, suite_files: Any, tmp_path: Path
) -> None:
    def change(_: Any) -> None:
        ranking.fingerprint = "weights-2"

    how: dict[str, Any] = {"mode": Mode.LIKELIHOOD, "on_answer": change}
    with pytest.raises(BenchmarkError, match="from 'weights-1' to 'weights-2'"):
        await ask(ranking, suite_files.directory, tmp_path, **how)


def test_tasks_that_are_ranked_are_those_of_closed_answers(tmp_path: Path) -> None:
    rows = open_suite("all", Tree(tmp_path / "LAMM").root, None, tmp_path / "out").rows
    ranked = {row.task.name for row in rows if all(map(can_be_ranked, row.items))}
    assert ranked == {
        "classification", "fine_grained_classification", "facial_hair", "facial_smile",
        "vqa_choice", "vqa_choice_3d",
    }  # fmt: skip
    assert not any(can_be_ranked(i) for r in rows if r.task.name not in ranked for i in r.items)


async def test_a_wrong_key_ends_the_run(suite_files: Any, tmp_path: Path) -> None:
    asked: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(401, json={"error": {"message": "Incorrect API key provided"}})

    suite, transport = load_suite(suite_files.directory), httpx.MockTransport(refuse)
    async with httpx.AsyncClient(base_url="http://m", transport=transport) as http:
        client, other = ChatClient(http, 1), Backend.OPENAI_CHAT
        with pytest.raises(RequestFailedError, match="HTTP 401: Incorrect API key provided"):
            await run_quality(suite, client, "http://m", tmp_path, 1, "m", backend=other)
    assert len(asked) == 1
