"""Runs by a recipe: what a server must run, two requests per choice, repetitions, reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmark.answers import KeptAnswers
from benchmark.cli import bench
from benchmark.errors import ServerGoneError
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.quality.recipe import RECIPES, Decoding, RecipeRun
from benchmark.quality.repetitions import RepeatedScore
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.suite_reader import load_suite
from tests.benchmark.conftest import FakeServer, SuiteFiles

RECIPE = RECIPES["upstream-2023-07"]
QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)
CARD: dict[str, Any] = {
    "id": "fake-lamm",
    "prompt_preset": {"name": "upstream-bench", "system_texts": dict(RECIPE.system_texts)},
    "image_preset": "upstream-bench-centercrop",
}


class RecipeServer(FakeServer):
    """A server with a model card; `drawn` maps a seed to an answer."""

    card: dict[str, Any]
    context: int = 2048

    def app(self) -> Starlette:
        app = super().app()
        app.routes.append(Route("/v1/chat/completions/estimate", self._estimate, methods=["POST"]))
        return app

    async def _estimate(self, request: Request) -> Response:
        asked = (await request.json())["max_tokens"]
        told = {"prompt_tokens": 300, "max_tokens": asked, "max_model_len": self.context}
        return JSONResponse({**told, "fits": 300 + asked <= self.context})

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "other"}, self.card]})


class Drawn(dict[str, str]):
    """Answers that depend on the request's seed, as sampled ones do."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__()
        self._server = server

    def get(self, key: str, default: Any = None, /) -> Any:
        seed = self._server.bodies[-1].get("seed", 0)
        if key == "ANSWER:":
            return " (B)." if seed % 2 else " (A)."
        return "It may be a coat.\n" if seed % 2 else "It may be a bag.\n"


@pytest.fixture
def recipe_server() -> Any:
    server = RecipeServer()
    server.card = json.loads(json.dumps(CARD))
    server.answers = Drawn(server)
    server.start()
    yield server
    server.stop()


async def ask(server: Any, files: SuiteFiles, out: Path, **how: Any) -> QualityRun:
    followed = RecipeRun(RECIPE.name, **how)
    async with server.client() as http:
        client = ChatClient(http, 2, QUICK)
        return await run_quality(
            load_suite(files.directory), client, server.url, out, 2, "fake-lamm", recipe=followed
        )


def _argv(server: Any, files: SuiteFiles, out: Path, *more: str) -> list[str]:
    head = ["quality", "--url", server.url, "--model", "fake-lamm", "--out", str(out)]
    return [*head, "--data", str(files.directory), *more]


async def test_a_choice_is_asked_twice_and_scored_once(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path
) -> None:
    run = await ask(recipe_server, suite_files, tmp_path)
    # 10 to classify, 6 to count, and 4 choices twice.
    assert len(recipe_server.asked) == 24
    assert (run.asked, run.reused, run.complete) == (20, 0, True)
    clouds = [b for b in recipe_server.bodies if b.get("task") == "vqa_choice_3d"]
    assert len(clouds) == 8
    second = next(body for body in clouds if len(body["messages"]) == 3)
    question, first, asked = second["messages"]
    assert question["content"][0]["type"] == "point_cloud_url"
    assert first["role"] == "assistant"
    assert first["content"] in ("It may be a coat.\n", "It may be a bag.\n")
    assert asked == {"role": "user", "content": "ANSWER:"}
    fields = {"temperature": 1.0, "top_p": 0.9, "top_k": 50, "max_tokens": 800}
    assert {name: second[name] for name in fields} == fields
    classified = next(b for b in recipe_server.bodies if b.get("task") == "classification")
    assert classified["max_tokens"] == 400
    seeds = [body["seed"] for body in recipe_server.bodies if "seed" in body]
    assert len(set(seeds)) == len(seeds) == 24
    [scored, *_] = run.rows[2].scored
    assert scored.text.startswith("It may be a ")
    assert "\n\n The answer is  (" in scored.text


