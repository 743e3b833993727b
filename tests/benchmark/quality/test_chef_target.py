"""`--mode chef`: closed questions in ChEF's words, ranked by the mean over an option's tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmark.cli import bench
from benchmark.errors import RequestFailedError
from benchmark.http.client import ChatClient, RetryPolicy
from benchmark.quality import chef_prompts
from benchmark.quality.chef_target import read_likelihoods, whole_prompt
from benchmark.quality.controls import Control
from benchmark.quality.examples import ExamplePlan
from benchmark.quality.identity import Mode
from benchmark.quality.run import QualityRun, run_quality
from benchmark.suite import Item
from benchmark.suite_reader import load_suite
from lamm_model.tasks import TASKS, Sample
from tests.benchmark.conftest import FakeServer

QUICK = RetryPolicy(attempts=2, base_delay=0.01, max_delay=0.02)


@dataclass
class LikelihoodServer(FakeServer):
    """Also scores: the option at place `best` has the highest mean, and the lowest sum."""

    best: int = 1
    scored: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        app = super().app()
        app.routes.append(Route("/v1/likelihoods", self._likelihoods, methods=["POST"]))
        return app

    async def _likelihoods(self, request: Request) -> Response:
        body = await request.json()
        self.scored.append(body)
        data = []
        for index, text in enumerate(body["continuations"]):
            mean, count = (-0.5, 9) if index == self.best else (-1.0, 1)
            data.append(
                {"index": index, "continuation": text, "logprob": mean * count,
                 "mean_logprob": mean, "num_tokens": count}
            )  # fmt: skip
        usage = {"prompt_tokens": 9, "completion_tokens": 0}
        return JSONResponse({"system_fingerprint": self.fingerprint, "data": data, "usage": usage})


@pytest.fixture
def scoring() -> Iterator[LikelihoodServer]:
    fake = LikelihoodServer()
    fake.start()
    yield fake
    fake.stop()


async def ask(server: FakeServer, directory: Path, out: Path, **how: Any) -> QualityRun:
    async with server.client() as http:
        suite, client = load_suite(directory), ChatClient(http, 4, QUICK)
        return await run_quality(suite, client, server.url, out, 4, mode=Mode.CHEF, **how)


def item(task: str, question: str, target: Any, **more: Any) -> Item:
    record = {"id": "1", "task": task, "question": question, "target": target, **more}
    sample = Sample.model_validate(record)
    inputs, read = TASKS[task].read_sample(sample)
    return Item("row", sample, TASKS[task], inputs, read, None)


CHOICE = {"choice": 1, "choices": ["a dog", "a cat"]}


def test_choices_are_asked_in_the_words_of_chef() -> None:
    published = item("vqa_choice", "Which?\nContext: N/A\nOptions: (A) a dog (B) a cat", CHOICE)
    assert chef_prompts.prompt(published) == (
        "Question: Which?\nOptions: (A) a dog (B) a cat\nThe answer is"
    )
    own = item("vqa_choice", "Which? (A) a dog (B) a cat", CHOICE)
    assert chef_prompts.prompt(own) == chef_prompts.prompt(published)
    assert chef_prompts.option_texts(own) == ["(A", "(B"]
    assert chef_prompts.prefix(own) == "The answer is "
    assert chef_prompts.example(own) == (
        "Question: Which?\nOptions: (A) a dog (B) a cat\n\nThe answer is (B)"
    )


def test_classes_are_asked_in_the_words_of_chef() -> None:
    thing = item("classification", "What?", "cat", labels=["dog", "cat"])
    assert (chef_prompts.prompt(thing), chef_prompts.prefix(thing)) == ("The photo of the ", "")
    assert chef_prompts.option_texts(thing) == ["dog", "cat"]
    assert whole_prompt(thing, [thing, thing]) == (
        "The photo of the \ncat\nThe photo of the \ncatThe photo of the "
    )
    land = item("fine_grained_classification", "What?", "river")
    assert chef_prompts.is_ranked(land)
    assert chef_prompts.prefix(land).endswith("for this image is ")
    assert not chef_prompts.is_ranked(item("classification", "What?", "cat"))
    assert not chef_prompts.is_ranked(item("counting", "How many?", 3))


async def test_the_highest_mean_wins_and_is_kept_with_all_means(
    scoring: LikelihoodServer, suite_files: Any, tmp_path: Path
) -> None:
    scoring.answers = suite_files.right_answers
    run = await ask(scoring, suite_files.directory, tmp_path)
    classify, count, clouds = run.rows
    # The second label is right half of the time, the second option always.
    assert (classify.estimate.value, clouds.estimate.value) == (0.5, 1.0)
    assert count.metrics["mae"].value == 0.0
    assert (len(scoring.scored), len(scoring.asked)) == (14, 6)
    bodies = [body for body in scoring.scored if body["prefix"] == ""]
    assert bodies[0]["continuations"] == ["coat", "bag"]
    part, text = bodies[0]["messages"][0]["content"]
    assert (part["type"], text["text"]) == ("image_url", "The photo of the ")
    assert clouds.scored[0].options == [
        {"option": "(A", "logprob": -1.0, "mean_logprob": -1.0, "num_tokens": 1},
        {"option": "(B", "logprob": -4.5, "mean_logprob": -0.5, "num_tokens": 9},
    ]
    again = await ask(scoring, suite_files.directory, tmp_path)
    assert (again.asked, again.reused) == (0, 20)


async def test_examples_come_with_their_media_and_are_part_of_the_key(
    scoring: LikelihoodServer, suite_files: Any, tmp_path: Path
) -> None:
    scoring.answers = suite_files.right_answers
    await ask(scoring, suite_files.directory, tmp_path)
    scoring.scored.clear()
    run = await ask(scoring, suite_files.directory, tmp_path, examples=ExamplePlan(2, "random", 1))
    # Counting has no options, so that its answers serve both runs.
    assert (run.asked, run.reused) == (14, 6)
    for body in scoring.scored:
        *media, text = body["messages"][0]["content"]
        assert len(media) == 3
        if body["prefix"]:
            *examples, asked = text["text"].split("Question: ")[1:]
            assert [part.count("The answer is (B)") for part in examples] == [1, 1]
            assert not any(asked.split("\n")[0] in part for part in examples)
        else:
            assert re.fullmatch(
                "(The photo of the \n(coat|bag)\n?){2}The photo of the ", text["text"]
            )
    changed = await ask(
        scoring, suite_files.directory, tmp_path, examples=ExamplePlan(2, "random", 2)
    )
    assert 0 < changed.asked <= 14


async def test_another_picture_of_an_example_is_another_question(
    scoring: LikelihoodServer, suite_files: Any, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"examples": ExamplePlan(1, "fixed")}
    run = await ask(scoring, suite_files.directory, tmp_path, **how)
    shared = ExamplePlan(1, "fixed").examples_of(run.suite.rows[0])
    paths = [one.media for (one,) in shared.values() if one.media is not None]
    most = max(paths, key=paths.count)
    assert paths.count(most) == 9
    most.write_bytes(most.read_bytes() + b"changed")
    again = await ask(scoring, suite_files.directory, tmp_path, **how)
    # The questions with it as their example, and those about it.
    assert again.asked >= 10


async def test_a_question_without_its_medium_has_no_media_of_examples(
    scoring: LikelihoodServer, suite_files: Any, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"examples": ExamplePlan(1), "controls": (Control.TEXT_ONLY,)}
    await ask(scoring, suite_files.directory, tmp_path, **how)
    blind = [body for body in scoring.scored if len(body["messages"][0]["content"]) == 1]
    assert len(blind) == 14
    assert len(scoring.scored) == 28


def test_the_command_scores_as_chef_and_again_without_a_server(
    scoring: LikelihoodServer,
    suite_files: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scoring.answers = suite_files.right_answers
    data, out = str(suite_files.directory), str(tmp_path)
    argv = ["quality", "--url", scoring.url, "--data", data, "--out", out, "--mode", "chef"]
    assert bench([*argv, "--examples", "1", "--retriever", "fixed"]) == 0
    first = json.loads((tmp_path / "scores.json").read_text())
    lines = [line for line in first["protocols"] if line["protocol"] == "chef-ea57136"]
    names = {(line["task"], line["metric"]) for line in lines}
    assert {("classification", "ppl_accuracy"), ("vqa_choice_3d", "ece")} <= names
    ece = next(line for line in lines if line["metric"] == "ece")
    assert (ece["n"], ece["chance"]) == (10, None)
    assert "| ece |" in (tmp_path / "scores.md").read_text()
    scoring.stop()
    asked = len(scoring.scored)
    rescored = ["quality", "--data", data, "--out", out, "--rescore", "--protocol", "chef-ea57136"]
    assert bench(rescored) == 0
    again = json.loads((tmp_path / "scores.json").read_text())
    assert again["protocols"] == lines
    assert len(scoring.scored) == asked
    assert bench(["report", out, "--out", str(tmp_path / "report")]) == 0
    report = "".join(path.read_text() for path in (tmp_path / "report").glob("*.md"))
    assert "ece, chef-ea57136" in report
    assert "asked with 1 examples" in report
    scoring.start()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--examples", "1"], "--examples needs --mode chef"),
        (["--examples", "1", "--rescore"], "cannot be given with --rescore"),
        (["--mode", "chef", "--retriever", "fixed"], "--retriever has no effect"),
        (["--mode", "chef", "--through", "batch"], "cannot be combined with --through batch"),
        (["--mode", "chef", "--backend", "openai-chat"], "--mode chef needs /v1/likelihoods"),
        (["--mode", "chef", "--examples", "5"], "4 records; 5 examples need at least 6"),
        (["--mode", "chef", "--examples", "9"], "8"),
        (["--mode", "chef", "--retriever", "topk_img"], "needs the encoder google/vit-base"),
    ],
)
def test_what_does_not_go_together_is_refused(
    scoring: LikelihoodServer,
    suite_files: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    told: str,
) -> None:
    argv = ["quality", "--url", scoring.url, "--data", str(suite_files.directory)]
    try:
        status = bench([*argv, "--out", str(tmp_path), *flags])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status != 0
    assert told in capsys.readouterr().err
    assert scoring.scored == []


async def test_a_server_without_the_route_is_named(
    server: FakeServer, suite_files: Any, tmp_path: Path
) -> None:
    run = await ask(server, suite_files.directory, tmp_path)
    reasons = set(run.rows[0].unanswered.values())
    assert not run.complete
    assert len(reasons) == 1
    assert "/v1/likelihoods" in reasons.pop()


def test_the_likelihoods_of_other_options_are_no_answer() -> None:
    thing = item("classification", "What?", "cat", labels=["dog", "cat"])
    one = {"continuation": "dog", "logprob": -1, "mean_logprob": -1, "num_tokens": 1}
    bodies: list[Any] = [{"data": [one]}, {"data": [one, one]}, {"data": None}, []]
    for body in bodies:
        with pytest.raises(RequestFailedError, match="not the likelihoods of the options"):
            read_likelihoods(thing, json.dumps(body).encode())
