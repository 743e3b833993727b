"""Prompt and image presets that the operator chooses in place of the checkpoint's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from PIL import Image

from lamm_model.processing import LammProcessor
from service.app import create_app
from service.cli import serve
from service.config.settings import Settings
from service.engine.base import GenerationRequest
from service.engine.config import Dtype
from service.engine.echo_engine import DEFAULT_REPLY, EchoEngine
from service.startup.configs import engine_config
from tests.service.chat_requests import REPLY, chat_body, cloud, image, png
from tests.service.running_server import serving

URL = "/v1/chat/completions"
QUESTION = "What is this?"
PRESETS = {"prompt_preset": "upstream-bench", "image_preset": "upstream-bench-centercrop"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


class RecordingEngine(EchoEngine):
    """Keeps the requests that reach it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(engine_config(settings), REPLY)
        self.requests: list[GenerationRequest] = []

    def generate(self, request: GenerationRequest) -> Any:
        self.requests.append(request)
        return super().generate(request)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompt pack with one system text a program."""
    path = tmp_path_factory.mktemp("pack") / "pack.json"
    value = {
        "format": "lamm-prompt-pack/1", "source": {}, "train": {"normal": "Train."},
        "benchmark": {"normal": "Look well."}, "cli": "Demo.", "constants": {},
    }  # fmt: skip
    path.write_text(json.dumps(value))
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


async def test_the_prompt_is_the_presets(
    client: httpx.AsyncClient, engine: RecordingEngine, checkpoint: Path, pack: Path
) -> None:
    response = await client.post(URL, json=chat_body(image(), text=QUESTION, stop=["x", "###"]))
    assert response.json()["choices"][0]["message"]["content"] == REPLY
    request = engine.requests[-1]
    processor = LammProcessor.from_pretrained(checkpoint, **PRESETS, prompt_pack=pack)
    expected = processor(QUESTION, images=[Image.new("RGB", (8, 6), "red")])
    assert list(request.prompt_token_ids) == expected["input_ids"][0].tolist()
    assert response.json()["usage"]["prompt_tokens"] == len(request.prompt_token_ids)
    assert "Look well." in processor.decode(request.prompt_token_ids)
    # Upstream's benchmark cuts at the marks alone, and keeps the line break before them.
    assert request.sampling_params.stop == ("###", "x")
    [span] = request.media
    assert span.media.info["transform"]["kind"] == "centercrop"
    own = LammProcessor.from_pretrained(checkpoint)(QUESTION, images=[png()])
    assert list(request.prompt_token_ids) != own["input_ids"][0].tolist()


async def test_a_clients_system_text_takes_the_packs_place(
    client: httpx.AsyncClient, engine: RecordingEngine, checkpoint: Path
) -> None:
    body = chat_body(cloud(), text=QUESTION)
    body["messages"].insert(0, {"role": "system", "content": "Count ### chairs."})
    assert (await client.post(URL, json=body)).status_code == 200
    text = LammProcessor.from_pretrained(checkpoint).decode(engine.requests[-1].prompt_token_ids)
    assert "Count # # # chairs." in text
    assert "Look well." not in text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (chat_body()["messages"], "requires exactly 1 picture or cloud"),
        (chat_body(image(), image())["messages"], "requires exactly 1 picture or cloud"),
        (
            [
                *chat_body(image())["messages"],
                {"role": "assistant", "content": "A chair."},
                *chat_body()["messages"],
            ],
            "accepts 1 question; the conversation has 2",
        ),
    ],
    ids=["no medium", "two media", "two questions"],
)
async def test_what_the_preset_cannot_write_is_refused(
    client: httpx.AsyncClient, messages: list[Any], said: str
) -> None:
    for stream in (False, True):
        body = {"model": "tiny-lamm", "messages": messages, "stream": stream}
        response = await client.post(URL, json=body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["type"], error["code"], error["param"]) == (
            "invalid_request_error", "unsupported_conversation", "messages",
        )  # fmt: skip
        assert said in error["message"]
        assert "'upstream-bench'" in error["message"]


async def test_the_fingerprint_names_presets_and_precision(settings: Settings, pack: Path) -> None:
    choices: list[dict[str, Any]] = [
        {}, {"prompt_preset": "upstream-cli"}, {"prompt_pack": pack},
        {"image_preset": PRESETS["image_preset"]}, PRESETS, {"dtype": Dtype.BFLOAT16},
    ]  # fmt: skip
    fingerprints = set()
    for choice in choices:
        ours = settings.model_copy(update=choice)
        app = create_app(ours, EchoEngine(engine_config(ours), REPLY))
        fingerprints.add(app.state.services.models.get("tiny-lamm").fingerprint)
    assert len(fingerprints) == len(choices)


async def test_presets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMM_PROMPT_PRESET", "upstream-cli")
    monkeypatch.setenv("LAMM_IMAGE_PRESET", "lamm-squash")
    monkeypatch.setenv("LAMM_PROMPT_PACK", "packs/upstream.json")
    settings = Settings()
    assert (settings.prompt_preset, settings.image_preset) == ("upstream-cli", "lamm-squash")
    assert settings.prompt_pack == Path("packs/upstream.json")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        (
            "--prompt-preset", "v1",
            "unknown prompt preset 'v1'; expected one of lamm-train, llama2-chat, upstream-bench,",
        ),
        (
            "--image-preset", "crop",
            "unknown image preset 'crop'; expected one of lamm-squash, upstream-bench-centercrop",
        ),
        ("--prompt-pack", "/nowhere.json", "/nowhere.json: No such file"),
    ],
)  # fmt: skip
async def test_a_wrong_preset_stops_the_start(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    assert serve(["--checkpoint", str(checkpoint), "--engine", "echo", flag, value]) == 2
    assert said in capsys.readouterr().err


async def test_a_server_started_with_presets(checkpoint: Path) -> None:
    expected = LammProcessor.from_pretrained(checkpoint, prompt_preset="upstream-bench")
    tokens = expected(QUESTION, images=[png()])["input_ids"].shape[1]
    with serving(checkpoint, "--prompt-preset", "upstream-bench") as (_, url):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            answer = (await client.post(URL, json=chat_body(image(), text=QUESTION))).json()
    assert answer["choices"][0]["message"]["content"] == DEFAULT_REPLY
    assert answer["usage"]["prompt_tokens"] == tokens
