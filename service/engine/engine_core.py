"""The engine without threads or asyncio; `step` is one step from scheduling to output.

Runs on one thread. Chunks and errors are collected in an outbox, addressed to the readers' streams.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Any

from lamm_model.checkpoint.serving_memory import BLOCK_SIZE
from lamm_model.decoder.sampler import SampledToken
from lamm_model.spec import CheckpointSpec
from lamm_model.tokenizer import LammTokenizer
from service.engine.base import (
    EngineError,
    EngineInfo,
    EngineStats,
    EngineStoppedError,
    GenerationChunk,
    RequestFailedError,
)
from service.engine.config import EngineConfig, MemoryShare
from service.engine.kv.block_manager import BlockManager
from service.engine.kv.prefix_cache import PrefixCache
from service.engine.loading.model_source import ModelSource
from service.engine.model_runner import ModelRunner, StepResult
from service.engine.output import SequenceOutput
from service.engine.scheduler import Scheduler
from service.engine.scheduler_output import SchedulerOutput
from service.engine.sequence import Sequence
from service.engine.snapshot import StepNote, describe
from service.engine.stream import ChunkStream

_log = logging.getLogger(__name__)

_ENCODING_FAILED = "a medium of this request could not be encoded"

Delivery = tuple[ChunkStream, GenerationChunk | Exception]


class EngineCore:
    """Scheduler, model runner and outputs of models that share a language model."""

    def __init__(
        self,
        models: Seq[ModelSource],
        config: EngineConfig,
        memory: MemoryShare,
        make_runner: Callable[
            [Seq[ModelSource], EngineConfig, MemoryShare], ModelRunner
        ] = ModelRunner,
    ) -> None:
        """Loads the models; `make_runner` makes their model runner.

        Raises:
            EngineConfigError: the device is missing, or the memory budget is too small.
        """
        self._chunk_interval_s = config.chunk_interval_s
        tokenizers = {m.base: LammTokenizer.from_pretrained(m.base) for m in models}
        self._models: dict[str | None, tuple[CheckpointSpec, LammTokenizer]] = {
            model.name: (model.spec, tokenizers[model.base]) for model in models
        }
        self._models[None] = self._models[models[0].name]
        self._runner = make_runner(models, config, memory)
        plan = self._runner.kv.plan
        max_num_seqs = min(config.max_num_seqs, plan.num_slots)
        self._blocks = BlockManager(plan.num_slots, plan.num_blocks, BLOCK_SIZE)
        self._scheduler = Scheduler(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=plan.max_model_len,
            max_waiting_requests=config.max_waiting_requests,
            max_waiting_tokens=config.max_waiting_tokens,
            block_manager=self._blocks,
            prefix_cache=PrefixCache(plan.num_store_blocks) if plan.num_store_blocks else None,
        )
        self._outputs: dict[Sequence, tuple[SequenceOutput, ChunkStream]] = {}
        self._outbox: list[Delivery] = []
        self._last_step: StepNote | None = None
        self._steps = self._prompt_tokens = self._generation_tokens = 0
        self.info = EngineInfo(
            engine="torch",
            device=str(self._runner.device),
            dtype=str(self._runner.dtype).removeprefix("torch."),
            weights_bytes=self._runner.weights_bytes,
            kv_cache_bytes=self._runner.kv.nbytes,
            kv_cache_tokens=plan.num_blocks * BLOCK_SIZE,
            max_model_len=plan.max_model_len,
            max_num_seqs=max_num_seqs,
            num_threads=self._runner.num_threads,
        )

    def step(self) -> None:
        """Runs one step of all running sequences."""
        output = self._scheduler.schedule()
        self._last_step = StepNote.of(output)
        result = self._runner.run(output)
        self._postprocess(output, result)

    def add(self, sequence: Sequence, stream: ChunkStream) -> None:
        """Queues a sequence; a refusal is sent to its stream."""
        spec, tokenizer = self._models[sequence.request.model]
        max_len, interval = self._scheduler.max_len, self._chunk_interval_s
        try:
            output = SequenceOutput(sequence, tokenizer, spec.eos_token_ids, max_len, interval)
            self._scheduler.add(sequence)
        except EngineError as error:
            self._outbox.append((stream, error))
        except Exception:
            _log.exception("queueing %s failed", sequence.request.request_id)
            failure = RequestFailedError("the engine could not queue this request")
            self._outbox.append((stream, failure))
        else:
            self._outputs[sequence] = (output, stream)

    def abort(self, sequence: Sequence) -> None:
        """Frees a sequence at once; has no effect if it has ended."""
        if self._outputs.pop(sequence, None) is not None:
            self._scheduler.finish(sequence)

    def give_up_step(self) -> None:
        """Fails the running sequences after an exception in `step`; waiting ones stay."""
        for sequence in self._scheduler.discard_running():
            if sequence in self._outputs:
                self._emit(sequence, RequestFailedError("the engine failed in this step"))

    def close(self) -> None:
        """Ends all remaining sequences."""
        for sequence in list(self._outputs):
            self._scheduler.finish(sequence)
            self._emit(sequence, EngineStoppedError("the engine stopped"))

    def take_outbox(self) -> list[Delivery]:
        """Chunks and errors since the last call, in order."""
        outbox, self._outbox = self._outbox, []
        return outbox

    @property
    def has_work(self) -> bool:
        """Whether a step has anything to do."""
        return self._scheduler.has_work

    def stats(self, alive: bool) -> EngineStats:
        """Current statistics."""
        scheduler, encoder = self._scheduler, self._runner.encoder
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_cache_usage=scheduler.kv_cache_usage,
            alive=alive,
            steps_total=self._steps,
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=self._generation_tokens,
            preemptions_total=scheduler.preemptions_total,
            prefix_cache_queries_total=scheduler.prefix_queries_total,
            prefix_cache_hits_total=scheduler.prefix_hits_total,
            mm_cache_queries_total=encoder.queries_total,
            mm_cache_hits_total=encoder.hits_total,
        )

    def state(self) -> dict[str, Any]:
        """Queues and last step; safe from any thread."""
        return describe(self._scheduler, self._blocks, self._steps, self._last_step)

    def _postprocess(self, output: SchedulerOutput, result: StepResult) -> None:
        for sequence, error in result.failed.items():
            self._scheduler.finish(sequence, keep_prefix=False)
            # The library's message is in the log; a client sees this one.
            own = isinstance(error, RequestFailedError)
            shown = error if own else RequestFailedError(_ENCODING_FAILED)
            self._emit(sequence, shown)
        tokens = {sequence: token.token_id for sequence, token in result.sampled.items()}
        self._scheduler.update(output, tokens, result.scored)
        for sequence, seconds in result.encode_seconds.items():
            if sequence in self._outputs:
                self._outputs[sequence][0].encode_seconds += seconds
                self._outputs[sequence][0].encoded_media += result.encoded[sequence]
        for sequence, token in result.sampled.items():
            try:
                self._push(sequence, token)
            except Exception:
                _log.exception("reading the tokens of %s failed", sequence.request.request_id)
                self._scheduler.finish(sequence)
                self._emit(sequence, RequestFailedError("the engine failed in this request's text"))
        for sequence in result.scored:
            if sequence.is_scored:
                self._end_scoring(sequence)
        self._steps += 1

    def _end_scoring(self, sequence: Sequence) -> None:
        item: GenerationChunk | Exception
        try:
            item = self._outputs[sequence][0].score()
        except Exception:
            _log.exception("reading the scores of %s failed", sequence.request.request_id)
            item = RequestFailedError("the engine failed in this request's scores")
        else:
            self._prompt_tokens += sequence.num_prompt_tokens
        self._scheduler.finish(sequence)
        self._emit(sequence, item)

    def _push(self, sequence: Sequence, token: SampledToken) -> None:
        output = self._outputs[sequence][0]
        self._generation_tokens += 1
        if sequence.num_output_tokens == 1:
            self._prompt_tokens += sequence.num_prompt_tokens
        chunk = output.push(token.token_id, token.logprob, token.top)
        if chunk.finish_reason is not None:
            self._scheduler.finish(sequence)
        due = output.hold(chunk)
        if due is not None:
            self._emit(sequence, due)

    def _emit(self, sequence: Sequence, item: GenerationChunk | Exception) -> None:
        output, stream = self._outputs[sequence]
        if isinstance(item, Exception) and (held := output.take_held()) is not None:
            self._outbox.append((stream, held))
        self._outbox.append((stream, item))
        if isinstance(item, Exception) or item.finish_reason is not None:
            del self._outputs[sequence]
