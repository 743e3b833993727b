"""Farthest-point sampling, ball query and grouping, for CPU and GPU.

The functions follow the CUDA operations of EPCL's training (OpenLAMM
`src/model/EPCL/third_party/pointnet2/_ext_src` @ d5ca246), including the choice between equally far
points and the precision of comparisons. Distances are float32 sums of squares, x first, with every
operation rounded. A compiler that fuses the kernel's multiplications and additions may differ in
the last bit, and so choose another of two points that are almost equally far.

All is plain torch, except that a GPU samples by a kernel of `sampling_kernel`, if Triton is there.

Shapes: B clouds, N points, M sampled points, K neighbours, C channels, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

ORIGIN_SQUARED_RADIUS = 1e-3
MAX_KERNEL_THREADS = 512
# A ball searches the first points, then 4 times as many, and so on: in dense clouds balls are full
# early, and in sparse clouds the grid excludes most points.
_FIRST_POINTS = 1024
_BLOCK_GROWTH = 4
_PAIRS_AT_ONCE = 1 << 22
_MAX_CELLS_AN_AXIS = 1 << 20


def farthest_point_sample(xyz_BN3: Tensor, num_samples: int) -> Tensor:
    """Indices [B, M]; each point is the farthest from all points before it, from index 0 on.

    Points with |p|^2 <= 1e-3 are skipped; index 0 repeats if all are. Ties are resolved as in the
    kernel (see `_kernel_order`). Computed in float32 for all input dtypes.
    """
    order_N = _kernel_order(xyz_BN3.shape[1]).to(xyz_BN3.device)
    # One contiguous row per axis is three times faster than rows of three.
    axes_3BN = xyz_BN3.detach().float()[:, order_N].permute(2, 0, 1).contiguous()
    x_BN, y_BN, z_BN = axes_3BN
    squared_norm_BN = (x_BN * x_BN + y_BN * y_BN).add_(z_BN * z_BN)
    nearest_BN = torch.full_like(squared_norm_BN, 1e10)
    # A skipped point keeps distance -1, the kernel's initial best, so it is never chosen.
    # The kernel compares with a double, which is below the float32 value of 1e-3.
    nearest_BN[squared_norm_BN.double() <= ORIGIN_SQUARED_RADIUS] = -1.0
    kernel = _triton_kernel(xyz_BN3.device)
    sample = _sample if kernel is None else kernel.sample
    return order_N[sample(axes_3BN, nearest_BN, num_samples)]


def ball_query(radius: float, num_samples: int, xyz_BN3: Tensor, centre_BM3: Tensor) -> Tensor:
    """Indices [B, M, K] of the first K points within `radius` of each centre, in index order.

    Short balls repeat their first point; an empty ball has zeros.
    """
    index_BMK = torch.stack(
        [
            _first_hits(radius, num_samples, xyz_N3, centre_M3)
            for xyz_N3, centre_M3 in zip(
                xyz_BN3.detach().float(), centre_BM3.detach().float(), strict=True
            )
        ]
    )
    index_BMK = torch.where(index_BMK < 0, index_BMK[..., :1], index_BMK)
    return index_BMK.clamp_(min=0)


def group(features_BNC: Tensor, index_BMK: Tensor) -> Tensor:
    """Features of the indexed points, [B, M, K, C]; [B, M, C] for indices [B, M]."""
    batch, count, channels = features_BNC.shape
    first_B = torch.arange(batch, device=index_BMK.device) * count
    flat = (index_BMK + first_B.view(-1, *[1] * (index_BMK.dim() - 1))).flatten()
    # Copies whole rows; `Tensor.gather` would look up an index per channel.
    rows = features_BNC.reshape(batch * count, channels).index_select(0, flat)
    return rows.view(*index_BMK.shape, channels)


def _triton_kernel(device: torch.device) -> ModuleType | None:
    """The module of the kernel for this device; None if there is none."""
    if device.type != "cuda":
        return None
    try:
        from lamm_model.encoders import sampling_kernel  # noqa: PLC0415 - Triton is optional
    except ImportError:
        return None
    return sampling_kernel if sampling_kernel.is_usable(device) else None


def _sample(axes_3BN: Tensor, nearest_BN: Tensor, num_samples: int) -> Tensor:
    """See `sampling_kernel.sample`."""
    places_BM = axes_3BN.new_zeros(axes_3BN.shape[1], num_samples, dtype=torch.long)
    distance_BN, gap_BN = torch.empty_like(nearest_BN), torch.empty_like(nearest_BN)
    first_BN, *other_axes = axes_3BN
    for step in range(1, num_samples):
        last_B1 = places_BM[:, step - 1 : step]
        torch.sub(first_BN, first_BN.gather(1, last_B1), out=distance_BN)
        distance_BN.mul_(distance_BN)
        for axis_BN in other_axes:
            torch.sub(axis_BN, axis_BN.gather(1, last_B1), out=gap_BN)
            distance_BN.add_(gap_BN.mul_(gap_BN))
        torch.minimum(nearest_BN, distance_BN, out=nearest_BN)
        places_BM[:, step] = _first_largest(nearest_BN)
    return places_BM


def _kernel_order(count: int) -> Tensor:
    """Indices [N] in the order of the CUDA kernel's preference among equally far points.

    Thread t of T (the largest power of two up to `count` and 512) visits the points t, t + T, ...
    and keeps the first best. Then halves of the threads are compared, and the lower half wins ties.
    So a tie goes to the thread with the lowest bit-reversed number.
    """
    threads = min(1 << max(count.bit_length() - 1, 0), MAX_KERNEL_THREADS)
    bits = threads.bit_length() - 1
    backwards = [int(f"{t:0{bits}b}"[::-1], 2) if bits else 0 for t in range(threads)]
    index_N = torch.arange(count)
    rank_N = torch.tensor(backwards)[index_N % threads] * (count // threads + 1)
    return (rank_N + index_N // threads).argsort()


def _first_largest(values_BN: Tensor) -> Tensor:
    """Index [B] of the largest value per row, the first of equal ones."""
    if values_BN.device.type == "cpu":
        # torch's argmax is not vectorised on CPUs: 100 times slower than NumPy's.
        return torch.from_numpy(np.argmax(values_BN.numpy(), axis=-1))
    return values_BN.argmax(-1)


def _first_hits(radius: float, num_samples: int, xyz_N3: Tensor, centre_M3: Tensor) -> Tensor:
    """Indices [M, K] of one cloud's points in each ball, in index order, padded with -1."""
    # The kernel squares a float32 radius in float32.
    limit = float(np.float32(radius) * np.float32(radius))
    count, centres = len(xyz_N3), len(centre_M3)
    index_MK = xyz_N3.new_full((centres, num_samples), -1, dtype=torch.long)
    found_M = xyz_N3.new_zeros(centres, dtype=torch.long)
    begin, end = 0, min(count, max(_FIRST_POINTS, 4 * num_samples))
    while begin < count:
        wanting = (found_M < num_samples).nonzero().squeeze(1)
        if not len(wanting):
            break
        block_N3, asking_M3 = xyz_N3[begin:end], centre_M3[wanting]
        hits = (
            _grid_hits(radius, limit, block_N3, asking_M3)
            if begin
            else _dense_hits(limit, block_N3, asking_M3)
        )
        for centre_P, point_P in hits:
            _append(index_MK, found_M, wanting[centre_P], point_P + begin)
        begin, end = end, min(count, end * _BLOCK_GROWTH)
    return index_MK


