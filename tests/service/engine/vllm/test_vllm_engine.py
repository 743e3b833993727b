"""The vLLM engine against a server that behaves as vLLM does: requests, deaths and refusals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    EngineStoppedError,
    FinishReason,
    GrammarKind,
    GrammarSource,
    UnsupportedByEngineError,
)
from service.engine.config import EngineConfig, EngineConfigError
from service.engine.loading.model_source import ModelSource
from service.engine.vllm import supervisor
from service.engine.vllm.engine import VllmEngine
from service.engine.vllm.options import VllmOptions
from tests.service.engine.harness import RequestMaker, cloud, collect, picture, tokens_of, until
from tests.service.engine.vllm.fake_server import FakeVllm, listening


@pytest.fixture
def fake(checkpoint: Path) -> FakeVllm:
    ids = LammTokenizer.from_pretrained(checkpoint).encode("[1, 2]")
    return FakeVllm(layout_ids=ids)


@pytest.fixture
def source(checkpoint: Path) -> ModelSource:
    return ModelSource.from_pretrained(checkpoint, "tiny")


@asynccontextmanager
async def started(source: ModelSource, fake: FakeVllm) -> AsyncIterator[Any]:
    config = EngineConfig(device="cpu", max_num_seqs=4, chunk_interval_s=0.0)  # type: ignore[arg-type]
    async with listening(fake) as url:
        engine = VllmEngine([source], config, VllmOptions(url=url))
        try:
            await engine.start()
            fake.bodies.clear()
            yield engine
        finally:
            await engine.stop()


async def test_what_crosses(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    request = make_request(9, media=(picture(1), cloud(2)), max_tokens=3)
    sampling = replace(request.sampling_params, temperature=0.5, seed=4)
    request = replace(request, sampling_params=sampling, priority=3)
    async with started(source, fake) as engine:
        chunks = await collect(engine, request)
    assert [token for chunk in chunks for token in chunk.token_ids] == [5, 6, 7]
    assert (chunks[-1].finish_reason, chunks[-1].cached_tokens) == (FinishReason.LENGTH, 7)
    [body] = fake.bodies
    bos = source.spec.bos_token_id
    spans = {i for span in request.media for i in range(span.offset, span.offset + span.num_tokens)}
    assert body["token_ids"] == [
        bos if i in spans else token for i, token in enumerate(request.prompt_token_ids)
    ]
    assert (body["model"], body["priority"]) == ("tiny", 3)
    params = body["sampling_params"]
    assert (params["temperature"], params["max_tokens"], params["seed"]) == (0.5, 3, 4)
    # Rows that pad the vocabulary can never be sampled.
    own = source.spec.vocab_size
    assert params["logit_bias"] == {str(i): -100.0 for i in range(own, fake.vocab_size)}
    features = body["features"]
    assert features["mm_placeholders"]["image"] == [
        {"offset": span.offset, "length": span.num_tokens} for span in request.media
    ]
    assert len(set(features["mm_hashes"]["image"])) == 2


async def test_the_same_picture_has_another_identity_for_another_model(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    request = make_request(9, media=(picture(1),), max_tokens=1)
    identities = []
    for one in (source, replace(source, spec=replace(source.spec, digest="another"))):
        async with started(one, fake) as engine:
            await collect(engine, request)
            await collect(engine, request)
        identities.append({body["features"]["mm_hashes"]["image"][0] for body in fake.bodies})
    assert [len(one) for one in identities] == [1, 1]
    assert identities[0].isdisjoint(identities[1])


async def test_the_cache_salt_crosses_and_separates_media(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    request = make_request(9, media=(picture(1),), max_tokens=1)
    async with started(source, fake) as engine:
        for salt in ("one", "one", "other", None):
            await collect(engine, replace(request, cache_salt=salt))
        encoded = engine.stats().mm_cache_queries_total - engine.stats().mm_cache_hits_total
    assert [body.get("cache_salt") for body in fake.bodies] == ["one", "one", "other", None]
    first, again, other, none = (body["features"]["mm_hashes"]["image"][0] for body in fake.bodies)
    assert first == again
    assert len({first, other, none}) == 3
    assert encoded == 3


async def test_closing_ends_the_stream_at_the_server(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    fake.pause_s = 0.01
    async with started(source, fake) as engine:
        async with aclosing(engine.generate(make_request(9, max_tokens=200))) as chunks:
            async for _ in chunks:
                break
        await until(lambda: fake.aborted == 1)
        assert engine.stats().running == 0


async def test_a_reader_can_leave_amid_tokens_that_arrive_together(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    fake.together = 200
    async with started(source, fake) as engine:
        async with aclosing(engine.generate(make_request(9, max_tokens=240))) as chunks:
            async for _ in chunks:
                break
        assert engine.stats().generation_tokens_total < 100


async def test_a_stream_that_breaks_off_has_no_finish_reason(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    async with started(source, fake) as engine:
        fake.cut_after = 2
        chunks = []

        async def read() -> None:
            async for chunk in engine.generate(make_request(9, max_tokens=9)):
                chunks.append(chunk)

        with pytest.raises(EngineStoppedError):
            await read()
        assert [token for chunk in chunks for token in chunk.token_ids] == [5, 6]
        assert all(chunk.finish_reason is None for chunk in chunks)
        # The server answers its probes, so only this request failed.
        fake.cut_after = None
        assert await tokens_of(engine, make_request(9, max_tokens=2)) == [5, 6]


async def test_a_server_that_dies_and_returns(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    fake.pause_s = 0.05
    async with started(source, fake) as engine:
        open_stream = asyncio.create_task(collect(engine, make_request(9, max_tokens=200)))
        await until(lambda: bool(fake.bodies))
        fake.healthy = False
        await until(lambda: not engine.stats().alive)
        with pytest.raises(EngineStoppedError):
            await open_stream
        with pytest.raises(EngineStoppedError):
            await collect(engine, make_request(9))
        fake.healthy, fake.pause_s = True, 0.0
        await until(lambda: engine.stats().alive)
        assert engine.state()["restarts_total"] == 1
        assert await tokens_of(engine, make_request(9, max_tokens=2)) == [5, 6]


async def test_another_model_behind_the_address_is_not_used(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    async with started(source, fake) as engine:
        fake.healthy = False
        await until(lambda: not engine.stats().alive)
        fake.healthy, fake.vocab_size = True, 1024
        await asyncio.sleep(1.5)
        assert not engine.stats().alive


async def test_log_probabilities_of_a_constrained_answer_are_refused_by_name(
    source: ModelSource, fake: FakeVllm, make_request: RequestMaker
) -> None:
    grammar = GrammarSource(GrammarKind.LARK, 'start: "yes"')
    request = replace(make_request(9, logprobs=1), grammar=grammar)
    async with started(source, fake) as engine:
        with pytest.raises(UnsupportedByEngineError, match="log-probabilities") as refusal:
            await collect(engine, request)
    assert refusal.value.param == "logprobs"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.31.2"}, r"has version 0\.31\.2; the vllm engine needs 0\.32"),
        ({"model": "other"}, "serves other, but not 'tiny'; start it with --served-model-name"),
        ({"max_model_len": 128}, "context of 128 tokens, this service of 256.*--max-model-len 256"),
        ({"missing": {"--enable-scale-out"}}, "token-in route; start it with --enable-scale-out"),
        ({"missing": {"--max-logprobs"}}, "start it with --max-logprobs 21"),
        ({"missing": {"--enable-mm-embeds"}}, "start it with --enable-mm-embeds"),
        ({"vocab_size": 100}, r"a vocabulary of 100 tokens, the checkpoint has \d+"),
        ({"forced_logprob": 0.0}, "--logprobs-mode raw_logprobs"),
        ({"layout_ids": [5, 6]}, "lays JSON out as .*--structured-outputs-config"),
    ],
)
async def test_a_server_that_cannot_serve_is_refused_at_the_start(
    source: ModelSource, fake: FakeVllm, change: dict[str, object], message: str
) -> None:
    for name, value in change.items():
        setattr(fake, name, value)
    with pytest.raises(EngineConfigError, match=message):
        async with started(source, fake):
            pass


async def test_no_server_at_the_address(source: ModelSource) -> None:
    options = VllmOptions(url="http://127.0.0.1:9", wait_s=0.2)
    engine = VllmEngine([source], EngineConfig(), options)
    message = r"at http://127.0.0.1:9/health after 0.2 s: no connection .*raise --vllm-wait"
    with pytest.raises(EngineConfigError, match=message):
        await engine.start()
    await engine.stop()


async def test_a_server_that_is_still_loading_is_waited_for(
    source: ModelSource,
    fake: FakeVllm,
    make_request: RequestMaker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "_INTERVAL_S", 0.05)
    monkeypatch.setattr(supervisor, "_REPORT_S", 0.2)
    caplog.set_level("INFO", "service.engine.vllm.supervisor")
    port = _free_port()
    config = EngineConfig(device="cpu", max_num_seqs=4)  # type: ignore[arg-type]
    engine = VllmEngine([source], config, VllmOptions(url=f"http://127.0.0.1:{port}"))
    starting = asyncio.create_task(engine.start())
    await until(lambda: "no connection" in caplog.text)
    fake.healthy = False
    async with listening(fake, port):
        await until(lambda: "status 503" in caplog.text)
        assert not starting.done()
        fake.healthy = True
        await starting
        assert await tokens_of(engine, make_request(9, max_tokens=2)) == [5, 6]
        await engine.stop()
    [first, *_] = [line for line in caplog.messages if line.startswith("waiting")]
    assert first.startswith(f"waiting for vLLM at http://127.0.0.1:{port}/health: no connection (")
    assert first.endswith("(0 of at most 300 s)")


async def test_a_server_that_never_becomes_ready_is_refused_by_name(
    source: ModelSource, fake: FakeVllm
) -> None:
    fake.healthy = False
    async with listening(fake) as url:
        engine = VllmEngine([source], EngineConfig(), VllmOptions(url=url, wait_s=0.2))
        with pytest.raises(EngineConfigError, match=r"/health after 0.2 s: status 503; start it"):
            await engine.start()
        await engine.stop()


async def test_a_server_without_the_probe_is_not_waited_for(
    source: ModelSource, fake: FakeVllm
) -> None:
    async with listening(fake) as url:
        engine = VllmEngine([source], EngineConfig(), VllmOptions(url=f"{url}/elsewhere"))
        with pytest.raises(EngineConfigError, match="answers with status 404; is it vLLM"):
            await asyncio.wait_for(engine.start(), 30)
        await engine.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_an_address_is_http() -> None:
    with pytest.raises(EngineConfigError, match="vllm_url is 'localhost:8000'"):
        VllmOptions(url="localhost:8000")
