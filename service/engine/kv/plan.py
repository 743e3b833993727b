"""Divides a memory budget into slots and blocks. Torch-free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lamm_model.checkpoint.serving_memory import (
    BLOCK_SIZE,
    KV_SHARE_CPU,
    KV_SHARE_CUDA,
    PREFIX_SHARE,
)
from service.engine.config import EngineConfig, EngineConfigError


@dataclass(frozen=True, slots=True)
class KVPlan:
    """Sizes of the KV cache: `num_blocks` limits what running sequences hold together."""

    num_slots: int
    max_model_len: int
    num_blocks: int
    num_store_blocks: int


def plan_kv_cache(
    config: EngineConfig,
    model_max_len: int,
    bytes_per_token: int,
    free_bytes: int,
    preallocated: bool,
    reserved_bytes: int = 0,
) -> KVPlan:
    """Divides the budget.

    Args:
        config: the requested limits.
        model_max_len: the checkpoint's context length in tokens.
        bytes_per_token: K and V of one position over all layers.
        free_bytes: free memory of the device after loading the weights.
        preallocated: whether slots are allocated at once (CUDA) or as they fill (CPU).
        reserved_bytes: free memory that steps need; a budget from free memory leaves it.

    Raises:
        EngineConfigError: the requested context is longer than the model's, or the budget cannot
            hold it once: requests within the announced context would fail.
    """
    if config.max_model_len is not None and config.max_model_len > model_max_len:
        raise EngineConfigError(
            f"max_model_len is {config.max_model_len}; the model's context is {model_max_len}"
        )
    max_len = config.max_model_len or model_max_len
    slot_blocks = -(-max_len // BLOCK_SIZE)
    block_bytes = BLOCK_SIZE * bytes_per_token
    budget = config.kv_cache_bytes
    if budget is None:
        share = KV_SHARE_CUDA if preallocated else KV_SHARE_CPU
        budget = min(int(free_bytes * share), max(0, free_bytes - reserved_bytes))
    budget_blocks = budget // block_bytes
    if budget_blocks < slot_blocks:
        raise EngineConfigError(_too_small(config, budget, max_len, block_bytes))
    # Finished prefixes get their share of what one full context leaves.
    store_share = PREFIX_SHARE if config.enable_prefix_caching else 0.0
    running = max(int(budget * (1 - store_share)) // block_bytes, slot_blocks)
    # Running sequences cannot use more memory than all at full length.
    num_blocks = min(running, config.max_num_seqs * slot_blocks)
    slots = config.max_num_seqs
    if preallocated:
        slots = min(slots, num_blocks // slot_blocks)
        num_blocks = slots * slot_blocks
    # No step could load more than four times what runs at once.
    store = min(
        int(budget * store_share) // block_bytes,
        budget_blocks - num_blocks,
        4 * config.max_num_seqs * slot_blocks,
    )
    return KVPlan(slots, max_len, num_blocks, store)


def available_host_bytes() -> int:
    """Memory that this process may still use: the host's, within its cgroup's limit."""
    available = _meminfo_available()
    limit, used = (
        _read_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")
    )
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used))
    return available


def _too_small(config: EngineConfig, budget: int, max_len: int, block_bytes: int) -> str:
    needed = -(-max_len // BLOCK_SIZE) * block_bytes
    room = budget // block_bytes * BLOCK_SIZE
    source = "is" if config.kv_cache_bytes is not None else "would be, from free memory,"
    shorter = f", or max_model_len to at most {room}" if room else ""
    return (
        f"kv_cache_bytes {source} {budget}, which holds {room} tokens; one context of "
        f"{max_len} tokens needs {needed} bytes: set kv_cache_bytes to at least "
        f"{needed}{shorter}"
    )


def _meminfo_available() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