async def test_a_death_between_the_two_requests_loses_neither(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path
) -> None:
    recipe_server.die_after = 21
    with pytest.raises(ServerGoneError):
        await ask(recipe_server, suite_files, tmp_path)
    kept = len(KeptAnswers(tmp_path / "answers.jsonl"))
    assert 18 <= kept <= 22
    recipe_server.stop()
    recipe_server.die_after = None
    recipe_server.start()
    before = len(recipe_server.asked)
    run = await ask(recipe_server, suite_files, tmp_path)
    assert run.complete
    # Every stored answer, of a first request too, is one request less.
    assert len(recipe_server.asked) - before == 24 - kept
    whole = await ask(recipe_server, suite_files, tmp_path / "undisturbed")
    assert run.rows == whole.rows
    assert rescore(load_suite(suite_files.directory), tmp_path).rows == whole.rows


async def test_repetitions_are_drawn_anew_and_added_to(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path
) -> None:
    one = await ask(recipe_server, suite_files, tmp_path)
    three = await ask(recipe_server, suite_files, tmp_path, repetitions=3)
    assert (three.asked, three.reused) == (40, 20)
    assert three.rows == one.rows
    texts = [[item.text for item in rows[0].scored] for rows in three.repetitions]
    assert len({tuple(row) for row in texts}) == 3
    other = await ask(recipe_server, suite_files, tmp_path, seed=1)
    assert other.asked == 20
    greedy = await ask(recipe_server, suite_files, tmp_path, decoding=Decoding.GREEDY)
    assert greedy.asked == 20
    assert recipe_server.bodies[-1]["temperature"] == 0
    assert not {"seed", "top_p", "top_k"} & recipe_server.bodies[-1].keys()
    assert rescore(load_suite(suite_files.directory), tmp_path).rows == greedy.rows


def test_the_command_reports_recipe_seed_and_repetitions(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = _argv(recipe_server, suite_files, tmp_path, "--recipe", RECIPE.name)
    assert bench([*argv, "--repetitions", "4", "--seed", "7"]) == 0
    assert "over repetitions" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    told = scores["recipe"]
    assert (told["name"], told["decoding"], told["seed"]) == (RECIPE.name, "sampled", 7)
    assert told["sampling"] == {"temperature": 1.0, "top_p": 0.9, "top_k": 50}
    assert told["max_tokens"] == {"image": 400, "point_cloud": 800}
    own = next(
        one for one in scores["repetitions"] if (one["row"], one["protocol"]) == ("classify", None)
    )
    assert (own["k"], len(own["scores"])) == (4, 4)
    assert own["mean"] == pytest.approx(sum(own["scores"]) / 4)
    assert own["scores"][0] == scores["rows"][0]["score"]
    low, high = own["interval_95"]
    assert low < own["mean"] < high
    assert {one["protocol"] for one in scores["repetitions"]} == {
        None, "corrected-v1", "upstream-2023-07",
    }  # fmt: skip
    head = (tmp_path / "scores.md").read_text()
    assert (
        "Recipe `upstream-2023-07`: sampled (temperature 1, top_p 0.9, top_k 50), seed 7, k = 4; "
        "the scores below are those of repetition 1 of 4."
    ) in head
    assert "## Over repetitions" in head
    capsys.readouterr()
    again = ["quality", "--data", str(suite_files.directory), "--out", str(tmp_path), "--rescore"]
    assert bench(again) == 0
    rescored = json.loads((tmp_path / "scores.json").read_text())
    assert rescored["repetitions"] == scores["repetitions"]
    assert rescored["recipe"] == told


def test_without_a_recipe_scores_name_none(
    server: Any, suite_files: SuiteFiles, tmp_path: Path
) -> None:
    server.answers = suite_files.right_answers
    assert bench(_argv(server, suite_files, tmp_path)) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["recipe"], scores["repetitions"]) == (None, [])
    assert json.loads((tmp_path / "run.json").read_text())["recipe"] is None


