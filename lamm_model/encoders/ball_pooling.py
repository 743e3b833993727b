"""Set abstraction's shared MLP and pooling without gradients. Called by `encoders.epcl`.

The same function of the weights as the layers one by one, with less of everything but the products
that cannot be saved: the first layer meets each point's features once instead of once a ball,
normalisation is folded into the weights, a short ball's repeats are left out, and a few balls at a
time go through all layers while their rows are in the processor's cache.

Shapes: N points, M centres, m centres of one part, K neighbours, C channels, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

# Rows at a time: few enough to stay in a processor's cache, or enough to fill a GPU.
_CPU_ROWS, _GPU_ROWS = 1 << 11, 1 << 17


def pool_balls(
    xyz_N3: Tensor,
    features_NC: Tensor | None,
    centre_M3: Tensor,
    index_MK: Tensor,
    radius: float,
    layers: Sequence[tuple[Tensor, Tensor]],
) -> Tensor:
    """The largest of each ball's points' outputs, channel by channel: [M, O].

    Args:
        xyz_N3: float32 coordinates, metres.
        features_NC: the points' features, if any; they follow the coordinates in a layer's inputs.
        centre_M3: the balls' centres, float32.
        index_MK: the balls' points in rising order; a short ball repeats its first (`ball_query`).
        radius: what offsets from the centre are divided by.
        layers: weight [O, I] and bias [O] of each layer, with ReLU behind it.
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
        # ReLU keeps the order, so the largest value alone needs it.
        pooled_MO[part_m] = hidden.unflatten(0, index_mK.shape).amax(1).relu_()
    return pooled_MO


def _parts(index_MK: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Centres [m] and their points [m, k], balls of like size together, so that k is small."""
    first_M1 = index_MK[:, :1]
    # Real neighbours rise from the first one; an empty ball is zeros and counts as one point.
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
