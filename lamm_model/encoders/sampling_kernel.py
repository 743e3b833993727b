"""Farthest-point sampling as one Triton kernel; `point_ops` calls it for clouds on CUDA.

In plain torch each sampled point costs a chain of small kernels, whose launches take longer than
their work. Triton compiles for the GPU at the first use, which needs a C compiler.

Shapes: B clouds, N points, M sampled points.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_log = logging.getLogger(__name__)

# Points that a program compares at once; a thread has four of them.
_MAX_BLOCK = 4096
_POINTS_A_WARP = 128


@functools.cache
def is_usable(device: torch.device) -> bool:
    """Whether the kernel can be compiled for this device; if not, the log says why, once."""
    axes_3BN = torch.ones(3, 1, 1, device=device)
    try:
        sample(axes_3BN, axes_3BN[0].clone(), 2)
    except Exception as error:
        # Any step of Triton may fail: its compiler, the C compiler, the driver.
        _log.warning(
            "Triton cannot compile for %s, so clouds are sampled by slower torch operators: %s",
            device, error,
        )  # fmt: skip
        return False
    return True


def sample(axes_3BN: Tensor, nearest_BN: Tensor, num_samples: int) -> Tensor:
    """Places [B, M] of sampled points, from place 0 on; ties go to the lowest place.

    Args:
        axes_3BN: finite float32 coordinates, contiguous.
        nearest_BN: contiguous float32 upper bounds of the squared distances to sampled points, -1
            for points that are never chosen; overwritten.
        num_samples: M, at least 1.
    """
    _, batch, count = axes_3BN.shape
    places_BM = torch.zeros(batch, num_samples, dtype=torch.long, device=axes_3BN.device)
    block = min(_MAX_BLOCK, triton.next_power_of_2(count))
    launch(_kernel, (batch,), (axes_3BN, nearest_BN, places_BM, batch * count, count, num_samples),
           block, max(1, block // _POINTS_A_WARP))  # fmt: skip
    return places_BM


def launch(
    kernel: Any, grid: tuple[int], arguments: tuple[Any, ...], block: int, num_warps: int
) -> None:
    """Starts the kernel on the device of its tensors."""
    with torch.cuda.device_of(arguments[0]):
        # Fused multiplications and additions would round other than the CPU does.
        kernel[grid](*arguments, BLOCK=block, num_warps=num_warps, enable_fp_fusion=False)


def _sample(
    axes_3BN: tl.tensor,
    nearest_BN: tl.tensor,
    places_BM: tl.tensor,
    axis_stride: tl.tensor,
    count: tl.tensor,
    num_samples: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program samples one cloud, whose points stay in the cache: registers are too few."""
    cloud = tl.program_id(0).to(tl.int64)
    xs = axes_3BN + cloud * count
    ys, zs, nearest = xs + axis_stride, xs + 2 * axis_stride, nearest_BN + cloud * count
    lanes = tl.arange(0, BLOCK)
    last = tl.zeros((), tl.int32)
    for step in range(1, num_samples):
        x, y, z = tl.load(xs + last), tl.load(ys + last), tl.load(zs + last)
        # Below every distance, and below the -1 of points that are never chosen.
        best = tl.full((BLOCK,), -2.0, tl.float32)
        best_place = tl.zeros((BLOCK,), tl.int32)
        for start in range(0, count, BLOCK):
            place = start + lanes
            inside = place < count
            dx = tl.load(xs + place, mask=inside, other=0.0) - x
            dy = tl.load(ys + place, mask=inside, other=0.0) - y
            dz = tl.load(zs + place, mask=inside, other=0.0) - z
            known = tl.load(nearest + place, mask=inside, other=-2.0)
            distance = tl.minimum(known, (dx * dx + dy * dy) + dz * dz)
            tl.store(nearest + place, distance, mask=inside)
            # A later point of the same lane wins only if it is farther.
            farther = distance > best
            best = tl.where(farther, distance, best)
            best_place = tl.where(farther, place, best_place)
        last = tl.min(tl.where(best == tl.max(best), best_place, count))
        tl.store(places_BM + cloud * num_samples + step, last.to(tl.int64))
        # Another thread may load in the next step what this one stored.
        tl.debug_barrier()


_kernel = triton.jit(_sample)
