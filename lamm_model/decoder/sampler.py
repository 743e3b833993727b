"""Sampling of tokens from logits, greedy or random, with parameters per row.

The draw of a row depends only on its seed, its position and its logits, not on the rest of the
batch: a uniform number is hashed from (seed, position) and mapped to a token through the inverse of
the row's cumulative distribution.

Shapes: R rows, V vocabulary, K candidates.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamm_model.decoder.upload import upload
from lamm_model.sampling_params import SamplingParams

# Candidates tried before the whole vocabulary is sorted (sorting 32,000 costs over 1 ms).
_NUM_CANDIDATES = 256
_LOWEST_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """Sampling input of one row.

    `position` counts the tokens generated before this one. Media placeholders in
    `prompt_token_ids` are ignored. `banned` tokens are never chosen (end tokens before
    `min_tokens`). `allowed` has V bytes, 0 for tokens that are never chosen.
    """

    params: SamplingParams
    seed: int
    position: int
    prompt_token_ids: Sequence[int]
    output_token_ids: Sequence[int]
    banned: tuple[int, ...] = ()
    allowed: bytes | None = None


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A token; if `logprobs` is set, its log-probability and the best (id, value) pairs.

    `is_finite` is false if the row's logits are NaN or infinite; the token means nothing then.
    """

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    is_finite: bool = True