def test_the_interval_is_students() -> None:
    score = RepeatedScore("row", None, "accuracy", (0.1, 0.2, 0.3))
    assert score.mean == pytest.approx(0.2)
    # 4.303 * 0.1 / sqrt(3)
    assert score.interval == pytest.approx((0.2 - 0.24844, 0.2 + 0.24844), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt_preset": None}, "does not tell the prompt preset and its system texts"),
        (
            {"prompt_preset": {**CARD["prompt_preset"], "name": "lamm-train"}},
            "its prompt preset is 'lamm-train'; the recipe needs 'upstream-bench'",
        ),
        (
            {"image_preset": "lamm-squash"},
            "its image preset is 'lamm-squash'; the recipe needs 'upstream-bench-centercrop'",
        ),
        (
            {"prompt_preset": {"name": "upstream-bench", "system_texts": {"normal": "0"}}},
            "no system text of classification, counting, vqa_choice_3d: serve with --prompt-pack",
        ),
        (
            {"prompt_preset": {"name": "upstream-bench",
                               "system_texts": {**RECIPE.system_texts, "counting": "0123"}}},
            "its system text of counting has the digest 0123; the recipe's is 71f84a2b628ac17e",
        ),
    ],
    ids=["old server", "prompt preset", "image preset", "no pack", "another pack"],
)  # fmt: skip
def test_a_server_that_runs_something_else_is_named_before_any_question(
    recipe_server: Any,
    suite_files: SuiteFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    said: str,
) -> None:
    recipe_server.card |= change
    assert bench(_argv(recipe_server, suite_files, tmp_path, "--recipe", RECIPE.name)) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert recipe_server.bodies == []


def test_a_context_that_is_too_short_is_named_before_any_question(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_server.context = 1024
    assert bench(_argv(recipe_server, suite_files, tmp_path, "--recipe", RECIPE.name)) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "row clouds: a prompt of 300 tokens and an answer of up to 800 do not fit its context of "
        "1024"
    ) in said
    # Pictures have shorter answers.
    assert "row count" not in said
    assert recipe_server.asked == []


def test_rows_that_upstream_does_not_have_are_named(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = suite_files.directory / "suite.json"
    suite = json.loads(path.read_text())
    suite["rows"][0]["task"] = "fine_grained_classification"
    suite["rows"][1]["task"] = "point"
    path.write_text(json.dumps(suite))
    assert bench(_argv(recipe_server, suite_files, tmp_path, "--recipe", RECIPE.name)) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "row count has task 'point', which is not part of the exam" in said
    assert recipe_server.bodies == []


def test_a_question_that_a_server_would_change_is_named(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = suite_files.rows("count.jsonl")
    lines[0] = lines[0].replace("How many", "### How many")
    suite_files.write_rows("count.jsonl", lines)
    bench(_argv(recipe_server, suite_files, tmp_path, "--recipe", RECIPE.name))
    assert "not asked: it spells a tag or marks" in " ".join(capsys.readouterr().out.split())
    assert not any("###" in question for question in recipe_server.asked)


async def test_a_first_answer_that_spells_a_tag_is_named(
    recipe_server: Any, suite_files: SuiteFiles, tmp_path: Path
) -> None:
    recipe_server.answers = {"Which furniture, try 0?": "See </Img> here."}
    run = await ask(recipe_server, suite_files, tmp_path)
    assert not run.complete
    assert run.rows[2].unanswered == {
        "p0": "its first answer spells a tag, which the server breaks up in the second request"
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--repetitions", "2"], "--repetitions need --recipe"),
        (["--decoding", "greedy", "--seed", "1"], "--decoding and --seed need --recipe"),
        (["--recipe", "mine"], "'mine' is not one of upstream-2023-07"),
        (["--recipe", RECIPE.name, "--repetitions", "31"], "30"),
        (
            ["--recipe", RECIPE.name, "--repetitions", "2", "--decoding", "greedy"],
            "--decoding greedy gives the same answers in all --repetitions",
        ),
        (
            ["--recipe", RECIPE.name, "--backend", "openai-chat", "--control", "text-only"],
            "cannot be asked with --backend openai-chat, --control text-only",
        ),
        (["--recipe", RECIPE.name, "--through", "batch"], "cannot be asked with --through batch"),
        (
            ["--recipe", RECIPE.name, "--mode", "likelihood"],
            "cannot be asked with --mode likelihood",
        ),
        (["--recipe", RECIPE.name, "--rescore"], "--recipe cannot be used with --rescore"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    suite_files: SuiteFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    said: str,
) -> None:
    argv = ["quality", "--data", str(suite_files.directory), "--out", str(tmp_path / "out"), *flags]
    try:
        status = bench(argv)
    except SystemExit as error:
        status = int(str(error.code))
    assert status in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())
