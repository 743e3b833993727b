"""The system text of a task: by the field `task` of chat, and on the task's own route."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from lamm_model.conversation import Modality, TextChunk, Turn, render
from lamm_model.spec import CheckpointSpec
from lamm_model.tasks import TASKS
from lamm_model.tokenizer import LammTokenizer
from service.app import create_app
from service.config.settings import Settings
from tests.service.chat_requests import IMAGE_TOKENS, chat_body, cloud, image, png
from tests.service.startup.test_presets import RecordingEngine

URL = "/v1/chat/completions"
PRESETS = {"prompt_preset": "upstream-bench", "image_preset": "upstream-bench-centercrop"}
PACK = {
    "format": "lamm-prompt-pack/1", "source": {}, "cli": "Demo.", "constants": {},
    "train": {"normal": "Train.", "detection": "Train on boxes."},
    "benchmark": {
        "Detection": "\nFind  things. \n", "VQA": "\nChoose.\n", "VQA3D": "\nChoose there.\n",
        "LSP": "\nFind a person.\n",
    },
}  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "pack.json"
    path.write_text(json.dumps(PACK))
    return path


@pytest.fixture(scope="module")
def engine(settings: Settings) -> RecordingEngine:
    return RecordingEngine(settings)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(settings: Settings, engine: RecordingEngine, pack: Path) -> AsyncIterator[FastAPI]:
    """An app with the presets of upstream's benchmark."""
    app = create_app(settings.model_copy(update={**PRESETS, "prompt_pack": pack}), engine)
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


class Prompts:
    """The prompts that reached an engine, and those that a system text gives."""

    def __init__(self, engine: RecordingEngine, checkpoint: Path, pack: Path) -> None:
        self.spec = CheckpointSpec.from_pretrained(checkpoint, **PRESETS, prompt_pack=pack)
        self._tokenizer = LammTokenizer.from_pretrained(checkpoint)
        self._engine = engine

    def text(self) -> str:
        """The last prompt's text, without its medium."""
        return self._tokenizer.decode(self.ids())

    def ids(self) -> list[int]:
        return list(self._engine.requests[-1].prompt_token_ids)

    def of(self, question: str, system: str) -> list[int]:
        turn = Turn(question, media=(Modality.IMAGE,))
        chunks = render([turn], system, self.spec.prompt_preset)
        media = [[self.spec.image_token_id] * IMAGE_TOKENS]
        return self._tokenizer.encode_prompt(chunks, self.spec.bos_token_id, media)

    def texts(self, question: str, system: str) -> int:
        turn = Turn(question, media=(Modality.IMAGE,))
        chunks = render([turn], system, self.spec.prompt_preset)
        texts = [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)]
        return sum(len(self._tokenizer.encode(text)) for text in texts)


@pytest.fixture
def prompts(engine: RecordingEngine, checkpoint: Path, pack: Path) -> Prompts:
    return Prompts(engine, checkpoint, pack)


@pytest.mark.parametrize("task", ["Detection", "detection"])
async def test_a_task_chooses_its_system_text(
    client: httpx.AsyncClient, prompts: Prompts, task: str
) -> None:
    question = " Where is it?  \n"
    body = chat_body(image(), text=question, task=task)
    response = await client.post(URL, json=body)
    # The question keeps its blanks, and the text the blanks between its own line breaks.
    assert prompts.ids() == prompts.of(question, PACK["benchmark"]["Detection"])  # type: ignore[index]
    assert "Find  things. \n### Human:  Where is it?  \n\n\n### Assistant:" in prompts.text()
    usage = response.json()["usage"]
    assert usage["prompt_tokens"] == 1 + IMAGE_TOKENS + prompts.texts(
        question, PACK["benchmark"]["Detection"]  # type: ignore[index]
    )  # fmt: skip
    estimate = (await client.post(f"{URL}/estimate", json=body)).json()
    assert estimate["prompt_tokens"] == usage["prompt_tokens"]


