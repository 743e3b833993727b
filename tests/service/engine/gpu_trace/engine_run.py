"""Drives an engine through every kind of step, on any device, and names the stages of a trace."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from lamm_model.conversation import Modality
from lamm_model.media import PreparedMedia
from service.engine.base import GenerationRequest, GrammarKind, GrammarSource
from service.engine.config import EngineConfig, MemoryShare
from service.engine.engine_core import EngineCore
from service.engine.intake import RequestIntake
from service.engine.kv.block_manager import LoadBlocks, SaveBlocks
from service.engine.kv.tensors import KVTensors
from service.engine.loading.model_source import ModelSource
from service.engine.loading.rehearsal import Rehearsal
from service.engine.media_encoder import MediaEncoder
from service.engine.model_runner import ModelRunner
from service.engine.readout import Readout
from service.engine.sequence import Sequence
from service.engine.stream import ChunkStream
from tests.service.engine.gpu_trace.record import Record
from tests.service.engine.harness import RequestMaker, cloud, picture

_PENALTIES = {"repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": 0.5}
_SAMPLING: Mapping[str, Mapping[str, Any]] = {
    "greedy": {},
    "temperature": {"temperature": 1.0},
    "top-p": {"temperature": 1.0, "top_p": 0.5},
    "top-k, min-p": {"temperature": 1.0, "top_k": 5, "min_p": 0.1},
    "logprobs": {"logprobs": 3},
    "penalties": {**_PENALTIES, "logit_bias": {5: 2.0}},
    "min_tokens": {"min_tokens": 4, "ignore_eos": False},
}


def scenarios(make: RequestMaker) -> Iterator[tuple[str, list[GenerationRequest]]]:
    """Named groups of requests; each group runs together, after the one before."""
    for name, params in _SAMPLING.items():
        requests = [make(length, seed=length, max_tokens=6, **params) for length in (9, 40, 21)]
        yield name, [_with_seed(request) for request in requests]
    lark = GrammarSource(GrammarKind.LARK, 'start: "yes" | "no, it is not"')
    request = dataclasses.replace(make(9, seed=1, max_tokens=12, ignore_eos=False), grammar=lark)
    yield "grammar", [request]
    given = dataclasses.replace(make(9, seed=2), continuation_token_ids=(7, 8, 9))
    yield "scoring", [given, make(9, seed=3, max_tokens=2)]
    yield (
        "media",
        [make(9, seed=4, max_tokens=4, media=(picture(1), picture(2), cloud(1), _large_cloud()))],
    )
    yield "prefix", [make(70, seed=5, max_tokens=2)]
    yield "prefix again", [make(70, seed=5, max_tokens=2)]


def _large_cloud() -> PreparedMedia:
    """A cloud whose neighbours are searched in a grid."""
    array = np.random.default_rng(1).uniform(-1, 1, (3000, 3)).astype(np.float32)
    return PreparedMedia(Modality.POINT_CLOUD, "large cloud", array, {})


def _with_seed(request: GenerationRequest) -> GenerationRequest:
    params = dataclasses.replace(request.sampling_params, seed=1)
    return dataclasses.replace(request, sampling_params=params)


class EngineRun:
    """One engine without threads; `stages` makes its parts name themselves in the record."""

    def __init__(
        self, models: Seq[ModelSource], config: EngineConfig, record: Record | None = None
    ) -> None:
        self._record = record or Record()
        self._scenario = "-"
        self._intake = RequestIntake(models, config, {})
        with self._record.stage("start"), self._stages():
            self._core = EngineCore(models, config, MemoryShare())

    def run(self, name: str, requests: Seq[GenerationRequest]) -> list[list[Any]]:
        """Tokens of each request, or the log-probabilities of its continuation.

        Raises:
            RuntimeError: a request failed.
        """
        self._scenario = name
        sequences = [asyncio.run(self._intake.sequence(request)) for request in requests]
        with self._stages():
            for sequence in sequences:
                self._core.add(sequence, ChunkStream())
            while self._core.has_work:
                self._core.step()
        for _, item in self._core.take_outbox():
            if isinstance(item, Exception):
                raise RuntimeError(f"{name}: {item!r}")
        return [_result(sequence) for sequence in sequences]

    @contextmanager
    def _stages(self) -> Iterator[None]:
        """Patches the parts of an engine to open their stages."""
        with (
            self._named(ModelRunner, "run", _step_name),
            self._named(MediaEncoder, "_run", _encode_name),
            self._named(KVTensors, "_transfer", _transfer_name),
            self._named(Rehearsal, "peak_bytes", lambda *_: "measure a step"),
            self._named(Rehearsal, "warm_up", lambda *_: "warm up"),
            self._named(Readout, "read", lambda *_: f"readout: {self._scenario}"),
        ):
            yield

    @contextmanager
    def _named(self, owner: type, method: str, name_of: Any) -> Iterator[None]:
        original = getattr(owner, method)

        @functools.wraps(original)
        def named(*args: Any) -> Any:
            with self._record.stage(name_of(*args)):
                return original(*args)

        with mock.patch.object(owner, method, named):
            yield


def _result(sequence: Sequence) -> list[Any]:
    if sequence.is_scoring:
        return [round(value, 3) for value in sequence.continuation_logprobs]
    return sequence.output_token_ids


def _step_name(runner: ModelRunner, output: Any) -> str:
    decodes = all(chunk.num_tokens == 1 for chunk in output.chunks)
    adapters = " with adapters" if runner._lora is not None else ""
    return ("decode step" if decodes else "prefill step") + adapters


def _encode_name(encoder: MediaEncoder, group: Any, model: int) -> str:
    return "encode image" if group[0].modality is Modality.IMAGE else "encode cloud"


def _transfer_name(kv: KVTensors, transfer: Any) -> str:
    kinds = {SaveBlocks: "save prefix", LoadBlocks: "load prefix"}
    return kinds.get(type(transfer), "release slot")
