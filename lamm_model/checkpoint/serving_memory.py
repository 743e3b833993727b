"""Estimates of the memory to serve a checkpoint, and of the requests that fit into it.

int8 and int4 apply to the weights of the decoder's matrices; everything else stays in float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1 << 30
# The rest is for activations, the allocator and the CUDA context.
GPU_FRACTION = 0.9
# Bytes per weight of the decoder's matrices; int4 has a float16 scale and zero per 128 weights.
_MATRIX_BYTES: Mapping[str, float] = {
    "float32": 4.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "int8": 1.0,
    "int4": 0.5 + 4 / 128,
}


@dataclass(frozen=True, slots=True)
class ServingMemory:
    """Memory to serve a checkpoint in one dtype."""

    dtype: str
    weights_bytes: int
    kv_bytes_per_token: int

    def requests(self, gpu_bytes: float, context: int) -> int:
        """Requests of `context` tokens that fit into 90 % of the GPU memory with the weights."""
        room = gpu_bytes * GPU_FRACTION - self.weights_bytes
        return max(0, int(room // (self.kv_bytes_per_token * context)))


def serving_memory(
    matrix_parameters: int, other_parameters: int, text_config: Mapping[str, int | None]
) -> list[ServingMemory]:
    """One entry per dtype.

    Args:
        matrix_parameters: those of the decoder's linear layers, without the head.
        other_parameters: embeddings, head, norms, encoders, projectors.
        text_config: `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`,
            `hidden_size`, `head_dim`.
    """
    heads = int(text_config["num_attention_heads"] or 1)
    kv_heads = int(text_config.get("num_key_value_heads") or heads)
    head_dim = int(text_config.get("head_dim") or int(text_config["hidden_size"] or 0) // heads)
    kv_numbers = 2 * int(text_config["num_hidden_layers"] or 0) * kv_heads * head_dim
    result = []
    for dtype, per_weight in _MATRIX_BYTES.items():
        width = 4 if dtype == "float32" else 2
        weights = int(matrix_parameters * per_weight) + other_parameters * width
        result.append(ServingMemory(dtype, weights, kv_numbers * width))
    return result
