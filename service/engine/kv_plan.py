"""How a memory budget becomes slots and blocks. Torch-free; called by the model runner."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from service.engine.config import EngineConfig, EngineConfigError

BLOCK_SIZE = 16
# Share of the budget that keeps finished prefixes when prefix caching is on.
_STORE_SHARE = 0.25
# Share of free memory taken when no budget is given: a GPU is ours alone, a host is not.
_FREE_SHARE_CPU, _FREE_SHARE_CUDA = 0.4, 0.8


@dataclass(frozen=True, slots=True)
class KVPlan:
    """Sizes of the KV cache: `num_blocks` bounds what running sequences hold together."""

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
) -> KVPlan:
    """Divides the budget.

    Args:
        config: the limits asked for.
        model_max_len: the context that the checkpoint was made for, tokens.
        bytes_per_token: K and V of one position over all layers.
        free_bytes: memory free on the device once the weights are loaded.
        preallocated: slots take their whole memory at once (CUDA), not as they fill (CPU).

    Raises:
        EngineConfigError: the context asked for is longer than the model's, or the budget does not
            hold it once: a context shorter than the one that clients are told would fail them.
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
        share = _FREE_SHARE_CUDA if preallocated else _FREE_SHARE_CPU
        budget = int(free_bytes * share)
    budget_blocks = budget // block_bytes
    if budget_blocks < slot_blocks:
        raise EngineConfigError(_too_small(config, budget, max_len, block_bytes))
    # Finished prefixes get their share of what one whole context leaves.
    store_share = _STORE_SHARE if config.enable_prefix_caching else 0.0
    running = max(int(budget * (1 - store_share)) // block_bytes, slot_blocks)
    # Beyond all sequences at full length memory is of no use to running ones.
    num_blocks = min(running, config.max_num_seqs * slot_blocks)
    slots = config.max_num_seqs
    if preallocated:
        slots = min(slots, num_blocks // slot_blocks)
        num_blocks = slots * slot_blocks
    # A store four times what can run at once is more than any step could want back.
    store = min(
        int(budget * store_share) // block_bytes,
        budget_blocks - num_blocks,
        4 * config.max_num_seqs * slot_blocks,
    )
    return KVPlan(slots, max_len, num_blocks, store)


def available_host_bytes() -> int:
    """Memory that this process may still take: the host's free pages, within its cgroup's limit."""
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
    source = "is" if config.kv_cache_bytes is not None else "would be, by the free memory,"
    shorter = f", or max_model_len {room} at most" if room else ""
    return (
        f"kv_cache_bytes {source} {budget}, which holds {room} tokens; one context of {max_len} "
        f"tokens needs {needed} bytes: set kv_cache_bytes to {needed} at least{shorter}"
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
