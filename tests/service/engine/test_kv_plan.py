"""Memory budgets and limits as numbers."""

from __future__ import annotations

from typing import Any

import pytest

from service.engine.config import BatchSizes, EngineConfig, EngineConfigError
from service.engine.kv.plan import KVPlan, available_host_bytes, plan_kv_cache

MIB = 1 << 20


def test_a_budget_is_divided_between_running_sequences_and_prefixes() -> None:
    config = EngineConfig(kv_cache_bytes=64 * MIB, max_num_seqs=32)
    plan = plan_kv_cache(config, 2048, 4096, 0, preallocated=False)
    assert plan == KVPlan(num_slots=32, max_model_len=2048, num_blocks=768, num_store_blocks=256)


def test_without_prefix_caching_all_of_it_runs() -> None:
    config = EngineConfig(kv_cache_bytes=64 * MIB, enable_prefix_caching=False)
    assert plan_kv_cache(config, 2048, 4096, 0, False) == KVPlan(32, 2048, 1024, 0)


def test_more_than_all_seats_could_use_is_not_taken() -> None:
    config = EngineConfig(max_num_seqs=2, max_model_len=128)
    assert plan_kv_cache(config, 2048, 1024, 1 << 40, False) == KVPlan(2, 128, 16, 64)


@pytest.mark.parametrize("preallocated", [False, True])
@pytest.mark.parametrize("caching", [False, True])
def test_a_budget_below_one_context_is_refused_with_both_numbers(
    preallocated: Any, caching: Any
) -> None:
    """A context cut short unsaid would refuse prompts of the length that clients were told."""
    given = {"enable_prefix_caching": caching}
    config = EngineConfig(kv_cache_bytes=MIB, **given)
    with pytest.raises(EngineConfigError) as caught:
        plan_kv_cache(config, 2048, 4096, 0, preallocated)
    assert str(caught.value) == (
        "kv_cache_bytes is 1048576, which holds 256 tokens; one context of 2048 tokens needs "
        "8388608 bytes: set kv_cache_bytes to at least 8388608, or max_model_len to at most 256"
    )
    with pytest.raises(EngineConfigError, match="set kv_cache_bytes to at least 8388608"):
        plan_kv_cache(EngineConfig(kv_cache_bytes=8388607, **given), 2048, 4096, 0, preallocated)
    # Both ways out are as good as the message says.
    whole = plan_kv_cache(
        EngineConfig(kv_cache_bytes=8388608, **given), 2048, 4096, 0, preallocated
    )
    assert (whole.max_model_len, whole.num_blocks, whole.num_store_blocks) == (2048, 128, 0)
    short = EngineConfig(kv_cache_bytes=MIB, max_model_len=256, **given)
    plan = plan_kv_cache(short, 2048, 4096, 0, preallocated)
    assert (plan.max_model_len, plan.num_blocks) == (256, 16)


def test_a_machine_without_the_memory_for_one_context_is_told_so() -> None:
    with pytest.raises(EngineConfigError, match="would be, from free memory, 419430, which"):
        plan_kv_cache(EngineConfig(), 2048, 4096, MIB, False)


def test_prefixes_get_what_one_context_leaves() -> None:
    config = EngineConfig(kv_cache_bytes=9 * MIB)
    assert plan_kv_cache(config, 2048, 4096, 0, False) == KVPlan(32, 2048, 128, 16)


def test_preallocated_slots_are_as_many_as_fit() -> None:
    config = EngineConfig(kv_cache_bytes=64 * MIB, enable_prefix_caching=False)
    assert plan_kv_cache(config, 512, 4096, 0, True) == KVPlan(32, 512, 1024, 0)
    assert plan_kv_cache(config, 1500, 4096, 0, True) == KVPlan(10, 1500, 940, 0)


def test_impossible_sizes_are_refused_with_their_numbers() -> None:
    with pytest.raises(
        EngineConfigError, match="max_model_len is 4096; the model's context is 2048"
    ):
        plan_kv_cache(EngineConfig(max_model_len=4096), 2048, 4096, MIB, False)
    with pytest.raises(
        EngineConfigError, match=r"holds 0 tokens; one context of 2048 .* to at least 8388608$"
    ):
        plan_kv_cache(EngineConfig(kv_cache_bytes=65535), 2048, 4096, MIB, False)
    with pytest.raises(
        EngineConfigError, match="max_num_batched_tokens is 8; it must be at least 16"
    ):
        EngineConfig(max_num_seqs=16, max_num_batched_tokens=8)
    with pytest.raises(EngineConfigError, match="num_threads is 0"):
        EngineConfig(num_threads=0)
    with pytest.raises(ValueError, match="'float8'"):
        EngineConfig(dtype="float8")  # type: ignore[arg-type]


def test_free_memory_is_a_plausible_number() -> None:
    assert MIB < available_host_bytes() < 1 << 50


def test_memory_that_steps_need_is_left_free() -> None:
    config = EngineConfig(max_num_seqs=256, enable_prefix_caching=False)
    # 80 % of free memory leaves 200 MiB, which suffice for a step of 100 MiB and not for 600 MiB.
    usual = plan_kv_cache(config, 64, 65536, 1000 * MIB, True, 100 * MIB)
    assert usual == plan_kv_cache(config, 64, 65536, 1000 * MIB, True) == KVPlan(200, 64, 800, 0)
    assert plan_kv_cache(config, 64, 65536, 1000 * MIB, True, 600 * MIB).num_slots == 100
    with pytest.raises(EngineConfigError, match="would be, from free memory, 0,"):
        plan_kv_cache(config, 64, 65536, 1000 * MIB, True, 1001 * MIB)
    given = EngineConfig(kv_cache_bytes=8 * MIB, enable_prefix_caching=False)
    assert plan_kv_cache(given, 64, 65536, 8 * MIB, True, 8 * MIB).num_slots == 2


@pytest.mark.parametrize(
    ("on_cuda", "given", "sizes"),
    [
        (False, (None, None), (32, 512)),
        (True, (None, None), (256, 2048)),
        (True, (8, None), (8, 2048)),
        (True, (None, 64), (64, 64)),
        (False, (1000, None), (1000, 1000)),
        (True, (4, 16), (4, 16)),
    ],
)
def test_batch_sizes_depend_on_the_device_and_never_contradict_one_that_is_given(
    on_cuda: bool, given: tuple[int | None, int | None], sizes: tuple[int, int]
) -> None:
    assert BatchSizes.of_device(on_cuda, *given) == BatchSizes(*sizes)
