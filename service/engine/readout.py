"""Samples tokens from a step's logits, and reads log-probabilities of given tokens.

Shapes: R rows whose logits are needed, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from weakref import WeakKeyDictionary

import torch.nn.functional as F
from torch import Tensor

from lamm_model.decoder.sampler import SampledToken, Sampler, SamplingRow
from lamm_model.decoder.upload import upload
from lamm_model.spec import CheckpointSpec
from service.engine.base import RequestFailedError
from service.engine.grammar.state import GrammarState
from service.engine.scheduler_output import ScheduledChunk
from service.engine.sequence import Sequence


class Readout:
    """Selects the rows that need logits, and applies each sequence's sampling parameters."""

    def __init__(self, spec_of: Callable[[Sequence], CheckpointSpec]) -> None:
        """`spec_of` returns the spec of a sequence's model."""
        self._spec_of, self._sampler = spec_of, Sampler()
        self._grammars: WeakKeyDictionary[Sequence, GrammarState] = WeakKeyDictionary()

    def rows(self, chunks: Seq[ScheduledChunk]) -> list[int]:
        """Indices of the R rows whose logits are needed, among all rows of the chunks."""
        rows: list[int] = []
        end = 0
        for chunk in chunks:
            end += chunk.num_tokens
            rows += range(end - chunk.num_logits, end)
        return rows

    def read(
        self, logits_RV: Tensor, chunks: Seq[ScheduledChunk]
    ) -> tuple[dict[Sequence, SampledToken], dict[Sequence, list[float]]]:
        """A token per sampling sequence; the next tokens' log-probabilities per scoring sequence.

        Raises:
            RequestFailedError: a sequence's logits are NaN or infinite, or its grammar cannot go on
                (see `GrammarState.allowed`).
        """
        sampling: list[Sequence] = []
        scoring: list[tuple[Sequence, int]] = []
        rows_of_sampling: list[int] = []
        rows_of_scoring: list[int] = []
        row = 0
        for chunk in chunks:
            rows = range(row, row + chunk.num_logits)
            row = rows.stop
            if not rows:
                continue
            if chunk.sequence.is_scoring:
                scoring.append((chunk.sequence, len(rows)))
                rows_of_scoring += rows
            else:
                sampling.append(chunk.sequence)
                rows_of_sampling += rows
        sampled: dict[Sequence, SampledToken] = {}
        if sampling:
            # No copy unless a sequence is scored, which is rare.
            own_RV = _take(logits_RV, rows_of_sampling) if scoring else logits_RV
            tokens = self._sampler.sample(own_RV, [self._sampling_row(s) for s in sampling])
            if not all(token.is_finite for token in tokens):
                raise RequestFailedError("the model's logits for this request are not finite")
            sampled.update(zip(sampling, tokens, strict=True))
        if not scoring:
            return sampled, {}
        return sampled, _score(_take(logits_RV, rows_of_scoring), scoring)

    def _sampling_row(self, sequence: Sequence) -> SamplingRow:
        params, spec = sequence.request.sampling_params, self._spec_of(sequence)
        banned: tuple[int, ...] = ()
        if sequence.num_output_tokens < params.min_tokens:
            banned = (*spec.eos_token_ids, *params.stop_token_ids)
        return SamplingRow(
            params=params,
            seed=sequence.seed,
            position=sequence.num_output_tokens,
            prompt_token_ids=sequence.request.prompt_token_ids,
            output_token_ids=sequence.output_token_ids,
            banned=tuple(token for token in banned if token < spec.vocab_size),
            allowed=self._allowed(sequence),
        )

    def _allowed(self, sequence: Sequence) -> bytes | None:
        grammar = sequence.grammar
        if grammar is None:
            return None
        # A preempted sequence keeps its tokens, and so its state.
        if sequence not in self._grammars:
            max_tokens = sequence.request.sampling_params.max_tokens
            self._grammars[sequence] = grammar.start(max_tokens)
        return self._grammars[sequence].allowed(sequence.output_token_ids)


def _take(logits_RV: Tensor, rows: Seq[int]) -> Tensor:
    return logits_RV[upload(rows, logits_RV.device)]


def _score(logits_RV: Tensor, scoring: Seq[tuple[Sequence, int]]) -> dict[Sequence, list[float]]:
    """Natural-log probabilities, in float32, of the tokens that follow the rows' positions."""
    targets: list[int] = []
    for sequence, count in scoring:
        known = len(sequence.continuation_logprobs)
        targets += sequence.request.continuation_token_ids[known : known + count]
    targets_R = upload(targets, logits_RV.device)
    values: list[float] = (
        -F.cross_entropy(logits_RV.float(), targets_R, reduction="none")
    ).tolist()
    scores: dict[Sequence, list[float]] = {}
    at = 0
    for sequence, count in scoring:
        scores[sequence] = values[at : at + count]
        at += count
    return scores
