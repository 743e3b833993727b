"""The memory to serve a checkpoint, and the requests that fit beside its weights.

The engine divides a GPU by the same shares (`service.engine.kv.plan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30
# Share of the memory that the weights leave which the KV cache takes; the rest is for activations,
# the allocator and the CUDA context. A GPU is not shared with other programs, a host is.
KV_SHARE_CUDA, KV_SHARE_CPU = 0.8, 0.4
# Share of the KV cache for finished prefixes, with prefix caching.
PREFIX_SHARE = 0.25
# Tokens per block of the KV cache.
BLOCK_SIZE = 16
# Bytes per number, for each dtype that the engine loads.
_WIDTHS: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class ServingMemory:
    """Memory to serve a checkpoint in one dtype."""

    dtype: str
    weights_bytes: int
    kv_bytes_per_token: int

    def requests(self, gpu_bytes: float, context: int) -> int:
        """Requests of `context` tokens that the engine runs at once on a GPU, by default."""
        room = int(max(0.0, gpu_bytes - self.weights_bytes) * KV_SHARE_CUDA)
        blocks = room // (BLOCK_SIZE * self.kv_bytes_per_token)
        request_blocks = -(-context // BLOCK_SIZE)
        if blocks < request_blocks:
            return 0
        return max(1, int(blocks * (1 - PREFIX_SHARE)) // request_blocks)


def serving_memory(parameters: int, text_config: Mapping[str, int | None]) -> list[ServingMemory]:
    """One entry per dtype.

    Args:
        parameters: all of the checkpoint's.
        text_config: `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`,
            `hidden_size`, `head_dim`.
    """
    heads = int(text_config["num_attention_heads"] or 1)
    kv_heads = int(text_config.get("num_key_value_heads") or heads)
    head_dim = int(text_config.get("head_dim") or int(text_config["hidden_size"] or 0) // heads)
    kv_numbers = 2 * int(text_config["num_hidden_layers"] or 0) * kv_heads * head_dim
    return [
        ServingMemory(dtype, parameters * width, kv_numbers * width)
        for dtype, width in _WIDTHS.items()
    ]
