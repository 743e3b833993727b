"""The KV tensors of one engine: allocated at its start, filled and emptied by transfers."""

from __future__ import annotations

import functools
from collections.abc import Sequence as Seq

import torch

from lamm_model.checkpoint.serving_memory import BLOCK_SIZE
from lamm_model.decoder.kv_cache import KVCache, KVCacheShape
from lamm_model.decoder.llama import LlamaDecoder
from service.engine.config import EngineConfig, MemoryShare
from service.engine.device import recover, weights_bytes
from service.engine.isolation import run_isolated
from service.engine.kv.block_manager import KVTransfer, LoadBlocks, SaveBlocks
from service.engine.kv.plan import available_host_bytes, plan_kv_cache


class KVTensors:
    """The KV cache and its plan; `nbytes` is its size."""

    def __init__(
        self,
        decoder: LlamaDecoder,
        config: EngineConfig,
        memory: MemoryShare,
        max_len: int,
        reserved_bytes: int = 0,
    ) -> None:
        """Allocates from the rest of the memory budget; `reserved_bytes` of it stay free.

        Raises:
            EngineConfigError: the budget is too small.
        """
        self._device, dtype = decoder.device, decoder.dtype
        heads, dim = decoder.num_kv_heads, decoder.head_dim
        num_layers = int(decoder.config.num_hidden_layers)
        on_cuda = self._device.type == "cuda"
        free = torch.cuda.mem_get_info(self._device)[0] if on_cuda else available_host_bytes()
        later = sum(weights_bytes(base, dtype) for base in memory.load_later)
        # On a GPU an engine's memory is allocated at once; on a host only as it is used.
        sharing = len(memory.load_later) + 1 if on_cuda else memory.num_engines
        free = max(0, free - later) // sharing
        per_token = 2 * num_layers * heads * dim * dtype.itemsize
        plan = plan_kv_cache(config, max_len, per_token, free, on_cuda, reserved_bytes)
        shape = KVCacheShape(
            num_layers=num_layers,
            num_kv_heads=heads,
            head_dim=dim,
            num_slots=plan.num_slots,
            max_len=plan.max_model_len,
            block_size=BLOCK_SIZE,
            num_store_blocks=plan.num_store_blocks,
            dtype=dtype,
        )
        self.plan, self.cache = plan, KVCache(shape, self._device)
        num_blocks = plan.num_blocks + plan.num_store_blocks
        self.nbytes = shape.bytes_per_token * BLOCK_SIZE * num_blocks

    def transfer_all(self, transfers: Seq[KVTransfer]) -> set[int]:
        """Moves blocks, in order; returns the slots whose blocks could not be loaded."""
        empty: set[int] = set()
        give_back = functools.partial(recover, self._device)
        for transfer in transfers:
            failed = run_isolated([transfer], lambda part: self._transfer(part[0]), give_back)
            for lost, error in failed:
                if not isinstance(lost, LoadBlocks):
                    # The store's contents would not match its hashes.
                    raise error
                empty.add(lost.slot)
        return empty

    def _transfer(self, transfer: KVTransfer) -> None:
        if isinstance(transfer, SaveBlocks):
            self.cache.save(transfer.slot, transfer.first_block, transfer.blocks)
        elif isinstance(transfer, LoadBlocks):
            self.cache.load(transfer.slot, transfer.blocks)
        else:
            self.cache.release(transfer.slot)
