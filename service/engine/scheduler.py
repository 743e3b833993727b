"""Continuous batching: decides what the next step computes, and who waits. Torch-free.

`schedule` runs before a step, `update` and `finish` after it. Sequences join and leave at every
step. Decode tokens come first, so that a long prompt never stalls a running answer; the rest of the
step's token budget goes to prompts, in chunks.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Mapping
from collections.abc import Sequence as Seq

from service.engine.base import PromptTooLongError, QueueFullError
from service.engine.kv.block_manager import (
    BlockManager,
    KVTransfer,
    LoadBlocks,
    ReleaseSlot,
    SaveBlocks,
)
from service.engine.kv.prefix_cache import PrefixCache
from service.engine.scheduler_output import ScheduledChunk, SchedulerOutput
from service.engine.sequence import Sequence, SequenceStatus


class Scheduler:
    """The waiting and the running queue; only the scheduler changes a `Sequence`."""

    def __init__(
        self,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        max_model_len: int,
        max_waiting_requests: int,
        max_waiting_tokens: int,
        block_manager: BlockManager,
        prefix_cache: PrefixCache | None,
    ) -> None:
        self._max_num_seqs = max_num_seqs
        self._max_num_batched_tokens = max_num_batched_tokens
        self._max_waiting_requests = max_waiting_requests
        self._max_waiting_tokens = max_waiting_tokens
        self._blocks = block_manager
        self._prefix_cache = prefix_cache
        self.max_len = min(max_model_len, block_manager.num_blocks * block_manager.block_size)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._transfers: list[KVTransfer] = []
        self.preemptions_total = 0
        self.prefix_queries_total = 0
        self.prefix_hits_total = 0

    def add(self, sequence: Sequence) -> None:
        """Queues a new sequence.

        Raises:
            PromptTooLongError: it leaves no room for a token in the context or the KV cache; a
                continuation to be scored counts, except for its last token.
            QueueFullError: too many requests or tokens are waiting.
        """
        length = len(sequence.token_ids)
        if length >= self.max_len:
            raise PromptTooLongError(length, self.max_len - 1)
        # Sequences that get a free seat in the next step do not count as waiting.
        seats = self._max_num_seqs - len(self.running)
        if len(self.waiting) - seats >= self._max_waiting_requests:
            raise QueueFullError(len(self.waiting), self._max_waiting_requests, "requests")
        tokens = sum(len(waiting.token_ids) for waiting in self.waiting)
        if self.waiting and tokens + length > self._max_waiting_tokens:
            raise QueueFullError(tokens, self._max_waiting_tokens, "tokens")
        bisect.insort(self.waiting, sequence, key=_order)

    def schedule(self) -> SchedulerOutput:
        """Decides the next step; sequences that do not fit are preempted or keep waiting."""
        budget = self._max_num_batched_tokens
        chunks, preempted = self._schedule_decodes()
        budget -= len(chunks)
        for sequence in self.running:
            if budget and sequence.num_uncomputed_tokens > 1:
                chunks.append(self._chunk(sequence, budget))
                budget -= chunks[-1].num_tokens
        while budget and not preempted and self._head_fits():
            chunks.append(self._chunk(self._admit(), budget))
            budget -= chunks[-1].num_tokens
        # The attention plan needs single tokens first, by slot, and then longer chunks.
        chunks.sort(key=lambda chunk: (chunk.num_tokens > 1, chunk.slot))
        transfers, self._transfers = tuple(self._transfers), []
        return SchedulerOutput(transfers, tuple(chunks))

    def update(
        self,
        output: SchedulerOutput,
        tokens: Mapping[Sequence, int],
        logprobs: Mapping[Sequence, Seq[float]],
    ) -> None:
        """Applies a step's result.

        Args:
            tokens: the sampled tokens.
            logprobs: the next log-probabilities of scoring sequences' continuations.
        """
        now = time.monotonic()
        for chunk in output.chunks:
            sequence = chunk.sequence
            if sequence.status is not SequenceStatus.RUNNING:
                continue
            sequence.num_computed_tokens = chunk.start + chunk.num_tokens
            if not chunk.num_logits:
                continue
            if sequence.first_token_at is None:
                sequence.first_token_at = now
            # A prompt's last chunk may be a single token, like each chunk of an answer.
            if chunk.num_tokens > 1 or chunk.start < sequence.num_given_tokens:
                # Others can reuse the prompt from now on, while this answer is still being
                # generated.
                self._save_prefix(sequence)
            if chunk.samples:
                sequence.token_ids.append(tokens[sequence])
            else:
                sequence.continuation_logprobs += logprobs[sequence]

    def finish(self, sequence: Sequence, keep_prefix: bool = True) -> None:
        """Ends a sequence, finished or aborted, in any state; a second call has no effect.

        `keep_prefix` is False for a failed sequence, whose cache contents must not be reused.
        """
        if sequence.status is SequenceStatus.RUNNING:
            self._leave_slot(sequence, keep_prefix)
        elif sequence.status is SequenceStatus.WAITING:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED

    def discard_running(self) -> list[Sequence]:
        """Ends all running sequences after a failed step; the cached prefixes are discarded too."""
        failed, self.running = self.running, []
        self._transfers.clear()
        for sequence in failed:
            assert sequence.slot is not None
            self._blocks.free(sequence.slot)
            self._transfers.append(ReleaseSlot(sequence.slot))
            sequence.slot, sequence.status = None, SequenceStatus.FINISHED
        if self._prefix_cache is not None:
            self._prefix_cache.clear()
        return failed

    @property
    def has_work(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.running or self.waiting or self._transfers)

    @property
    def kv_cache_usage(self) -> float:
        """Share of KV blocks held by running sequences, 0 to 1."""
        return self._blocks.usage

    def _schedule_decodes(self) -> tuple[list[ScheduledChunk], bool]:
        chunks: list[ScheduledChunk] = []
        preempted = False
        # In queue order; victims are taken from the end, so none has been scheduled yet.
        for sequence in list(self.running):
            if sequence.num_uncomputed_tokens > 1:
                continue
            while sequence.slot is not None:
                if self._blocks.grow(sequence.slot, len(sequence.token_ids)):
                    chunks.append(self._chunk(sequence, 1))
                    break
                self._preempt(self.running[-1])
                preempted = True
        return chunks, preempted

    def _chunk(self, sequence: Sequence, budget: int) -> ScheduledChunk:
        assert sequence.slot is not None
        start = sequence.num_computed_tokens
        count = min(budget, sequence.num_uncomputed_tokens)
        num_logits = start + count - max(start, sequence.first_logit_position)
        return ScheduledChunk(sequence, sequence.slot, start, count, max(0, num_logits))

    def _head_fits(self) -> bool:
        if not self.waiting or len(self.running) >= self._max_num_seqs:
            return False
        # One spare block per running sequence, or the new one might be preempted in the next step.
        return self._blocks.can_admit(len(self.waiting[0].token_ids), reserve=len(self.running))

    def _admit(self) -> Sequence:
        sequence = self.waiting.pop(0)
        sequence.slot = self._blocks.admit(len(sequence.token_ids))
        sequence.status = SequenceStatus.RUNNING
        bisect.insort(self.running, sequence, key=_order)
        cached = self._load_prefix(sequence)
        sequence.num_computed_tokens = cached
        if sequence.scheduled_at is None:
            sequence.scheduled_at, sequence.cached_tokens = time.monotonic(), cached
        return sequence

    def _preempt(self, sequence: Sequence) -> None:
        self._leave_slot(sequence)
        sequence.num_computed_tokens = 0
        sequence.status = SequenceStatus.WAITING
        bisect.insort(self.waiting, sequence, key=_order)
        self.preemptions_total += 1

    def _leave_slot(self, sequence: Sequence, keep_prefix: bool = True) -> None:
        assert sequence.slot is not None
        if keep_prefix:
            self._save_prefix(sequence)
        self._blocks.free(sequence.slot)
        self._transfers.append(ReleaseSlot(sequence.slot))
        sequence.slot = None
        self.running.remove(sequence)

    def _load_prefix(self, sequence: Sequence) -> int:
        """Loads the sequence's cached prefix; returns the number of tokens that need not be
        computed.
        """
        if self._prefix_cache is None:
            return 0
        size = self._blocks.block_size
        # Positions whose logits are needed are always computed.
        count = sequence.first_logit_position // size
        found = self._prefix_cache.match(sequence.block_hashes(count, size))
        self.prefix_queries_total += len(sequence.token_ids)
        self.prefix_hits_total += len(found) * size
        if found:
            assert sequence.slot is not None
            self._transfers.append(LoadBlocks(sequence.slot, tuple(found)))
        return len(found) * size

    def _save_prefix(self, sequence: Sequence) -> None:
        if self._prefix_cache is None:
            return
        size = self._blocks.block_size
        hashes = sequence.block_hashes(sequence.num_computed_tokens // size, size)
        first, blocks = self._prefix_cache.insert(hashes)
        if blocks:
            assert sequence.slot is not None
            self._transfers.append(SaveBlocks(sequence.slot, first, tuple(blocks)))


def _order(sequence: Sequence) -> tuple[float, int]:
    return sequence.order
