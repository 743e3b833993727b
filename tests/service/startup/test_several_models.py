"""Several models by name over HTTP: listed, routed, measured; each refuses what it cannot see."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service import cli
from service.app import create_app
from service.config.flags import read_settings
from service.config.settings import Settings
from service.dependencies import ServedEngine
from service.engine.base import EngineStats
from service.engine.echo_engine import EchoEngine
from service.startup.configs import engine_config
from tests.service.adapter_files import write_adapter
from tests.service.chat_requests import REPLY, chat_body, cloud, image

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def flags(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A joint checkpoint, and a picture's and a cloud's adapter over it."""
    root = tmp_path_factory.mktemp("adapters")
    pictures = write_adapter(root / "pictures", "0123456789abcdef", ["image"])
    clouds = write_adapter(root / "clouds", "0123456789abcdef", ["point"])
    return (f"joint={checkpoint}", str(pictures), f"clouds={clouds}@{checkpoint}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(flags: tuple[str, ...], settings: Settings) -> AsyncIterator[FastAPI]:
    several = Settings(**settings.model_dump(exclude={"checkpoint"}), checkpoint=flags)
    app = create_app(several, EchoEngine(engine_config(several), REPLY))
    async with app.router.lifespan_context(app):
        await app.state.services.lifecycle.wait_loaded()
        yield app


async def test_all_are_listed(client: httpx.AsyncClient) -> None:
    cards = (await client.get("/v1/models")).json()["data"]
    takes = {card["id"]: card["architecture"]["input_modalities"][1:] for card in cards}
    assert takes == {
        "joint": ["image", "point_cloud"],
        "pictures": ["image"],
        "clouds": ["point_cloud"],
    }
    assert len({card["digest"] for card in cards}) == 3
    for card in cards:
        assert (await client.get(f"/v1/models/{card['id']}")).json() == card
    ready = (await client.get("/readyz")).json()
    assert ready["models"] == {"joint": True, "pictures": True, "clouds": True}
    version = (await client.get("/version")).json()
    assert len(set(version["models"].values())) == 3
    assert version["fingerprint"] == version["models"]["joint"]


@pytest.mark.parametrize(
    ("model", "part", "other", "takes"),
    [
        ("pictures", image(), cloud(), "text, image"),
        ("clouds", cloud(), image(), "text, point_cloud"),
        ("joint", image(), None, ""),
        ("joint", cloud(), None, ""),
    ],
)
async def test_each_answers_its_media_and_refuses_the_other(
    client: httpx.AsyncClient, model: str, part: dict[str, Any], other: Any, takes: str
) -> None:
    answer = (await client.post(URL, json={**chat_body(part), "model": model})).json()
    assert answer["choices"][0]["message"]["content"] == REPLY
    assert answer["model"] == model
    version = (await client.get("/version")).json()
    assert answer["system_fingerprint"] == version["models"][model]
    if other is None:
        return
    refused = await client.post(URL, json={**chat_body(other), "model": model})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "unsupported_modality")
    kind = other["type"].removesuffix("_url")
    assert error["message"] == f"model {model!r} does not accept {kind}; it accepts {takes}"
    assert error["param"] == f"messages[0].content[0].{other['type']}"


async def test_a_name_that_is_not_served(client: httpx.AsyncClient) -> None:
    refused = await client.post(URL, json={**chat_body(), "model": "gpt-7"})
    assert refused.status_code == 404
    message = refused.json()["error"]["message"]
    assert message == ("model 'gpt-7' is not served; the models are 'joint', 'pictures', 'clouds'")
    assert (await client.get("/v1/models/gpt-7")).status_code == 404


async def test_metrics_tell_the_models_apart(client: httpx.AsyncClient) -> None:
    await client.post(URL, json={**chat_body(), "model": "pictures", "max_tokens": 2})
    text = (await client.get("/metrics")).text
    finished = 'lamm:request_success_total{finished_reason="length",model_name="pictures"} 1.0'
    assert finished in text
    assert 'lamm:num_requests_running{model_name="joint,pictures,clouds"} 0.0' in text


async def test_one_dead_engine_makes_the_service_unready(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = app.state.services.engines[0].engine
    monkeypatch.setattr(engine, "stats", lambda: EngineStats(alive=False))
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["models"]["clouds"]) == (503, False)
    assert (await client.get("/health")).status_code == 503


async def test_budgets_are_for_all_engines(settings: Settings) -> None:
    values = settings.model_dump(exclude={"kv_cache_bytes", "mm_cache_bytes"})
    shared = Settings(**values, kv_cache_bytes=9 << 20, mm_cache_bytes=6 << 20)
    config = engine_config(shared, 3)
    assert (config.kv_cache_bytes, config.mm_cache_bytes) == (3 << 20, 2 << 20)
    assert engine_config(settings).kv_cache_bytes is None


async def test_start_and_banner_name_every_model(app: FastAPI, flags: tuple[str, ...]) -> None:
    settings = read_settings([word for flag in flags for word in ("--checkpoint", flag)])
    assert settings.checkpoint == flags
    lines = cli.loading_message(settings, app).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["Loading", "joint"],
        ["Loading", "pictures"],
        ["Loading", "clouds"],
    ]
    assert "(text, image; context" in lines[1]
    banner = cli.ready_message(app.state.services, "http://lamm", settings)
    assert "models    joint, pictures, clouds: one language model, one batch" in banner
    assert banner.endswith("lamm chat --url http://lamm")


async def test_engines_of_their_own_are_told_apart(
    app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = app.state.services
    engine = services.engines[0].engine
    apart = tuple(ServedEngine(engine, (name,)) for name in ("one", "two"))
    divided = dataclasses.replace(services, engines=apart)
    monkeypatch.setattr(services.lifecycle, "engine_infos", services.lifecycle.engine_infos * 2)
    banner = cli.ready_message(divided, "http://lamm", settings)
    assert banner.count("its own engine") == banner.count("KV cache") == 2
