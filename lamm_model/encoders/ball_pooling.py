"""Shared MLP and pooling of set abstraction, without gradients.

It computes the same function as the layers one by one, but faster: the first layer processes the
features of each point once instead of once per ball, normalisation is folded into the weights,
repeated points of short balls are skipped, and a few balls at a time pass all layers while their
rows are in the processor's cache.

Shapes: N points, M centres, m centres of one part, K neighbours, C channels, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

# Rows per part: they fit into the cache of a CPU, or fill a GPU.
_CPU_ROWS, _GPU_ROWS = 1 << 11, 1 << 17


def pool_balls(
    xyz_N3: Tensor,
    features_NC: Tensor | None,
    centre_M3: Tensor,
    index_MK: Tensor,
    radius: float,
    layers: Sequence[tuple[Tensor, Tensor]],
) -> Tensor:
    """The maximum of the outputs over the points of each ball, per channel: [M, O].

    Args:
        xyz_N3: float32 coordinates, metres.
        features_NC: features of the points; they follow the coordinates in the input, if given.
        centre_M3: centres of the balls, float32.
        index_MK: points of the balls in ascending order; a short ball repeats its first point.
        radius: divisor of the offsets from the centre.
        layers: weight [O, I] and bias [O] of each layer, followed by ReLU.
    """
    (weight, bias), *rest = layers
    point_NO = None if features_NC is None else F.linear(features_NC.to(bias), weight[:, 3:], bias)
    pooled_MO = layers[-1][0].new_empty(len(index_MK), len(layers[-1][1]))
    for part_m, index_mK in _parts(index_MK):
        offset_mK3 = ((xyz_N3[index_mK] - centre_M3[part_m, None]) / radius).to(bias)
        offset_R3, index_R = offset_mK3.flatten(0, 1), index_mK.flatten()
        if point_NO is None:
            hidden = F.linear(offset_R3, weight[:, :3], bias)
        else:
            hidden = point_NO.index_select(0, index_R).addmm_(offset_R3, weight[:, :3].T)
        for next_weight, next_bias in rest:
            hidden = F.linear(hidden.relu_(), next_weight, next_bias)
        # ReLU is monotonic, so it is applied to the maximum only.
        pooled_MO[part_m] = hidden.unflatten(0, index_mK.shape).amax(1).relu_()
    return pooled_MO


def _parts(index_MK: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Centres [m] and their points [m, k]; balls of similar size are grouped to keep k small."""
    first_M1 = index_MK[:, :1]
    # Neighbours are in ascending order; an empty ball has zeros and counts as one point.
    count_M = 1 + (index_MK > first_M1).sum(1)
    order_M = count_M.argsort(descending=True, stable=True)
    counts = count_M[order_M].tolist()
    rows = _CPU_ROWS if index_MK.device.type == "cpu" else _GPU_ROWS
    begin = 0
    while begin < len(counts):
        largest = counts[begin]
        part_m = order_M[begin : begin + max(1, rows // largest)]
        yield part_m, index_MK[part_m, :largest]
        begin += len(part_m)
