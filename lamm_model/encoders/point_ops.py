"""Farthest-point sampling, ball query and grouping in plain torch, for CPU and GPU.

The rules are those of the CUDA operations LAMM's EPCL was trained with (OpenLAMM
`pointnet2/_ext_src` @ d5ca246): sampling starts at index 0 and never picks a point within
|p|^2 <= 1e-3 of the origin; a ball holds its first hits in index order, padded with the first.

Shapes: B clouds, N points, M sampled points, K neighbours, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

ORIGIN_SQUARED_RADIUS = 1e-3


def farthest_point_sample(xyz_BN3: Tensor, num_samples: int) -> Tensor:
    """Indices [B, M] of points each farthest from all chosen before it; the first is index 0.

    Points within the origin's ball are skipped, as the CUDA kernel does; where all points are
    skipped index 0 repeats. Ties go to the lowest index. Computed in float32 whatever the
    input's dtype.
    """
    xyz = xyz_BN3.float()
    batch, count, _ = xyz.shape
    skipped_BN = xyz.square().sum(-1) <= ORIGIN_SQUARED_RADIUS
    nearest_BN = xyz.new_full((batch, count), 1e10)
    # A skipped point keeps distance -1: the kernel's running best starts there, so it never wins.
    nearest_BN[skipped_BN] = -1.0
    rows = torch.arange(batch, device=xyz.device)
    chosen = torch.zeros(batch, dtype=torch.long, device=xyz.device)
    out = torch.empty(batch, num_samples, dtype=torch.long, device=xyz.device)
    for step in range(num_samples):
        out[:, step] = chosen
        distance_BN = (xyz - xyz[rows, chosen].unsqueeze(1)).square().sum(-1)
        nearest_BN = torch.minimum(nearest_BN, distance_BN)
        chosen = nearest_BN.argmax(-1)
    return out


def ball_query(radius: float, num_samples: int, xyz_BN3: Tensor, centre_BM3: Tensor) -> Tensor:
    """Indices [B, M, K] of the first K points, in index order, nearer than `radius` to each centre.

    Short balls repeat their first hit; an empty ball holds zeros.
    """
    xyz, centre = xyz_BN3.float(), centre_BM3.float()
    hit_BMN = _squared_distance(centre, xyz) < radius * radius
    # A running count ranks the hits in index order: several times faster than a top-k over N.
    rank_BMN = hit_BMN.cumsum(-1, dtype=torch.int32)
    row, centre_index, point = (hit_BMN & (rank_BMN <= num_samples)).nonzero(as_tuple=True)
    place = rank_BMN[row, centre_index, point].long() - 1
    index = xyz.new_full((*hit_BMN.shape[:2], num_samples), -1, dtype=torch.long)
    index[row, centre_index, place] = point
    index = torch.where(index < 0, index[..., :1], index)
    return index.clamp_(min=0)


def group(features_BNC: Tensor, index_BMK: Tensor) -> Tensor:
    """Features of the indexed points, [B, M, K, C]."""
    batch, channels = features_BNC.shape[0], features_BNC.shape[-1]
    flat = index_BMK.reshape(batch, -1, 1).expand(-1, -1, channels)
    return features_BNC.gather(1, flat).view(*index_BMK.shape, channels)


def gather(features_BNC: Tensor, index_BM: Tensor) -> Tensor:
    """Features of one indexed point each, [B, M, C]."""
    return features_BNC.gather(1, index_BM.unsqueeze(-1).expand(-1, -1, features_BNC.shape[-1]))


def _squared_distance(a_BMC: Tensor, b_BNC: Tensor) -> Tensor:
    # Summed per axis rather than by |a|^2 - 2ab + |b|^2, whose cancellation moves points near the
    # radius across it.
    total = (a_BMC[:, :, None, 0] - b_BNC[:, None, :, 0]).square()
    for axis in (1, 2):
        total = total + (a_BMC[:, :, None, axis] - b_BNC[:, None, :, axis]).square()
    return total
