"""The vLLM engine: requests are checked, ordered and encoded here; vLLM generates the tokens.

Media are encoded and projected in this process and cross as embeddings, so clouds and each
adapter's own projectors work although vLLM has neither. Tokens come back and become text here, so
stop strings and counts are those of the torch engine. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from collections.abc import Sequence as Seq
from typing import Any

from service.engine.base import (
    Engine,
    EngineError,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    GenerationChunk,
    GenerationRequest,
    RequestFailedError,
    UnsupportedByEngineError,
)
from service.engine.config import EngineConfig
from service.engine.grammar.compiler import GrammarCompiler
from service.engine.intake import RequestIntake
from service.engine.loading.model_source import ModelSource
from service.engine.sequence import Sequence
from service.engine.stream import ChunkStream
from service.engine.vllm.checks import ServerChecker, ServerFacts
from service.engine.vllm.client import VllmClient, VllmRefusal
from service.engine.vllm.encoder import RequestEncoder
from service.engine.vllm.launch import Launch
from service.engine.vllm.options import VllmOptions
from service.engine.vllm.seats import Seats
from service.engine.vllm.sequence_runner import Progress, SequenceRunner
from service.engine.vllm.supervisor import Supervisor

_log = logging.getLogger(__name__)


class VllmEngine(Engine):
    """Models that share a language model, which a vLLM server runs."""

    # vLLM computes them after the grammar has excluded tokens.
    grammar_logprobs = False

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        options: VllmOptions,
        grammars: Mapping[str, GrammarCompiler] | None = None,
    ) -> None:
        """Stores its arguments; `start` loads the encoders and reaches or starts vLLM.

        `grammars` has a compiler per model, to share with callers.
        """
        self._models, self._config, self._options = tuple(models), config, options
        self._intake = RequestIntake(models, config, grammars or {})
        own_len = min(model.spec.max_model_len for model in models)
        self._max_len = min(own_len, config.max_model_len or own_len)
        self._seats = Seats(config, self._max_len)
        self._encoder = RequestEncoder(models, config)
        self._progress = Progress(time.monotonic())
        self._runner: SequenceRunner | None = None
        self._facts: ServerFacts | None = None
        self._supervisor: Supervisor | None = None
        self._client: VllmClient | None = None
        self._launch: Launch | None = None
        self._streams: dict[ChunkStream, asyncio.Task[None]] = {}
        self._stopped = False

    async def start(self) -> EngineInfo:
        """Loads the encoders, and starts or checks the vLLM server.

        Raises:
            CheckpointError: weights are missing, unexpected or have wrong shapes.
            EngineConfigError: the server is missing or cannot serve the models; the message says
                what to change.
            EngineStoppedError: the server cannot be reached, ended while it loaded, or this engine
                was started before.
        """
        if self._supervisor is not None or self._stopped:
            raise EngineStoppedError("an engine can be started only once")
        options = self._options
        if options.url is None:
            self._launch = await asyncio.to_thread(
                Launch.prepare, self._models, self._config, options, self._max_len
            )
            self._client = VllmClient("http://vllm", socket=self._launch.socket)
        else:
            self._client = VllmClient(options.url.rstrip("/"), options.api_key)
        self._supervisor = Supervisor(
            self._client,
            ServerChecker(self._client, self._models, self._max_len),
            None if self._launch is None else self._launch.process,
            start_timeout_s=options.start_timeout_s,
            wait_s=options.wait_s,
            on_death=lambda: self._end_streams("the vLLM server died"),
        )
        loading = asyncio.create_task(self._encoder.load())
        try:
            self._facts = await self._supervisor.start()
        finally:
            # Loading cannot be interrupted; what it raises is the better message.
            await loading
        self._runner = SequenceRunner(
            self._client,
            self._encoder,
            self._models,
            self._facts.models,
            self._progress,
            max_len=self._max_len,
            chunk_interval_s=self._config.chunk_interval_s,
        )
        return self._info(self._facts)

    async def stop(self) -> None:
        """Ends open streams with EngineStoppedError, and our own server; idempotent."""
        self._stopped = True
        tasks = list(self._streams.values())
        self._end_streams("the engine stopped")
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._supervisor is not None:
            await self._supervisor.stop()
        if self._client is not None:
            await self._client.close()
        if self._launch is not None:
            await asyncio.to_thread(self._launch.clean_up)
        self._encoder.close()

    async def generate(self, request: GenerationRequest) -> AsyncIterator[GenerationChunk]:
        """See `Engine.generate`; also RequestFailedError at once for a malformed request."""
        if request.grammar is not None and request.sampling_params.logprobs is not None:
            raise UnsupportedByEngineError(
                "logprobs",
                "the vllm engine gives no log-probabilities with response_format or constrain: "
                "vLLM computes them after the grammar has excluded tokens",
            )
        sequence = await self._intake.sequence(request)
        if not self._accepting:
            raise EngineStoppedError("vLLM is not running")
        stream = ChunkStream()
        task = asyncio.create_task(self._pump(sequence, stream))
        self._streams[stream] = task
        finished = False
        try:
            while not finished:
                chunk = await stream.next()
                finished = chunk.finish_reason is not None
                yield chunk
        finally:
            self._streams.pop(stream, None)
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def stats(self) -> EngineStats:
        """See `Engine.stats`; a step is an event from vLLM."""
        running, waiting = len(self._seats.running), len(self._seats.waiting)
        progress = self._progress
        metrics = {} if self._supervisor is None else self._supervisor.metrics
        return EngineStats(
            running=running,
            waiting=waiting,
            kv_cache_usage=metrics.get("kv_cache_usage_perc", 0.0) if running else 0.0,
            last_step_age=time.monotonic() - progress.advanced_at if running + waiting else 0.0,
            alive=self._accepting,
            steps_total=progress.steps,
            prompt_tokens_total=progress.prompt_tokens,
            generation_tokens_total=progress.generation_tokens,
            preemptions_total=int(metrics.get("num_preemptions_total", 0)),
            prefix_cache_queries_total=int(metrics.get("prefix_cache_queries_total", 0)),
            prefix_cache_hits_total=int(metrics.get("prefix_cache_hits_total", 0)),
            mm_cache_queries_total=self._encoder.queries_total,
            mm_cache_hits_total=self._encoder.hits_total,
        )

    def state(self) -> dict[str, Any]:
        """See `Engine.state`; also how often vLLM came back."""
        supervisor, facts = self._supervisor, self._facts
        return {
            **super().state(),
            "server": None if self._client is None else self._client.url,
            "version": None if facts is None else facts.version,
            "restarts_total": 0 if supervisor is None else supervisor.restarts_total,
        }

    @property
    def _accepting(self) -> bool:
        supervisor = self._supervisor
        up = supervisor is not None and supervisor.alive and self._runner is not None
        return up and not self._stopped

    def _info(self, facts: ServerFacts) -> EngineInfo:
        where = "its own process" if self._launch else self._options.url
        return EngineInfo(
            engine="vllm",
            device=f"vLLM {facts.version} in {where}, encoders on {self._encoder.device}",
            dtype=self._encoder.dtype,
            weights_bytes=self._encoder.weights_bytes,
            kv_cache_bytes=0,
            kv_cache_tokens=facts.kv_cache_tokens,
            max_model_len=self._max_len,
            max_num_seqs=self._config.max_num_seqs,
        )

    def _end_streams(self, why: str) -> None:
        for stream, task in list(self._streams.items()):
            stream.put(EngineStoppedError(why))
            task.cancel()

    async def _pump(self, sequence: Sequence, stream: ChunkStream) -> None:
        """Fills a stream; the last item is put once the sequence has left its seat."""
        last: GenerationChunk | Exception
        assert self._runner is not None, "requests are accepted once it is there"
        try:
            async with self._seats.taken(sequence):
                sequence.scheduled_at = time.monotonic()
                if len(self._seats.running) == 1:
                    self._progress.advanced_at = sequence.scheduled_at
                last = await self._runner.run(sequence, stream)
        except EngineStoppedError as error:
            last = error
            if self._supervisor is not None:
                self._supervisor.suspect()
        except VllmRefusal as error:
            name = sequence.request.request_id
            _log.error("vLLM refused %s with %d: %s", name, error.status, error.reason)
            last = RequestFailedError("vLLM refused this request")
        except EngineError as error:
            last = error
        except Exception:
            _log.exception("%s failed", sequence.request.request_id)
            last = RequestFailedError("the engine failed in this request")
        stream.put(last)