def _append(index_MK: Tensor, found_M: Tensor, centre_P: Tensor, point_P: Tensor) -> None:
    """Appends hits, ordered by centre and point, to those found; drops those beyond K."""
    hits_M = torch.bincount(centre_P, minlength=len(found_M))
    before_M = hits_M.cumsum(0) - hits_M - found_M
    place_P = torch.arange(len(centre_P), device=centre_P.device) - before_M[centre_P]
    fits_P = place_P < index_MK.shape[1]
    index_MK[centre_P[fits_P], place_P[fits_P]] = point_P[fits_P]
    found_M += hits_M


def _dense_hits(limit: float, xyz_N3: Tensor, centre_M3: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(centre, point) indices [P] of all pairs nearer than sqrt(limit), in order."""
    step = max(1, _PAIRS_AT_ONCE // len(xyz_N3))
    points = [axis.contiguous() for axis in xyz_N3.unbind(-1)]
    for first in range(0, len(centre_M3), step):
        # Summed per axis: the cancellation in |a|^2 - 2ab + |b|^2 would change the result for
        # points close to the radius.
        gaps = (centre_M3[first : first + step, axis, None] - points[axis] for axis in range(3))
        centre_P, point_P = (_sum_of_squares(gaps) < limit).nonzero(as_tuple=True)
        yield centre_P + first, point_P


def _grid_hits(
    radius: float, limit: float, xyz_N3: Tensor, centre_M3: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Like `_dense_hits`, but searches only the 27 grid cells around each centre.

    Cells are slightly wider than the radius, so that a distance rounded down to it is found.
    """
    low_3, high_3 = xyz_N3.amin(0).double(), xyz_N3.amax(0).double()
    width = max(1.001 * radius, float((high_3 - low_3).max()) / _MAX_CELLS_AN_AXIS)
    cell_N3 = ((xyz_N3.double() - low_3) / width).floor().long()
    centre_cell_M3 = ((centre_M3.double() - low_3) / width).floor().long()
    sides_3 = cell_N3.amax(0) + 1
    # Cells adjacent along z have consecutive keys, so three cells are one run of points.
    key_N, point_N = _key(cell_N3, sides_3).sort()
    steps = torch.tensor([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)], device=xyz_N3.device)
    column_MS2 = centre_cell_M3[:, None, :2] + steps
    inside_MS = ((column_MS2 >= 0) & (column_MS2 < sides_3[:2])).all(-1)
    bottom_M = (centre_cell_M3[:, 2] - 1).clamp(min=0)
    top_M = torch.minimum(centre_cell_M3[:, 2] + 1, sides_3[2] - 1)
    inside_MS &= (bottom_M <= top_M)[:, None]
    first_MS, last_MS = (
        _key(torch.cat([column_MS2, z_M[:, None, None].expand(-1, 9, 1)], dim=-1), sides_3)
        for z_M in (bottom_M, top_M)
    )
    start_MS = torch.searchsorted(key_N, first_MS)
    length_MS = torch.searchsorted(key_N, last_MS, right=True) - start_MS
    length_MS = torch.where(inside_MS, length_MS, 0)
    points, centres = xyz_N3.unbind(-1), centre_M3.unbind(-1)
    for part in _slices(length_MS.sum(-1)):
        centre_P, point_P = _expand(part.start, start_MS[part], length_MS[part], point_N)
        gaps = (centres[axis][centre_P] - points[axis][point_P] for axis in range(3))
        hit_P = _sum_of_squares(gaps) < limit
        key_P = (centre_P[hit_P] * len(xyz_N3) + point_P[hit_P]).sort().values
        yield key_P // len(xyz_N3), key_P % len(xyz_N3)


