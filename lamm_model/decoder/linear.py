"""Linear layers for serving: weights packed once for the shapes that decoding uses.

torch's plain fp32 linear repacks its weight at every call, which costs 2-4x at 1-32 rows on a CPU;
oneDNN's prepacked form does it once. Called by `lamm_model.decoder.llama`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on 2 cores (AVX-512): below this many weights the packed call's fixed cost (about 10 us)
# exceeds what the packing saves at one row.
_MIN_PACKED_WEIGHTS = 128 * 1024
# Up to so many rows, so large a step; a batch of few rows is decoded so often that it stays exact.
_ROW_STEPS = ((8, 1), (64, 4), (128, 8), (512, 16), (2048, 64))
_LARGEST_STEP = 256


class PackedLinear:
    """`x [..., I] -> [..., O]` without bias; the weight is packed when that is faster.

    The original weight is not kept: a packed layer holds one copy.
    """

    def __init__(self, weight_OI: Tensor) -> None:
        self.out_features, self.in_features = weight_OI.shape
        self.nbytes = weight_OI.numel() * weight_OI.element_size()
        self._plain: Tensor | None = None
        self._packed: Any = None
        if can_pack(weight_OI):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), None)
        else:
            self._plain = weight_OI.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        if self._plain is not None:
            return F.linear(x, self._plain)
        rows = x.numel() // self.in_features
        padded = padded_rows(rows)
        if padded == rows:
            return self._multiply(x)
        # Zeros, since what an allocation holds may be denormal, and then slow.
        wider = x.new_zeros(padded, self.in_features)
        wider[:rows] = x.reshape(rows, self.in_features)
        return self._multiply(wider)[:rows].reshape(*x.shape[:-1], self.out_features)

    @property
    def kernel_key(self) -> tuple[int, int] | None:
        """Equal for layers with the same kernels; None where there is none to compile."""
        return None if self._packed is None else (self.out_features, self.in_features)

    def _multiply(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")
        return out


def padded_rows(rows: int) -> int:
    """The number of rows, `rows` or a few more, that a packed product is computed with.

    oneDNN compiles a kernel for every number of rows that it sees (0.6 ms, half a megabyte each,
    1,024 kept). Served batches have any number: without steps a server's memory grows for hours,
    and every new number stalls a step. The steps cost 3 % of the rows on average, 12 % at most
    from 32 rows on.
    """
    for limit, step in _ROW_STEPS:
        if rows <= limit:
            return -(-rows // step) * step
    return -(-rows // _LARGEST_STEP) * _LARGEST_STEP


def row_sizes(most: int) -> list[int]:
    """Every number of rows that a packed product of at most `most` rows is computed with."""
    return sorted({padded_rows(rows) for rows in range(1, most + 1)})


def can_pack(weight_OI: Tensor) -> bool:
    """Whether oneDNN has a prepacked form of this weight here, and it is worth having."""
    return (
        weight_OI.device.type == "cpu"
        and weight_OI.dtype is torch.float32
        and weight_OI.numel() >= _MIN_PACKED_WEIGHTS
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
