"""Upstream's exam over HTTP: prompts of its 12 tasks have as many tokens as in upstream's code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmark.http.client import ChatClient
from benchmark.quality.recipe import RECIPES, RecipeRun
from benchmark.quality.run import QualityRun, rescore, run_quality
from benchmark.quality.tree import open_suite
from lamm_model.prompt_pack import FORMAT, PromptPack, import_prompts
from lamm_model.tasks.label_sets import JOINTS
from lamm_model.tokenizer import LammTokenizer
from service.app import create_app
from service.config.settings import Settings
from service.engine.base import GenerationRequest
from tests.lamm_model.golden_prompts import build_tokenizer, fetch_vocabulary
from tests.lamm_model.upstream_exam import (
    CASES,
    GOLDEN,
    MEDIUM_TOKENS,
    Case,
    measure,
    stand_in,
    texts_of,
)
from tests.service.chat_requests import REPLY, cloud, image
from tests.service.startup.test_presets import RecordingEngine
from tests.training.datasets.published_tree import Tree

CHAT = "/v1/chat/completions"
# Of a checkout of OpenLAMM at d5ca246; the vocabulary comes from npm.
CHECKOUT = os.environ.get("LAMM_UPSTREAM_CHECKOUT")
TEXTS = ["stand-in", "upstream"]
RECIPE = RECIPES["upstream-2023-07"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf8"))
    return found


class Exam:
    """System texts and queries: upstream's own, or ours with as many tokens per line."""

    def __init__(self, pack: Path, queries: Mapping[str, str], tokenizer: LammTokenizer) -> None:
        self.pack, self.queries, self.tokenizer = pack, queries, tokenizer
        self.systems = PromptPack.read(pack).benchmark

    def ids(self, name: str) -> list[int]:
        """The prompt's text as upstream puts it together."""
        case = CASES[name]
        texts = texts_of(self.systems[case.system], self.queries[name], case.first)
        return [1, *(token for text in texts for token in self.tokenizer.encode(text))]


