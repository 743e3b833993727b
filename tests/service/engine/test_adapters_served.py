"""The service over the real engine: two adapters share one, a merged checkpoint has its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from lamm_model.tokenizer import LammTokenizer
from service.app import create_app
from service.config.settings import Settings
from service.engine.base import GenerationRequest
from service.engine.detokenizer import Detokenizer
from service.schemas.openai import ChatCompletionRequest
from tests.service.chat_requests import chat_body, image, png
from tests.service.engine.adapters import REST, make_adapter, merged_oracle
from tests.service.engine.harness import Oracle
from tests.service.local import BASE_URL

URL = "/v1/chat/completions"


async def test_each_name_answers_as_its_merged_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    red = make_adapter(checkpoint, tmp_path / "red", seed=1)
    blue = make_adapter(checkpoint, tmp_path / "blue", seed=2, targets=REST)
    oracles = {
        "red": merged_oracle(checkpoint, red, tmp_path / "red-merged"),
        "blue": merged_oracle(checkpoint, blue, tmp_path / "blue-merged"),
        "blue-merged": merged_oracle(tmp_path / "blue-merged", None, tmp_path),
    }
    settings = Settings(
        checkpoint=(str(red), f"{blue}@{checkpoint}", str(tmp_path / "blue-merged")),
        device="cpu",
        kv_cache_bytes=4 << 20,
        max_num_seqs=4,
        media_workers=1,
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=BASE_URL, timeout=60) as client,
    ):
        services = app.state.services
        await services.lifecycle.wait_loaded()
        assert services.lifecycle.failure is None
        assert [served.models for served in services.engines] == [("red", "blue"), ("blue-merged",)]
        infos = services.lifecycle.engine_infos
        assert sum(info.kv_cache_bytes for info in infos) <= 4 << 20

        bodies = [
            {**chat_body(*parts), "model": name, "max_tokens": 12, "ignore_eos": True}
            for name in oracles
            for parts in ((), (image(png(9, 9)),))
        ]
        answers = await asyncio.gather(*(client.post(URL, json=body) for body in bodies))
        for body, answer in zip(bodies, answers, strict=True):
            assert answer.status_code == 200, answer.text
            processor = services.models.get(body["model"]).processor
            planned = await processor.plan(ChatCompletionRequest.model_validate(body))
            text = answer.json()["choices"][0]["message"]["content"]
            assert text == spoken(checkpoint, planned.sequences[0], oracles[body["model"]])
        texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
        assert texts[:2] != texts[2:4]
        assert texts[2:4] == texts[4:]


def spoken(checkpoint: Path, request: GenerationRequest, oracle: Oracle) -> str:
    """What the service makes of the oracle's tokens: text up to a stop string."""
    stop = request.sampling_params.stop
    detokenizer = Detokenizer(LammTokenizer.from_pretrained(checkpoint), stop)
    text = ""
    for token in oracle(request):
        text += detokenizer.push(token, True)
        if detokenizer.stop_string is not None:
            return text.strip()
    return (text + detokenizer.flush(True)).strip()
