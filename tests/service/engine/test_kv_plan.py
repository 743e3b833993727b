"""Memory budgets and limits as numbers."""

from __future__ import annotations

import pytest

from service.engine.config import EngineConfig, EngineConfigError
from service.engine.kv_plan import KVPlan, available_host_bytes, plan_kv_cache

MIB = 1 << 20


def test_a_budget_is_divided_between_running_sequences_and_prefixes():
    config = EngineConfig(kv_cache_bytes=64 * MIB, max_num_seqs=32)
    plan = plan_kv_cache(config, 2048, 4096, 0, preallocated=False)
    assert plan == KVPlan(num_slots=32, max_model_len=2048, num_blocks=768, num_store_blocks=256)


def test_without_prefix_caching_all_of_it_runs():
    config = EngineConfig(kv_cache_bytes=64 * MIB, enable_prefix_caching=False)
    assert plan_kv_cache(config, 2048, 4096, 0, False) == KVPlan(32, 2048, 1024, 0)


def test_more_than_all_seats_could_use_is_not_taken():
    config = EngineConfig(max_num_seqs=2, max_model_len=128)
    assert plan_kv_cache(config, 2048, 1024, 1 << 40, False) == KVPlan(2, 128, 16, 64)


def test_a_small_budget_shortens_the_context():
    config = EngineConfig(kv_cache_bytes=MIB, enable_prefix_caching=False)
    assert plan_kv_cache(config, 2048, 4096, 0, False) == KVPlan(32, 256, 16, 0)


def test_preallocated_slots_are_as_many_as_fit():
    config = EngineConfig(kv_cache_bytes=64 * MIB, enable_prefix_caching=False)
    assert plan_kv_cache(config, 512, 4096, 0, True) == KVPlan(32, 512, 1024, 0)
    assert plan_kv_cache(config, 1500, 4096, 0, True) == KVPlan(10, 1500, 940, 0)


def test_impossible_sizes_are_refused_with_their_numbers():
    with pytest.raises(
        EngineConfigError, match="max_model_len is 4096; the model's context is 2048"
    ):
        plan_kv_cache(EngineConfig(max_model_len=4096), 2048, 4096, MIB, False)
    with pytest.raises(EngineConfigError, match="takes 65536"):
        plan_kv_cache(EngineConfig(kv_cache_bytes=65535), 2048, 4096, MIB, False)
    with pytest.raises(
        EngineConfigError, match="max_num_batched_tokens is 8; it must be at least 16"
    ):
        EngineConfig(max_num_seqs=16, max_num_batched_tokens=8)
    with pytest.raises(EngineConfigError, match="num_threads is 0"):
        EngineConfig(num_threads=0)
    with pytest.raises(ValueError, match="'float8'"):
        EngineConfig(dtype="float8")


def test_free_memory_is_a_plausible_number():
    assert MIB < available_host_bytes() < 1 << 50
