"""Linear layers for serving, with weights packed once for the shapes of decoding.

torch's fp32 linear layer repacks its weight in every call, which costs 2-4x at 1-32 rows on a CPU.
oneDNN's prepacked form avoids this.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on 2 cores (AVX-512): below this size the fixed cost of a packed call (about 10 us)
# exceeds the time saved at one row.
_MIN_PACKED_WEIGHTS = 128 * 1024
# (rows, step): row counts up to `rows` are padded to multiples of `step`. Small batches are the
# most frequent and are not padded.
_ROW_STEPS = ((8, 1), (64, 4), (128, 8), (512, 16), (2048, 64))
_LARGEST_STEP = 256


class PackedLinear:
    """`x [..., I] -> [..., O]` without bias; the weight is packed if that is faster.

    A packed layer does not keep the original weight.
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
        # Zeroed, because uninitialised memory may hold denormal values, which are slow.
        wider = x.new_zeros(padded, self.in_features)
        wider[:rows] = x.reshape(rows, self.in_features)
        return self._multiply(wider)[:rows].reshape(*x.shape[:-1], self.out_features)

    @property
    def kernel_key(self) -> tuple[int, int] | None:
        """Equal for layers that share compiled kernels; None if nothing is compiled."""
        return None if self._packed is None else (self.out_features, self.in_features)

    def _multiply(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], "")
        return out


def padded_rows(rows: int) -> int:
    """The padded number of rows of a packed product, at least `rows`.

    oneDNN compiles a kernel for every number of rows (0.6 ms and half a megabyte each, 1,024 are
    kept). Batch sizes vary, so without padding a server's memory grows for hours and every new size
    stalls a step. Padding adds 3 % of the rows on average, and at most 12 % from 32 rows on.
    """
    for limit, step in _ROW_STEPS:
        if rows <= limit:
            return -(-rows // step) * step
    return -(-rows // _LARGEST_STEP) * _LARGEST_STEP


def row_sizes(most: int) -> list[int]:
    """All padded numbers of rows for products of at most `most` rows."""
    return sorted({padded_rows(rows) for rows in range(1, most + 1)})


def can_pack(weight_OI: Tensor) -> bool:
    """Whether oneDNN can prepack this weight on this machine, and it is worthwhile."""
    return (
        weight_OI.device.type == "cpu"
        and weight_OI.dtype is torch.float32
        and weight_OI.numel() >= _MIN_PACKED_WEIGHTS
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
