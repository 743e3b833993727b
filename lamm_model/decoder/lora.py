"""Unmerged LoRA: several adapters on one decoder, selected per row.

The matrices of all adapters are stacked once, when they are loaded. The rows of a step are split
into segments: a prefill chunk is multiplied with the matrices of its own adapter; single tokens of
several adapters are multiplied with the stack, and a mask keeps the ranks of each row's adapter.
The result of a row does not depend on the adapters of other rows. A decoder without adapters does
not run this code.

Shapes: T rows, n rows of one segment, K adapters, R ranks of one adapter, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_model.decoder.upload import upload

# Fused linear layers of the decoder, and the checkpoint layers that they consist of.
FUSED: Mapping[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}


@dataclass(frozen=True, slots=True)
class LoraPair:
    """Update of one linear layer: `weight_OI += scale * up_OR @ down_RI`."""

    down_RI: Tensor
    up_OR: Tensor
    scale: float


# An adapter: (index of the block, name of the layer such as "q_proj") -> update.
LoraWeights = Mapping[tuple[int, str], LoraPair]


@dataclass(frozen=True, slots=True)
class AdapterSegment:
    """Rows `[first, first + count)` of adapters `[adapter, adapter_end)`.

    `others` `[n, adapter_end - adapter]` is true for all but each row's own adapter; None if all
    rows have the same adapter.
    """

    first: int
    count: int
    adapter: int
    adapter_end: int
    others: Tensor | None


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """Segments of all rows of a step, and of the rows whose logits are computed."""

    layers: tuple[Mapping[str, _StackedPairs], ...]
    rows: tuple[AdapterSegment, ...]
    logit_rows: tuple[AdapterSegment, ...]

    def add_(
        self,
        out_TO: Tensor,
        x_TI: Tensor,
        layer: int,
        linear: str,
        segments: Sequence[AdapterSegment],
    ) -> None:
        """Adds the updates of the rows' adapters to a fused layer's output, in place."""
        pairs = self.layers[layer].get(linear)
        if pairs is not None:
            for segment in segments:
                pairs.add_(out_TO, x_TI, segment)


class LoraStack:
    """All adapters of a decoder, numbered in the order of the constructor's argument."""

    def __init__(
        self,
        adapters: Sequence[LoraWeights],
        num_layers: int,
        out_features: Mapping[str, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Stacks the matrices, multiplied by their scales.

        Args:
            out_features: O of each checkpoint layer that may have an update.
        """
        self._device = device
        self._layers = tuple(
            {
                fused: _StackedPairs(blocks, device, dtype)
                for fused, parts in FUSED.items()
                if (blocks := _fuse(adapters, index, parts, out_features)) is not None
            }
            for index in range(num_layers)
        )
        self.nbytes = sum(pairs.nbytes for layer in self._layers for pairs in layer.values())

    def plan(
        self, spans: Sequence[tuple[int | None, int]], logit_rows: Sequence[int | None]
    ) -> AdapterPlan | None:
        """The plan of a step; None if no row has an adapter.

        Args:
            spans: (adapter or None for the base, number of rows) of each sequence, in row order.
            logit_rows: the adapter of each row whose logits are computed.
        """
        rows = self._segments(spans)
        if not rows:
            return None
        return AdapterPlan(
            self._layers, rows, self._segments([(adapter, 1) for adapter in logit_rows])
        )

    def _segments(self, spans: Sequence[tuple[int | None, int]]) -> tuple[AdapterSegment, ...]:
        segments: list[AdapterSegment] = []
        first = 0
        for single, run in groupby(spans, key=lambda span: span[1] == 1):
            if single:
                adapters = [adapter for adapter, _ in run]
                segments += self._mixed(first, adapters)
                first += len(adapters)
                continue
            for adapter, count in run:
                if adapter is not None:
                    segments.append(AdapterSegment(first, count, adapter, adapter + 1, None))
                first += count
        return tuple(segments)

    def _mixed(self, first: int, adapters: Sequence[int | None]) -> list[AdapterSegment]:
        used = {adapter for adapter in adapters if adapter is not None}
        if not used:
            return []
        low, end = min(used), max(used) + 1
        others = None
        if len(set(adapters)) > 1:
            not_own = [[adapter != k for k in range(low, end)] for adapter in adapters]
            others = upload(not_own, self._device, torch.bool)
        return [AdapterSegment(first, len(adapters), low, end, others)]


class _StackedPairs:
    """Updates of one fused layer by all adapters: `down` `[K * R, I]` and `up` `[K * R, O]`.

    Adapters of smaller rank are padded with zeros.
    """

    def __init__(
        self, blocks: Sequence[tuple[Tensor, Tensor]], device: torch.device, dtype: torch.dtype
    ) -> None:
        """`blocks` are `down` `[R_k, I]` and `up` `[R_k, O]` of each adapter; R_k may be 0."""
        self._rank = max(len(down) for down, _ in blocks)

        def stack(parts: Sequence[Tensor]) -> Tensor:
            filled = [F.pad(part, (0, 0, 0, self._rank - len(part))) for part in parts]
            return torch.cat(filled).to(device=device, dtype=dtype).contiguous()

        self._down = stack([down for down, _ in blocks])
        self._up = stack([up for _, up in blocks])
        self.nbytes = self._down.nbytes + self._up.nbytes

    def add_(self, out_TO: Tensor, x_TI: Tensor, segment: AdapterSegment) -> None:
        """Adds the update of a segment, in place."""
        rows = slice(segment.first, segment.first + segment.count)
        ranks = slice(segment.adapter * self._rank, segment.adapter_end * self._rank)
        inner = F.linear(x_TI[rows], self._down[ranks])
        if segment.others is not None:
            split = inner.view(segment.count, -1, self._rank)
            # Multiplying by zero would turn an overflow in another adapter into NaN.
            inner = split.masked_fill(segment.others[:, :, None], 0.0).view(segment.count, -1)
        out_TO[rows].addmm_(inner, self._up[ranks])


def _fuse(
    adapters: Sequence[LoraWeights],
    layer: int,
    parts: Sequence[str],
    out_features: Mapping[str, int],
) -> list[tuple[Tensor, Tensor]] | None:
    """`down` and `up` of each adapter for a fused layer; None if no adapter updates it.

    The parts are concatenated along the ranks, and the `up` of each part is zero outside its own
    outputs.
    """
    present = [
        [(part, weights[layer, part]) for part in parts if (layer, part) in weights]
        for weights in adapters
    ]
    some = next((pair for pairs in present for _, pair in pairs), None)
    if some is None:
        return None
    starts, width = {}, 0
    for part in parts:
        starts[part] = width
        width += out_features[part]
    blocks = []
    for pairs in present:
        downs, ups = [some.down_RI.new_zeros(0, some.down_RI.shape[1]).float()], []
        for part, pair in pairs:
            downs.append(pair.down_RI.float())
            up_RO = pair.up_OR.float().T * pair.scale
            before = starts[part]
            ups.append(F.pad(up_RO, (before, width - before - up_RO.shape[1])))
        blocks.append((torch.cat(downs), torch.cat([downs[0].new_zeros(0, width), *ups])))
    return blocks