async def test_the_route_of_a_task_has_its_system_text(
    client: httpx.AsyncClient, prompts: Prompts
) -> None:
    body = {"image_url": image(png())["image_url"], "inputs": {}}
    assert (await client.post("/v1/tasks/detection", json=body)).status_code == 200
    assert "Find  things." in prompts.text()
    body["inputs"] = {"joint": "neck"}
    assert (await client.post("/v1/tasks/keypoints", json=body)).status_code == 200
    # The pack has no text for key points; the checkpoint's own is that of all tasks.
    assert "Be brief." in prompts.text()
    body = {"point_cloud_url": cloud()["point_cloud_url"],
            "inputs": {"question": "Which?", "choices": ["a", "b"]}}  # fmt: skip
    assert (await client.post("/v1/tasks/vqa_choice_3d", json=body)).status_code == 200
    assert "Choose there." in prompts.text()


async def test_responses_take_a_task(client: httpx.AsyncClient, prompts: Prompts) -> None:
    content = [
        {"type": "input_image", "image_url": image()["image_url"]["url"]},
        {"type": "input_text", "text": "Who?"},
    ]
    body = {"model": "tiny-lamm", "input": [{"role": "user", "content": content}], "task": "LSP"}
    assert (await client.post("/v1/responses", json=body)).status_code == 200
    assert "Find a person." in prompts.text()


async def test_an_unknown_task_is_refused_with_the_known_ones(client: httpx.AsyncClient) -> None:
    for task in ("Counting", "", "detection "):
        response = await client.post(URL, json=chat_body(image(), task=task))
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "task")
        assert f"task {task!r} is unknown to model 'tiny-lamm'" in error["message"]
        assert all(name in error["message"] for name in (*TASKS, "normal", "Detection", "LSP"))
    wrong = await client.post(URL, json=chat_body(image(), task=["detection"]))
    assert wrong.status_code == 400


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_task_beside_a_system_message_is_refused(
    client: httpx.AsyncClient, role: str
) -> None:
    body = chat_body(image(), task="detection")
    body["messages"].insert(0, {"role": role, "content": "Be kind."})
    response = await client.post(URL, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "task"
    assert "'detection', which chooses the system text, but a message has" in error["message"]


async def test_null_and_normal_are_the_text_of_all_tasks(
    client: httpx.AsyncClient, prompts: Prompts
) -> None:
    for task in (None, "normal", "ocr"):
        await client.post(URL, json=chat_body(image(), task=task))
        assert prompts.ids() == prompts.of("What is this?", "Be brief.")


async def test_the_second_pass_is_a_conversation(
    client: httpx.AsyncClient, prompts: Prompts
) -> None:
    body = chat_body(image(), text="(A) cat (B) dog ", task="VQA")
    body["messages"] += [
        {"role": "assistant", "content": "It barks.\n"},
        {"role": "user", "content": "ANSWER:"},
    ]
    assert (await client.post(URL, json=body)).status_code == 200
    assert "### Human: (A) cat (B) dog It barks.\n ###\nANSWER:\n\n### Assistant:" in prompts.text()
    # A person's own text cannot spell the marks.
    await client.post(URL, json=chat_body(image(), text="It barks.\n ###\nANSWER:"))
    assert "It barks.\n # # #\nANSWER:" in prompts.text()
    body["messages"][-1]["content"] = "Answer:"
    refused = await client.post(URL, json=body)
    assert refused.status_code == 400
    assert "(a second one can only be 'ANSWER:')" in refused.json()["error"]["message"]


async def test_the_model_card_has_the_presets_and_digests_of_the_texts(
    client: httpx.AsyncClient,
) -> None:
    [card] = (await client.get("/v1/models")).json()["data"]
    assert card["image_preset"] == "upstream-bench-centercrop"
    texts: dict[str, Any] = card["prompt_preset"]["system_texts"]
    detection = hashlib.sha256(b"\nFind  things. \n").hexdigest()[:16]
    assert texts["Detection"] == texts["detection"] == detection
    assert texts["vqa_choice"] == texts["VQA"] != detection
    assert set(texts) == {
        "normal", "Detection", "VQA", "VQA3D", "LSP", "detection", "vqa", "vqa_choice",
        "vqa_choice_3d",
    }  # fmt: skip