def _key(cell_3: Tensor, sides_3: Tensor) -> Tensor:
    return (cell_3[..., 0] * sides_3[1] + cell_3[..., 1]) * sides_3[2] + cell_3[..., 2]


def _slices(size_M: Tensor) -> Iterator[slice]:
    """Consecutive slices with a sum of about `_PAIRS_AT_ONCE`, of at least one row."""
    part_M = size_M.cumsum(0).sub_(1).clamp_(min=0) // _PAIRS_AT_ONCE
    rows = torch.unique_consecutive(part_M, return_counts=True)[1].tolist()
    first = 0
    for count in rows:
        yield slice(first, first + count)
        first += count


def _expand(
    first: int, start_MS: Tensor, length_MS: Tensor, point_N: Tensor
) -> tuple[Tensor, Tensor]:
    """(centre, point) pairs [P] of runs of points (start, length)."""
    start_R, length_R = start_MS.flatten(), length_MS.flatten()
    run_P = torch.arange(len(length_R), device=length_R.device).repeat_interleave(length_R)
    shift_R = start_R - (length_R.cumsum(0) - length_R)
    place_P = torch.arange(len(run_P), device=run_P.device) + shift_R[run_P]
    return first + run_P // start_MS.shape[1], point_N[place_P]


def _sum_of_squares(gaps: Iterator[Tensor]) -> Tensor:
    total = next(gaps).square_()
    for gap in gaps:
        total.add_(gap.square_())
    return total