@pytest.fixture(scope="module", params=TEXTS)
def exam(
    request: pytest.FixtureRequest, golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Exam:
    folder = tmp_path_factory.mktemp("exam")
    own = {name: _worded(case, case.words) for name, case in CASES.items() if not case.parts}
    if request.param == "stand-in":
        benchmark = {name: stand_in(shape) for name, shape in golden["systems"].items()}
        pack = {"format": FORMAT, "source": {}, "train": {}, "cli": None, "constants": {},
                "benchmark": benchmark}  # fmt: skip
        (folder / "pack.json").write_text(json.dumps(pack))
        queries = {name: stand_in(shape) for name, shape in golden["queries"].items()}
        merges = [(first, second) for first, second in golden["merges"]]
        tokenizer = LammTokenizer(build_tokenizer(golden["vocabulary"], merges))
        return Exam(folder / "pack.json", {**queries, **own}, tokenizer)
    if CHECKOUT is None or os.environ.get("LAMM_TEST_DOWNLOADS") != "1":
        pytest.skip(
            "upstream's own texts are not part of the project: set LAMM_UPSTREAM_CHECKOUT to a "
            "checkout of OpenLAMM at d5ca246, and LAMM_TEST_DOWNLOADS=1 for LLaMA's vocabulary"
        )
    import_prompts(Path(CHECKOUT), folder / "pack.json")
    constants = PromptPack.read(folder / "pack.json").constants
    queries = {name: _worded(case, case.query(constants)) for name, case in CASES.items()}
    tokenizer = LammTokenizer(build_tokenizer(*fetch_vocabulary(folder)))
    return Exam(folder / "pack.json", queries, tokenizer)


def _worded(case: Case, query: str) -> str:
    return query.replace("{}", case.joint) if case.joint else query


@pytest.fixture(scope="module")
def checkpoint(exam: Exam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON files of a checkpoint of LAMM's sizes with LLaMA's vocabulary."""
    directory = tmp_path_factory.mktemp("checkpoint") / "llama"
    directory.mkdir()
    (directory / "tokenizer.json").write_text(exam.tokenizer.to_json())
    config = {
        "model_type": "lamm", "image_token_id": 32000, "point_token_id": 32001,
        "bos_token_id": 1, "eos_token_id": 2,
        "text_config": {"vocab_size": 32000, "max_position_embeddings": 2048},
    }  # fmt: skip
    shares = [0.5, 0.5, 0.5]
    processor = {
        "prompt_preset": "lamm-train",
        # Its own texts must not come before those of upstream's benchmark.
        "system_prompts": {"normal": "Wrong.", "detection": "Wrong.", "VQA": "Wrong."},
        "image": {"size": 28, "num_tokens": MEDIUM_TOKENS, "preset": "lamm-squash",
                  "mean": shares, "std": shares},
        "points": {"num_points": 64, "num_tokens": MEDIUM_TOKENS, "use_color": False, "seed": 0},
    }  # fmt: skip
    for name, value in (("config.json", config), ("processor_config.json", processor)):
        (directory / name).write_text(json.dumps(value))
    (directory / "provenance.json").write_text(json.dumps({"digest": "0123456789abcdef"}))
    return directory


@pytest.fixture(scope="module")
def engine_and_settings(exam: Exam, checkpoint: Path) -> tuple[RecordingEngine, Settings]:
    settings = Settings(
        checkpoint=checkpoint,
        engine="echo",
        media_workers=1,
        prompt_preset=RECIPE.prompt_preset,
        image_preset=RECIPE.image_preset,
        prompt_pack=exam.pack,
    )
    return RecordingEngine(settings), settings


@pytest.fixture
async def client(
    engine_and_settings: tuple[RecordingEngine, Settings],
) -> AsyncIterator[httpx.AsyncClient]:
    engine, settings = engine_and_settings
    app = create_app(settings, engine)
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def _body(case: Case, query: str) -> dict[str, Any]:
    content = [cloud() if case.is_cloud else image(), {"type": "text", "text": query}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if case.first is not None:
        messages += [
            {"role": "assistant", "content": case.first}, {"role": "user", "content": "ANSWER:"},
        ]  # fmt: skip
    return {"model": "llama", "messages": messages, "task": case.task}


async def test_prompts_have_upstreams_tokens(
    client: httpx.AsyncClient,
    engine_and_settings: tuple[RecordingEngine, Settings],
    exam: Exam,
    golden: dict[str, Any],
) -> None:
    assert list(golden["counts"]) == list(CASES)
    assert len(CASES) == 24
    engine, _ = engine_and_settings
    for name, case in CASES.items():
        body = _body(case, exam.queries[name])
        wanted = golden["counts"][name] + MEDIUM_TOKENS
        response = await client.post(CHAT, json=body)
        assert response.status_code == 200, response.text
        assert response.json()["usage"]["prompt_tokens"] == wanted, name
        ids = engine.requests[-1].prompt_token_ids
        assert [token for token in ids if token < 32000] == exam.ids(name), name
        estimate = (await client.post(f"{CHAT}/estimate", json=body)).json()
        assert estimate["prompt_tokens"] == wanted, name


async def test_without_a_task_the_count_is_another(
    client: httpx.AsyncClient, exam: Exam, golden: dict[str, Any]
) -> None:
    body = _body(CASES["VOC2012"], exam.queries["VOC2012"])
    del body["task"]
    response = await client.post(CHAT, json=body)
    assert response.json()["usage"]["prompt_tokens"] < golden["counts"]["VOC2012"] + MEDIUM_TOKENS


async def test_the_recipe_knows_the_texts(
    client: httpx.AsyncClient, exam: Exam, request: pytest.FixtureRequest
) -> None:
    [card] = (await client.get("/v1/models")).json()["data"]
    texts = card["prompt_preset"]["system_texts"]
    digests = {
        name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in exam.systems.items()
    }
    for case in CASES.values():
        assert texts[case.task] == digests[case.system]
    if "upstream" in request.node.name:
        assert {task: texts[task] for task in RECIPE.system_texts} == RECIPE.system_texts
    assert {case.task for case in CASES.values()} == RECIPE.system_texts.keys()


@pytest.mark.skipif(
    CHECKOUT is None or os.environ.get("LAMM_TEST_DOWNLOADS") != "1",
    reason="runs upstream's own code: set LAMM_UPSTREAM_CHECKOUT to a checkout of OpenLAMM at "
    "d5ca246, and LAMM_TEST_DOWNLOADS=1 for LLaMA's vocabulary",
)
def test_upstreams_code_gives_the_golden_counts(golden: dict[str, Any], tmp_path: Path) -> None:
    assert measure(Path(str(CHECKOUT)), tmp_path) == golden


async def test_a_run_asks_what_upstream_asks(
    client: httpx.AsyncClient,
    engine_and_settings: tuple[RecordingEngine, Settings],
    exam: Exam,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, _ = engine_and_settings
    digests = {
        name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in exam.systems.items()
    }
    texts = {case.task: digests[case.system] for case in CASES.values()}
    recipe = replace(RECIPE, system_texts=texts)
    monkeypatch.setattr("benchmark.quality.recipe.RECIPES", {recipe.name: recipe})
    tree = Tree(tmp_path / "tree")
    # The query of the other record has no gap: upstream asks it for each joint.
    tree.set("Keypoints_Dectection_LSP.json", 0, query=" The {}? \n")
    out = tmp_path / "out"
    suite = open_suite(None, tree.root, None, out)
    followed = RecipeRun(recipe.name, repetitions=2)

    async def run() -> tuple[QualityRun, list[GenerationRequest]]:
        before = len(engine.requests)
        chat = ChatClient(client, 4)
        done = await run_quality(suite, chat, "http://lamm", out, 4, recipe=followed)
        asked = engine.requests[before:]
        # The first requests find out the model's fingerprint.
        return done, [one for one in asked if one.sampling_params.max_tokens > 1]

    done, asked = await run()
    assert done.complete
    wanted = sorted(_texts_of_tree(exam) * 2)
    # 3 multiple-choice files are asked twice, LSP 14 times; each of 17 files has 2 records.
    assert len(wanted) == 2 * 2 * (17 + 3 + 13)
    assert sorted([t for t in one.prompt_token_ids if t < 32000] for one in asked) == wanted
    params = [one.sampling_params for one in asked]
    assert {(p.temperature, p.top_p, p.top_k) for p in params} == {(1.0, 0.9, 50)}
    assert {p.max_tokens for p in params} == {400, 800}
    assert all(p.stop == ("###",) for p in params)
    assert len({p.seed for p in params}) == len(asked)
    scored = done.rows[2].scored[0].text
    assert scored == f"{REPLY}\n The answer is {REPLY}"
    # A run that was killed asks what is missing: here the second request of one question.
    answers = out / "answers.jsonl"
    lines = answers.read_text().splitlines()
    last = next(n for n, line in enumerate(lines) if "The answer is" in line)
    answers.write_text("\n".join(lines[:last] + lines[last + 1 :]) + "\n")
    again, asked = await run()
    assert len(asked) == again.asked == 1
    assert again.repetitions == done.repetitions
    assert rescore(suite, out).repetitions == done.repetitions


def _texts_of_tree(exam: Exam) -> list[list[int]]:
    """The prompts' texts for the small tree: two records per published file."""
    same = "What is there?"
    queries: list[tuple[str, str, str | None]] = []
    systems = {
        "Detection": 1, "Classification": 1, "OCR": 1, "Caption": 1, "Counting": 1,
        "Fine-grained_Classification": 1, "Facial_Classification": 2, "VOC2012": 1, "FSC147": 1,
        "LSP": 1, "Detection3D": 1, "VG3D": 1,
    }  # fmt: skip
    for system, files in systems.items():
        queries += [(system, same, None)] * 2 * files
    for system, files in (("VQA", 2), ("VQA3D", 1)):
        queries += [(system, same, None), (system, same, REPLY)] * 2 * files
    queries += [("Keypoints_Detection", f" The {joint}? \n", None) for joint in JOINTS]
    queries += [("Keypoints_Detection", same, None)] * len(JOINTS)
    return [
        [1, *(token for text in texts_of(exam.systems[system], query, first)
              for token in exam.tokenizer.encode(text))]
        for system, query, first in queries
    ]  # fmt: skip
