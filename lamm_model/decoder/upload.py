"""Copies small arrays of a step to the device without waiting for it.

A copy from ordinary memory to a GPU makes the host wait until the GPU has done all earlier work. A
copy from page-locked memory is only queued; torch keeps that memory until the copy has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def upload(values: Any, device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """A tensor on `device` of (nested) lists of numbers, or of an array.

    On a CPU, the result of an array may share its memory.
    """
    if device.type != "cuda":
        return torch.as_tensor(values, dtype=dtype, device=device)
    array = np.asarray(values)
    staged = torch.empty(array.shape, dtype=dtype, pin_memory=True)
    staged.numpy()[...] = array
    return staged.to(device, non_blocking=True)


def upload_all(lists: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, ...]:
    """int64 tensors on `device`, one per list; on a GPU, all in one copy."""
    if device.type != "cuda":
        return tuple(upload(values, device) for values in lists)
    together = upload([value for values in lists for value in values], device)
    return tuple(torch.split(together, [len(values) for values in lists]))