class Sampler:
    """Samples one step per call; stateless."""

    @torch.inference_mode()
    def sample(self, logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[SampledToken]:
        """One token per row, in the order of the rows."""
        raw_RV = logits_RV.float()
        # Reported log-probabilities do not include penalties and temperature.
        shaped_RV = self._shape(raw_RV, rows)
        best_R = shaped_RV.argmax(dim=-1)
        # The most likely token's logit suffices: in a row that was computed from non-finite values,
        # none is finite. Both come in one copy, because a copy waits for the device.
        finite_R = raw_RV.gather(1, best_R[:, None])[:, 0].isfinite()
        tokens, finite = torch.stack([best_R, finite_R.to(best_R.dtype)]).tolist()
        drawn = [i for i, row in enumerate(rows) if not row.params.greedy]
        if drawn:
            picked = self._draw(shaped_RV[_index(raw_RV, drawn)], [rows[i] for i in drawn])
            for i, token in zip(drawn, picked, strict=True):
                tokens[i] = token
        return self._with_logprobs(raw_RV, rows, tokens, list(map(bool, finite)))

    def _shape(self, logits_RV: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
        """Logits with penalties, biases and bans; the input is not changed."""
        touched = [i for i, row in enumerate(rows) if _is_touched(row)]
        if not touched:
            return logits_RV
        shaped_RV = logits_RV.clone()
        for i in touched:
            _shape_row(shaped_RV[i], rows[i])
        return shaped_RV

    def _draw(self, logits_RV: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        # A lower temperature overflows float32; the most likely token is certain long before.
        temperatures = _values(
            logits_RV, [max(row.params.temperature, _LOWEST_TEMPERATURE) for row in rows]
        )
        logits_RV = logits_RV / temperatures[:, None]
        uniforms = [_uniform(row.seed, row.position) for row in rows]
        tokens = [0] * len(rows)
        # The code path depends only on the row's parameters, so the batch cannot change its token.
        plain = [i for i, row in enumerate(rows) if not _is_filtered(row.params)]
        filtered = [i for i, row in enumerate(rows) if _is_filtered(row.params)]
        if plain:
            probs = torch.softmax(logits_RV[_index(logits_RV, plain)], dim=-1)
            choices = _invert(probs, [uniforms[i] for i in plain])
            for i, choice in zip(plain, choices, strict=True):
                tokens[i] = choice
        if filtered:
            choices = _draw_filtered(
                logits_RV[_index(logits_RV, filtered)],
                [rows[i] for i in filtered],
                [uniforms[i] for i in filtered],
            )
            for i, choice in zip(filtered, choices, strict=True):
                tokens[i] = choice
        return tokens

    def _with_logprobs(
        self,
        logits_RV: Tensor,
        rows: Sequence[SamplingRow],
        tokens: Sequence[int],
        finite: Sequence[bool],
    ) -> list[SampledToken]:
        wanted = [i for i, row in enumerate(rows) if row.params.logprobs is not None]
        sampled = [
            SampledToken(token, is_finite=known)
            for token, known in zip(tokens, finite, strict=True)
        ]
        if not wanted:
            return sampled
        logprobs = torch.log_softmax(logits_RV[_index(logits_RV, wanted)], dim=-1)
        width = min(max(rows[i].params.logprobs or 0 for i in wanted), logprobs.shape[-1])
        picked = _index(logits_RV, [tokens[i] for i in wanted])
        chosen = logprobs.gather(1, picked[:, None])
        best = logprobs.topk(width, dim=-1)
        lists = zip(
            wanted, chosen[:, 0].tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        )
        for i, value, ids, values in lists:
            top = tuple(zip(ids, values, strict=True))[: rows[i].params.logprobs]
            sampled[i] = SampledToken(tokens[i], value, top, finite[i])
        return sampled


def _is_touched(row: SamplingRow) -> bool:
    params = row.params
    penalties = (params.frequency_penalty, params.presence_penalty, params.repetition_penalty - 1.0)
    return any(penalties) or bool(params.logit_bias or row.banned) or row.allowed is not None


def _is_filtered(params: SamplingParams) -> bool:
    return params.top_p < 1.0 or params.top_k > 0 or params.min_p > 0.0


def _shape_row(logits_V: Tensor, row: SamplingRow) -> None:
    params, vocab = row.params, logits_V.shape[0]
    if params.repetition_penalty != 1.0:
        seen = {*row.prompt_token_ids, *row.output_token_ids}
        ids = _index(logits_V, [token for token in seen if token < vocab])
        values = logits_V[ids]
        penalty = params.repetition_penalty
        logits_V[ids] = torch.where(values > 0, values / penalty, values * penalty)
    if params.frequency_penalty or params.presence_penalty:
        counts = Counter(row.output_token_ids)
        times = _values(logits_V, list(counts.values()))
        penalty_K = params.frequency_penalty * times + params.presence_penalty
        logits_V[_index(logits_V, list(counts))] -= penalty_K
    if params.logit_bias:
        logits_V[_index(logits_V, list(params.logit_bias))] += _values(
            logits_V, list(params.logit_bias.values())
        )
    if row.banned:
        logits_V[_index(logits_V, list(row.banned))] = -torch.inf
    if row.allowed is not None:
        # A copy, because torch has no read-only tensors.
        allowed_V = np.frombuffer(bytearray(row.allowed), dtype=np.bool_)
        logits_V.masked_fill_(~upload(allowed_V, logits_V.device, torch.bool), -torch.inf)


def _index(like: Tensor, ids: Sequence[int]) -> Tensor:
    return upload(ids, like.device)


def _values(like: Tensor, values: Sequence[float]) -> Tensor:
    return upload(values, like.device, like.dtype)


def _draw_filtered(
    logits_RV: Tensor, rows: Sequence[SamplingRow], uniforms: Sequence[float]
) -> list[int]:
    """Draws from the candidates of each row: top-k, then top-p of the rest, and min-p."""
    vocab = logits_RV.shape[1]
    width = min(_NUM_CANDIDATES, vocab)
    top_k = _index(logits_RV, [row.params.top_k or vocab for row in rows])
    top_p = _values(logits_RV, [row.params.top_p for row in rows])
    min_p = _values(logits_RV, [row.params.min_p for row in rows])
    values_RK, ids_RK = logits_RV.topk(width, dim=-1)
    # The candidates suffice for a row if no other token can pass its filters.
    total_R = logits_RV.logsumexp(dim=-1)
    mass_R = (values_RK.logsumexp(dim=-1) - total_R).exp()
    ratio_R = (values_RK[:, -1] - values_RK[:, 0]).exp()
    by_mass = (top_k == vocab) & (((top_p < 1) & (mass_R >= top_p)) | (ratio_R < min_p))
    covered: list[bool] = ((top_k <= width) | by_mass).tolist()
    total_R = torch.where(top_k <= width, torch.inf, total_R)
    tokens = _pick(values_RK, ids_RK, total_R, (top_k, top_p, min_p), uniforms)
    for i in (i for i, done in enumerate(covered) if not done):
        values, ids = logits_RV[i : i + 1].sort(dim=-1, descending=True, stable=True)
        filters = (top_k[i : i + 1], top_p[i : i + 1], min_p[i : i + 1])
        whole = torch.full_like(values[:, 0], torch.inf)
        tokens[i] = _pick(values, ids, whole, filters, uniforms[i : i + 1])[0]
    return tokens


def _pick(
    values_RK: Tensor,
    ids_RK: Tensor,
    total_R: Tensor,
    filters: tuple[Tensor, Tensor, Tensor],
    uniforms: Sequence[float],
) -> list[int]:
    """Draws from descending candidates; `total_R` is the log-mass (inf: that of the top-k)."""
    top_k, top_p, min_p = (values[:, None] for values in filters)
    ranks = torch.arange(values_RK.shape[1], device=values_RK.device)
    values_RK = values_RK.masked_fill(ranks >= top_k, -torch.inf)
    left_R = values_RK.logsumexp(dim=-1)
    total_R = torch.where(total_R.isinf(), left_R, total_R)
    probs_RK = (values_RK - total_R[:, None]).exp()
    before_RK = probs_RK.cumsum(dim=-1) - probs_RK
    keep_RK = (before_RK < top_p) & (probs_RK >= min_p * probs_RK[:, :1])
    choices = _invert(torch.where(keep_RK, probs_RK, 0.0), uniforms)
    picked: list[int] = ids_RK.gather(1, _index(ids_RK, choices)[:, None])[:, 0].tolist()
    return picked


def _invert(probs_RK: Tensor, uniforms: Sequence[float]) -> list[int]:
    """The first index of each row whose cumulative probability exceeds its uniform number."""
    cumulative = probs_RK.double().cumsum(dim=-1)
    targets = _values(cumulative, uniforms) * cumulative[:, -1]
    found = torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]
    # A product rounded up to the total points past the end; use the last possible token.
    last = cumulative.shape[1] - 1 - (probs_RK.flip(-1) > 0).int().argmax(dim=-1)
    choices: list[int] = torch.minimum(found, last).tolist()
    return choices


def _uniform(seed: int, position: int) -> float:
    """A deterministic number in [0, 1)."""
    digest = hashlib.blake2b(struct.pack("<qq", seed, position), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> 11) * 2.0**-53
