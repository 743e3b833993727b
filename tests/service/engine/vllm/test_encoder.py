"""Media of several requests for vLLM: encoded together, failed and cancelled apart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lamm_model.media import PreparedMedia
from service.engine.base import MediaSpan, RequestFailedError
from service.engine.config import DeviceKind, EngineConfig
from service.engine.loading.model_source import ModelSource
from service.engine.media_encoder import MediaEncoder
from service.engine.vllm.encoder import EncodedRequest, RequestEncoder
from tests.service.engine.harness import RequestMaker, cloud, picture, until


class SlowRuns:
    """The encoders of an engine: they wait for `go`, and count the media of each run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.counts: list[int] = []
        self.bad: set[str] = set()
        run = MediaEncoder._run

        def slow(encoder: MediaEncoder, group: Sequence[PreparedMedia], model: int) -> Tensor:
            self.counts.append(len(group))
            assert self.go.wait(30)
            features = run(encoder, group, model)
            for row, medium in enumerate(group):
                if medium.digest in self.bad:
                    features[row] = torch.nan
            return features

        monkeypatch.setattr(MediaEncoder, "_run", slow)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> SlowRuns:
    return SlowRuns(monkeypatch)


@pytest.fixture
async def encoder(checkpoint: Path) -> AsyncIterator[RequestEncoder]:
    source = ModelSource.from_pretrained(checkpoint, "tiny")
    made = RequestEncoder([source], EngineConfig(device=DeviceKind.CPU))
    await made.load()
    yield made
    made.close()


@pytest.fixture
def spans(make_request: RequestMaker) -> list[tuple[MediaSpan, ...]]:
    return [tuple(make_request(9, media=(picture(seed),)).media) for seed in range(6)]


async def test_what_waits_is_encoded_together(
    encoder: RequestEncoder, runs: SlowRuns, spans: list[tuple[MediaSpan, ...]]
) -> None:
    first = asyncio.create_task(encoder.encode(spans[0], None))
    await until(lambda: runs.counts == [1])
    others = [asyncio.create_task(encoder.encode(media, None)) for media in spans[1:]]
    await asyncio.sleep(0)
    runs.go.set()
    results = await asyncio.gather(first, *others)
    assert runs.counts == [1, 5]
    alone = [await encoder.encode(media, "tiny") for media in spans]
    assert [one.features for one in results] == [one.features for one in alone]
    assert all(len(one.encoded) == 1 and one.seconds > 0 for one in results)
    assert all(one.encoded == () for one in alone)  # cached


async def test_a_faulty_medium_fails_its_own_request_alone(
    encoder: RequestEncoder, runs: SlowRuns, spans: list[tuple[MediaSpan, ...]]
) -> None:
    runs.bad = {spans[2][0].media.digest}
    first = asyncio.create_task(encoder.encode(spans[0], None))
    await until(lambda: runs.counts == [1])
    others = [asyncio.create_task(encoder.encode(media, None)) for media in spans[1:4]]
    await asyncio.sleep(0)
    runs.go.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    kinds = [type(one) for one in results]
    assert kinds == [EncodedRequest, EncodedRequest, RequestFailedError, EncodedRequest]


async def test_a_reader_that_left_is_not_encoded(
    encoder: RequestEncoder, runs: SlowRuns, spans: list[tuple[MediaSpan, ...]]
) -> None:
    first = asyncio.create_task(encoder.encode(spans[0], None))
    await until(lambda: runs.counts == [1])
    gone, stays = (asyncio.create_task(encoder.encode(media, None)) for media in spans[1:3])
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    runs.go.set()
    await asyncio.gather(first, stays)
    assert runs.counts == [1, 1]


async def test_a_batch_has_a_limit(
    encoder: RequestEncoder, runs: SlowRuns, make_request: RequestMaker
) -> None:
    media = [tuple(make_request(9, media=(picture(seed),)).media) for seed in range(40)]
    tasks = [asyncio.create_task(encoder.encode(one, None)) for one in media]
    await until(lambda: bool(runs.counts))
    runs.go.set()
    await asyncio.gather(*tasks)
    assert sum(runs.counts) == 40
    assert max(runs.counts) == 16


async def test_pictures_and_clouds_of_one_request(
    encoder: RequestEncoder, runs: SlowRuns, make_request: RequestMaker
) -> None:
    runs.go.set()
    request = make_request(9, media=(picture(1), cloud(2), picture(1)))
    result = await encoder.encode(request.media, None)
    assert [one.num_tokens for one in result.features] == [s.num_tokens for s in request.media]
    assert len({one.identity for one in result.features}) == 2
    assert len(result.encoded) == 2
