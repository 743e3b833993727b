"""A checkpoint directory without weights, an app on EchoEngine, and a client over ASGI.

App and client are made once a module, in the module's event loop: starting decoding processes for
each test would take most of its time. Tests that change an app undo it (monkeypatch) or make
their own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from service.app import create_app
from service.config.settings import Settings
from service.engine.echo_engine import EchoEngine
from service.media.process import MediaJob, MediaProcess
from service.startup.configs import engine_config
from tests.service.chat_requests import CONTEXT, IMAGE_TOKENS, POINT_TOKENS, REPLY
from tests.service.local import BASE_URL


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Undoes `configure_logging`: its handler writes to a stream that pytest closes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn.access", "httpx")}
    yield
    root.handlers[:], root.level = handlers, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON files and a small byte-level tokenizer: all that a service on EchoEngine reads."""
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny-lamm"
    directory.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is this? A red chair. ### Human: ### Assistant:"], trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab_size()
    config = {
        "model_type": "lamm",
        "image_token_id": vocabulary,
        "point_token_id": vocabulary + 1,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "text_config": {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT},
    }
    processor = {
        "prompt_preset": "lamm-train",
        "system_prompts": {"normal": "Be brief."},
        "image": {
            "size": 32,
            "num_tokens": IMAGE_TOKENS,
            "preset": "lamm-squash",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "points": {"num_points": 64, "num_tokens": POINT_TOKENS, "use_color": False, "seed": 0},
    }
    for name, value in (
        ("config.json", config),
        ("processor_config.json", processor),
        ("provenance.json", {"digest": "0123456789abcdef"}),
    ):
        (directory / name).write_text(json.dumps(value))
    return directory


@pytest.fixture(scope="module")
def settings(checkpoint: Path) -> Settings:
    """Small limits, one decoding process."""
    return Settings(
        checkpoint=checkpoint,
        engine="echo",
        media_workers=1,
        media_timeout_s=20.0,
        media_queue_timeout_s=60.0,
        max_body_bytes=8 << 20,
        max_media_bytes=4 << 20,
        keepalive_s=0.2,
    )


@pytest.fixture(scope="module")
def engine(settings: Settings) -> EchoEngine:
    """Answers `REPLY` a word at a time, at once."""
    return EchoEngine(engine_config(settings), REPLY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(settings: Settings, engine: EchoEngine) -> AsyncIterator[FastAPI]:
    """The app in its lifespan, loaded."""
    app = create_app(settings, engine)
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Straight into the app, without a socket."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[MediaJob]:
    """The jobs that decoding processes were given, in the order they began."""
    jobs: list[MediaJob] = []
    run = MediaProcess.run

    async def recorded(self: MediaProcess, job: MediaJob, body: bytes) -> object:
        jobs.append(job)
        return await run(self, job, body)

    monkeypatch.setattr(MediaProcess, "run", recorded)
    return jobs
