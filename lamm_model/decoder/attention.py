"""Attention of a flat batch over the slot cache, planned once per step.

The rows of a step are the decode tokens (one per sequence, by ascending slot), then the prefill
chunks. Decode tokens of neighbouring slots are processed together on a view of the cache, prefill
chunks one by one.

Shapes: T rows, n rows of one segment, S slots, G query heads per KV head, H KV heads, C context,
D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_model.decoder.upload import upload_all

# Padded positions in a segment of decode tokens before it is split. An attention call costs about
# as much as 500 padded positions of a small model (measured on 2 cores).
_MAX_PADDING = 512


@dataclass(frozen=True, slots=True)
class Span:
    """`num_tokens` consecutive tokens of the sequence in `slot`, from position `start`."""

    slot: int
    start: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `[first, first + n)`: one token in each of the slots `[slot, slot + n)`, or a chunk.

    A chunk has tokens of one sequence up to position `context - 1`. `mask` is true at attended
    positions: `[n, 1, 1, C]` for single tokens, None if all contexts have length C; `[G * n, C]`
    for a chunk, None if the chunk is the whole context.
    """

    first: int
    slot: int
    count: int
    context: int
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Positions and slots `[T]` of the rows of a step, and the segments that cover them."""

    positions: Tensor
    slots: Tensor
    decode: tuple[Segment, ...]
    prefill: tuple[Segment, ...]


def row_places(spans: Sequence[Span]) -> tuple[list[int], list[int]]:
    """Positions and slots of the rows of spans."""
    positions = [span.start + i for span in spans for i in range(span.num_tokens)]
    return positions, [span.slot for span in spans for _ in range(span.num_tokens)]


def plan_attention(
    spans: Sequence[Span],
    groups: int,
    device: torch.device,
    places: tuple[Tensor, Tensor] | None = None,
) -> AttentionPlan:
    """The plan of spans in row order: single tokens by ascending slot, then longer spans.

    Args:
        groups: query heads that share one KV head.
        places: `row_places` on the device, if they are there already.

    Raises:
        ValueError: the spans are not in that order.
    """
    decode = [span for span in spans if span.num_tokens == 1]
    prefill = [span for span in spans if span.num_tokens > 1]
    if [*sorted(decode, key=lambda span: span.slot), *prefill] != list(spans):
        raise ValueError("expected single tokens by ascending slot, then longer spans")
    positions_T, slots_T = places or upload_all(row_places(spans), device)
    segments, first = [], len(decode)
    for span in prefill:
        segments.append(_prefill_segment(span, first, groups, device))
        first += span.num_tokens
    return AttentionPlan(
        positions=positions_T,
        slots=slots_T,
        decode=tuple(_decode_segments(decode, positions_T)),
        prefill=tuple(segments),
    )


def attend(q_THGD: Tensor, k_SHPD: Tensor, v_SHPD: Tensor, plan: AttentionPlan) -> Tensor:
    """Attention outputs `[T, H, G, D]` of queries `[T, H, G, D]` over the cache's rows.

    Query heads that share a KV head are laid out along the query axis, so K and V are not repeated.
    """
    out = torch.empty_like(q_THGD)
    for seg in plan.decode:
        rows = slice(seg.first, seg.first + seg.count)
        slots = slice(seg.slot, seg.slot + seg.count)
        k, v = k_SHPD[slots, :, : seg.context], v_SHPD[slots, :, : seg.context]
        out[rows] = F.scaled_dot_product_attention(q_THGD[rows], k, v, attn_mask=seg.mask)
    groups = q_THGD.shape[2]
    for chunk in plan.prefill:
        rows = slice(chunk.first, chunk.first + chunk.count)
        k, v = k_SHPD[chunk.slot, :, : chunk.context], v_SHPD[chunk.slot, :, : chunk.context]
        q_HqD = q_THGD[rows].permute(1, 2, 0, 3).flatten(1, 2)
        attended = F.scaled_dot_product_attention(
            q_HqD.unsqueeze(0),
            k.unsqueeze(0),
            v.unsqueeze(0),
            attn_mask=chunk.mask,
            is_causal=chunk.mask is None,
        )
        out[rows] = attended[0].unflatten(1, (groups, chunk.count)).permute(2, 0, 1, 3)
    return out


def _decode_segments(spans: Sequence[Span], positions_T: Tensor) -> list[Segment]:
    """Runs of neighbouring slots, split if padding exceeds `_MAX_PADDING`."""
    segments: list[Segment] = []
    run: list[Span] = []
    first = 0
    for span in spans:
        longest = max(s.start + 1 for s in [*run, span])
        padding = sum(longest - s.start - 1 for s in [*run, span])
        if run and (span.slot != run[-1].slot + 1 or padding > _MAX_PADDING):
            segments.append(_decode_segment(run, first, positions_T))
            first, run = first + len(run), []
        run.append(span)
    if run:
        segments.append(_decode_segment(run, first, positions_T))
    return segments


def _decode_segment(run: Sequence[Span], first: int, positions_T: Tensor) -> Segment:
    contexts = [span.start + 1 for span in run]
    longest = max(contexts)
    mask = None
    if min(contexts) != longest:
        last_n = positions_T[first : first + len(run)]
        attended = torch.arange(longest, device=positions_T.device) <= last_n[:, None]
        mask = attended[:, None, None]
    return Segment(first, run[0].slot, len(run), longest, mask)


def _prefill_segment(span: Span, first: int, groups: int, device: torch.device) -> Segment:
    context = span.start + span.num_tokens
    if span.start == 0 and groups == 1:
        return Segment(first, span.slot, span.num_tokens, context, None)
    ends = torch.arange(span.start, context, device=device)
    mask = torch.arange(context, device=device) <= ends[:, None]
    return Segment(first, span.slot, span.num_tokens, context, mask.repeat(groups, 1))
