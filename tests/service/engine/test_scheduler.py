"""Properties of the queues and of the KV accounting, without a model."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamm_model.sampling_params import SamplingParams
from service.engine.base import GenerationRequest, PromptTooLongError, QueueFullError
from service.engine.kv.block_manager import BlockManager, LoadBlocks, ReleaseSlot, SaveBlocks
from service.engine.kv.prefix_cache import PrefixCache
from service.engine.scheduler import Scheduler
from service.engine.scheduler_output import SchedulerOutput
from service.engine.sequence import Sequence, SequenceStatus

BLOCK = 4


class Cluster:
    """A scheduler driven as the engine drives it; its KV cache holds token ids, to check reads."""

    def __init__(
        self,
        *,
        seqs: int = 4,
        budget: int = 8,
        slots: int = 4,
        blocks: int = 12,
        store: int = 6,
        **limits: Any,
    ) -> None:
        self.seqs, self.budget, self.num_blocks = seqs, budget, blocks
        self.blocks = BlockManager(slots, blocks, BLOCK)
        self.scheduler = Scheduler(
            max_num_seqs=seqs,
            max_num_batched_tokens=budget,
            max_model_len=40,
            max_waiting_requests=limits.get("requests", 1000),
            max_waiting_tokens=limits.get("tokens", 100_000),
            block_manager=self.blocks,
            prefix_cache=PrefixCache(store) if store else None,
        )
        self.slots: dict[int, dict[int, int]] = {slot: {} for slot in range(slots)}
        self.store: dict[int, list[int]] = {}
        self.rng = random.Random(0)
        self.arrivals = 0
        self.now = 0.0

    def sequence(
        self,
        prompt: list[int],
        priority: int = 0,
        continuation: tuple[int, ...] = (),
        **params: Any,
    ) -> Sequence:
        self.arrivals += 1
        request = GenerationRequest(
            str(self.arrivals), tuple(prompt), SamplingParams(**params), (), priority,
            continuation_token_ids=continuation,
        )  # fmt: skip
        return Sequence(request, self.arrivals, 0, self.now, 1.0)

    def add(
        self,
        prompt: list[int],
        priority: int = 0,
        continuation: tuple[int, ...] = (),
        **params: Any,
    ) -> Sequence:
        sequence = self.sequence(prompt, priority, continuation, **params)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> SchedulerOutput:
        output = self.scheduler.schedule()
        self._transfer(output.transfers)
        assert sum(chunk.num_tokens for chunk in output.chunks) <= self.budget
        assert len({chunk.sequence for chunk in output.chunks}) == len(output.chunks)
        singles = [chunk.slot for chunk in output.chunks if chunk.num_tokens == 1]
        assert singles == sorted(singles)
        tokens, logprobs = {}, {}
        for chunk in output.chunks:
            ids, rows = chunk.sequence.token_ids, self.slots[chunk.slot]
            end = chunk.start + chunk.num_tokens
            rows.update({i: ids[i] for i in range(chunk.start, end)})
            # All that a chunk attends must be this sequence's, wherever it came from.
            assert [rows[i] for i in range(end)] == ids[:end]
            if chunk.samples:
                assert end == len(ids)
                tokens[chunk.sequence] = self.rng.randrange(2)
            elif chunk.num_logits:
                # A stand-in for the logits at a position: the position itself.
                logprobs[chunk.sequence] = [float(i) for i in range(end - chunk.num_logits, end)]
        self.scheduler.update(output, tokens, logprobs)
        for sequence in logprobs:
            if sequence.is_scored:
                self.scheduler.finish(sequence)
        for sequence in tokens:
            full = len(sequence.token_ids) >= self.scheduler.max_len
            if full or sequence.num_output_tokens >= sequence.request.sampling_params.max_tokens:
                self.scheduler.finish(sequence)
        self.check()
        return output

    def _transfer(self, transfers: Any) -> None:
        for transfer in transfers:
            rows = self.slots[transfer.slot]
            if isinstance(transfer, SaveBlocks):
                for i, block in enumerate(transfer.blocks, transfer.first_block):
                    self.store[block] = [rows[i * BLOCK + j] for j in range(BLOCK)]
            elif isinstance(transfer, LoadBlocks):
                for i, block in enumerate(transfer.blocks):
                    rows.update({i * BLOCK + j: self.store[block][j] for j in range(BLOCK)})
            else:
                assert isinstance(transfer, ReleaseSlot)
                rows.clear()

    def check(self) -> None:
        running, waiting = self.scheduler.running, self.scheduler.waiting
        assert not set(running) & set(waiting)
        assert len(set(running)) == len(running) <= self.seqs
        assert all(s.status is SequenceStatus.RUNNING and s.slot is not None for s in running)
        assert all(s.status is SequenceStatus.WAITING and s.slot is None for s in waiting)
        assert len({s.slot for s in running}) == len(running)
        for queue in (running, waiting):
            assert queue == sorted(queue, key=lambda s: s.order)
        held = sum(self.blocks.held(s.slot) for s in running if s.slot is not None)
        assert held + self.blocks.num_free_blocks == self.num_blocks


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.integers(1, 30), st.integers(1, 12), st.integers(0, 2), st.booleans()
        ),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("abort"), st.integers(0, 30)),
    ),
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(events=events, blocks=st.integers(3, 16), store=st.integers(0, 8), budget=st.integers(4, 12))
def test_blocks_are_conserved_and_everything_admitted_finishes(
    events: Any, blocks: int, store: int, budget: int
) -> None:
    cluster = Cluster(blocks=blocks, store=store, budget=budget)
    alive: list[Sequence] = []
    for event in events:
        if event[0] == "add":
            # Few distinct tokens, so that prefixes are shared.
            prompt = [i % 3 for i in range(event[1])]
            # Some are scored instead; an option of length 1 adds nothing to the cache.
            option = (7,) * event[2] if event[4] else ()
            length = len(prompt) + len(option[1:])
            if length < cluster.scheduler.max_len:
                alive.append(cluster.add(prompt, event[3], option, max_tokens=event[2]))
            else:
                with pytest.raises(PromptTooLongError, match=f"{length} tokens; the limit"):
                    cluster.add(prompt, event[3], option)
        elif event[0] == "step":
            for _ in range(event[1]):
                cluster.step()
        elif alive:
            sequence = alive.pop(event[1] % len(alive))
            cluster.scheduler.finish(sequence)
            assert sequence.status is SequenceStatus.FINISHED
            cluster.check()
    for _ in range(4000):
        if not cluster.scheduler.has_work:
            break
        cluster.step()
    assert not cluster.scheduler.has_work
    assert all(sequence.status is SequenceStatus.FINISHED for sequence in alive)
    for sequence in (s for s in alive if s.is_scoring):
        # Each position once and in order, however it was cut, cached and preempted.
        start = sequence.num_prompt_tokens - 1
        count = len(sequence.request.continuation_token_ids)
        assert sequence.continuation_logprobs == [float(start + i) for i in range(count)]
    assert cluster.blocks.num_free_blocks == blocks
    assert cluster.scheduler.kv_cache_usage == 0


def test_prefill_comes_in_chunks_and_does_not_stall_decoding() -> None:
    cluster = Cluster(budget=8, blocks=30)
    first = cluster.add([1, 2, 3], max_tokens=20)
    cluster.step()
    long = cluster.add(list(range(24)), max_tokens=2)
    sizes = []
    while long.num_output_tokens == 0:
        before = first.num_output_tokens
        output = cluster.step()
        assert first.num_output_tokens == before + 1
        sizes += [c.num_tokens for c in output.chunks if c.sequence is long]
    assert sizes == [7, 7, 7, 3]


def test_a_prompt_whose_last_chunk_is_one_token_is_shared_while_it_is_answered() -> None:
    cluster = Cluster(budget=8, blocks=30)
    first = cluster.add(list(range(9)), max_tokens=20)
    for _ in range(2):
        cluster.step()
    assert first.num_output_tokens == 1
    second = cluster.add(list(range(9)), max_tokens=20)
    cluster.step()
    assert second.cached_tokens == 8


def test_first_come_first_served_within_a_priority() -> None:
    cluster = Cluster(seqs=1, slots=1, blocks=30)
    names = {cluster.add([i, 1], priority=p, max_tokens=1): i for i, p in enumerate([1, 0, 1, 0])}
    served = []
    while cluster.scheduler.has_work:
        served += [names[c.sequence] for c in cluster.step().chunks]
    assert served == [1, 3, 0, 2]


def test_the_latest_of_the_lowest_priority_is_preempted() -> None:
    cluster = Cluster(blocks=7, store=0, budget=16)
    early = cluster.add([1] * 4, priority=0, max_tokens=12)
    late = cluster.add([2] * 4, priority=0, max_tokens=12)
    low = cluster.add([3] * 4, priority=5, max_tokens=12)
    gone = []
    while not cluster.scheduler.preemptions_total:
        cluster.step()
    gone = [s for s in (early, late, low) if s.status is SequenceStatus.WAITING]
    assert gone == [low]
    assert low.num_output_tokens > 0


def test_a_head_that_does_not_fit_is_not_overtaken() -> None:
    cluster = Cluster(blocks=8, budget=40, store=0)
    cluster.add([1] * 12, max_tokens=4)
    cluster.step()
    big, small = cluster.add([2] * 24), cluster.add([3] * 2)
    cluster.step()
    assert [big, small] == cluster.scheduler.waiting


def test_bounds_of_the_queue() -> None:
    cluster = Cluster(seqs=1, slots=1, requests=1, tokens=10)
    cluster.add([1] * 3, max_tokens=30)
    cluster.step()
    cluster.add([1] * 8)
    with pytest.raises(QueueFullError, match="1 requests are waiting; the limit is 1"):
        cluster.add([1])
    roomy = Cluster(seqs=1, slots=1, tokens=10)
    roomy.add([1] * 8)
    with pytest.raises(QueueFullError, match="8 tokens are waiting; the limit is 10"):
        roomy.add([1] * 3)


def test_failed_steps_leave_nothing_behind() -> None:
    cluster = Cluster(blocks=20)
    running = [cluster.add([i] * 6) for i in range(3)]
    cluster.step()
    cluster.step()
    failed = cluster.scheduler.discard_running()
    assert set(failed) <= set(running)
    assert failed
    for sequence in set(running) - set(failed):
        cluster.scheduler.finish(sequence)
    # What is left is to give the slots' memory back.
    cluster.step()
    assert not cluster.scheduler.has_work
    assert cluster.blocks.num_free_blocks == 20


def test_block_manager_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(ValueError, match="0 blocks"):
        BlockManager(1, 0, 16)
    blocks = BlockManager(2, 3, 16)
    assert blocks.admit(17) == 0
    with pytest.raises(ValueError, match="2 blocks are needed; 1 blocks"):
        blocks.admit(17)
    assert not blocks.grow(0, 16 * 4)
    assert blocks.grow(0, 16 * 3)
    blocks.free(0)
    with pytest.raises(KeyError):
        blocks.free(0)


@settings(max_examples=100, deadline=None)
@given(
    chains=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), max_size=20),
    size=st.integers(0, 7),
)
def test_prefix_cache_gives_back_what_was_put_in(chains: Any, size: int) -> None:
    cache, contents = PrefixCache(size), {}
    for chain in chains:
        hashes = [bytes(chain[: i + 1]) for i in range(len(chain))]
        first, blocks = cache.insert(hashes)
        assert len(set(blocks)) == len(blocks)
        contents.update({b: hashes[first + i] for i, b in enumerate(blocks)})
        assert len(cache) <= size
        found = cache.match(hashes)
        assert len(found) == min(len(hashes), size)
        assert [contents[block] for block in found] == hashes[: len(found)]
    cache.clear()
    assert len(cache) == 0
    assert cache.match([b"\x00"]) == []
