"""Probes, metrics, keys, documents, models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from lamm_model.spec import CheckpointError
from service.app import create_app
from service.config.settings import Settings
from service.engine.base import EngineInfo, EngineStats
from service.engine.echo_engine import EchoEngine
from service.lifecycle import Phase
from service.startup.configs import engine_config
from tests.service.chat_requests import CONTEXT, chat_body, image
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_probes_of_an_idle_service(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).status_code == 200
    ready = await client.get("/readyz")
    models = {"tiny-lamm": True}
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "phase": "ready", "models": models}
    health = (await client.get("/health")).json()
    assert (health["status"], health["running"], health["waiting"]) == ("healthy", 0, 0)


@pytest.mark.parametrize(
    ("stats", "status"),
    [
        (EngineStats(running=0, last_step_age=1e6), 200),
        (EngineStats(running=1, last_step_age=0.1), 200),
        (EngineStats(running=1, last_step_age=1e6), 503),
        (EngineStats(waiting=1, last_step_age=1e6), 503),
        (EngineStats(alive=False), 503),
    ],
)
async def test_health_is_progress(
    client: httpx.AsyncClient,
    engine: EchoEngine,
    monkeypatch: pytest.MonkeyPatch,
    stats: EngineStats,
    status: int,
) -> None:
    monkeypatch.setattr(engine, "stats", lambda: stats)
    assert (await client.get("/health")).status_code == status
    assert (await client.get("/readyz")).status_code == (200 if stats.alive else 503)


async def test_draining_refuses_and_says_so(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.services.lifecycle, "_phase", Phase.DRAINING)
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200
    refused = await client.post(URL, json=chat_body())
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "service_draining"


class Stubborn(EchoEngine):
    """Loads when it is let, or fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(engine_config(settings))
        self.may_load = asyncio.Event()
        self.failure: Exception | None = None

    async def start(self) -> EngineInfo:
        await self.may_load.wait()
        if self.failure is not None:
            raise self.failure
        return await super().start()


async def test_probes_answer_while_the_engine_loads(settings: Settings) -> None:
    engine = Stubborn(settings)
    app = create_app(settings, engine)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        ready = (await client.get("/readyz")).json()
        assert ready == {"ready": False, "phase": "loading", "models": {"tiny-lamm": False}}
        assert (await client.post(URL, json=chat_body())).status_code == 503
        assert (await client.get("/metrics")).status_code == 200
        engine.may_load.set()
        assert await app.state.services.lifecycle.wait_loaded() is Phase.READY
        assert (await client.post(URL, json=chat_body())).status_code == 200


async def test_an_engine_that_cannot_load(settings: Settings) -> None:
    engine = Stubborn(settings)
    engine.failure = CheckpointError("model.safetensors lacks projector.weight [4, 8]")
    engine.may_load.set()
    app = create_app(settings, engine)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
    ):
        assert await app.state.services.lifecycle.wait_loaded() is Phase.FAILED
        assert app.state.services.lifecycle.failure is engine.failure
        assert (await client.get("/readyz")).json()["phase"] == "failed"
        assert (await client.get("/health")).status_code == 503


async def test_metrics(client: httpx.AsyncClient) -> None:
    await client.post(URL, json=chat_body(image()))
    families = {
        family.name: family
        for family in text_string_to_metric_families((await client.get("/metrics")).text)
    }
    for name in (
        "time_to_first_token_seconds", "inter_token_latency_seconds",
        "e2e_request_latency_seconds", "request_queue_time_seconds",
        "request_prefill_time_seconds", "request_decode_time_seconds", "num_requests_running",
        "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens", "generation_tokens",
        "request_success", "prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries",
        "mm_cache_hits", "num_preemptions", "admission_rejections", "media_fetch_seconds",
        "media_decode_seconds", "media_encode_seconds",
    ):  # fmt: skip
        assert f"lamm:{name}" in families, name
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["lamm:generation_tokens_total", "tiny-lamm"] >= 6
    assert samples["lamm:request_success_total", "stop", "tiny-lamm"] >= 1
    assert samples["lamm:media_decode_seconds_count", "image", "tiny-lamm"] >= 1
    assert samples["lamm:time_to_first_token_seconds_count", "tiny-lamm"] >= 1


async def test_models(client: httpx.AsyncClient) -> None:
    [card] = (await client.get("/v1/models")).json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("tiny-lamm", "model", CONTEXT)
    assert card["architecture"]["input_modalities"] == ["text", "image", "point_cloud"]
    assert card["digest"] == "0123456789abcdef"
    assert card["prompt_preset"]["name"] == "lamm-train"
    assert len(card["prompt_preset"]["digest"]) == 16
    assert (await client.get("/v1/models/tiny-lamm")).json() == card


async def test_version_and_documents(client: httpx.AsyncClient) -> None:
    version = (await client.get("/version")).json()
    assert version["fingerprint"].startswith("fp_")
    card = (await client.get("/v1/models/tiny-lamm")).json()
    assert version["prompt_presets"] == {"tiny-lamm": card["prompt_preset"]}
    assert (await client.get("/docs")).status_code == 200


async def test_the_openapi_document(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    post = document["paths"][URL]["post"]
    reference = post["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    for name in (
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k",
        "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "stop",
        "stop_token_ids", "seed", "n", "logprobs", "top_logprobs", "logit_bias", "ignore_eos",
        "min_tokens", "stream", "stream_options", "response_format", "user", "priority",
    ):  # fmt: skip
        assert name in schema["properties"], name
    assert "PointCloudPart" in document["components"]["schemas"]
    assert {"400", "413", "415", "422", "503"} <= set(post["responses"])
    for path in ("/v1/models", "/livez", "/readyz", "/health", "/metrics", "/version"):
        assert path in document["paths"]


@pytest.mark.parametrize("given", ["abc-1.2:3", "bad id\n", "x" * 200, ""])
async def test_request_ids_are_echoed_or_made(client: httpx.AsyncClient, given: str) -> None:
    headers = {"X-Request-Id": given.replace("\n", "")}
    returned = (await client.get("/livez", headers=headers)).headers["x-request-id"]
    assert (returned == given) is (given == "abc-1.2:3")
    assert 1 <= len(returned) <= 128


async def test_keys_guard_everything_but_probes(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("third\n\n")
    guarded = Settings(
        **settings.model_dump(exclude={"api_keys", "api_keys_file"}),
        api_keys="first, second",
        api_keys_file=tmp_path / "keys",
    )
    app = create_app(guarded, EchoEngine(engine_config(guarded)))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client,
    ):
        await app.state.services.lifecycle.wait_loaded()
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/models", "/docs", "/openapi.json", "/version", "/nope"):
            refused = await client.get(path)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        for wrong in ("Bearer none", "Bearer ", "Basic first", "first", "Bearer firs"):
            headers = {"Authorization": wrong}
            assert (await client.post(URL, json=chat_body(), headers=headers)).status_code == 401
        for key in ("first", "second", "third"):
            headers = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
