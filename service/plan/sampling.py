"""The sampling fields of a request become `SamplingParams`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamm_model.sampling_params import SamplingParams, SamplingParamsError
from service.exceptions import RequestError
from service.schemas.openai import SamplingRequest

_MAX_ID_DIGITS = 9
_SAME_NAMES = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)


@dataclass(frozen=True, slots=True)
class SequenceLimits:
    """Maximum number of running sequences of an engine, and of waiting ones beyond them."""

    max_num_seqs: int
    max_waiting: int

    def check(self, wanted: int, param: str) -> None:
        """Refuses more sequences than an idle engine could accept; `param` is the field that asks.

        Raises:
            RequestError: `wanted` exceeds running and waiting sequences together.
        """
        limit = self.max_num_seqs + self.max_waiting
        if wanted > limit:
            raise RequestError(
                f"the request asks for {wanted} answers; the engine accepts at most {limit} "
                f"at once ({self.max_num_seqs} running, {self.max_waiting} waiting)",
                param=param,
                code="too_many_sequences",
            )


def sampling_params(
    body: SamplingRequest, max_tokens: int, vocab_size: int, stop_strings: Sequence[str]
) -> tuple[SamplingParams, ...]:
    """One set per choice; choice i of a seeded request has the seed `seed + i`, modulo 2^64.

    The preset's `stop_strings` are always included; omitted numbers have the defaults of
    `SamplingParams` (greedy).

    Raises:
        SamplingParamsError: a value is out of range, or a token id is not in the vocabulary.
    """
    seeds: list[int | None] = [None] * (body.n or 1)
    if body.seed is not None:
        seeds = [_as_int64(body.seed + i) for i in range(len(seeds))]
    given = {name: getattr(body, name) for name in _SAME_NAMES if getattr(body, name) is not None}
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    for token_id in body.stop_token_ids or []:
        _check_token("stop_token_ids", token_id, vocab_size)
    return tuple(
        SamplingParams(
            max_tokens=max_tokens,
            min_tokens=body.min_tokens,
            # OpenAI-compatible servers write -1 or 0 for the whole vocabulary.
            top_k=max(body.top_k or 0, 0),
            logit_bias=_biases(body, vocab_size),
            seed=seed,
            stop=(*stop_strings, *(stop for stop in stops if stop not in stop_strings)),
            stop_token_ids=tuple(body.stop_token_ids or ()),
            ignore_eos=body.ignore_eos,
            logprobs=body.num_logprobs,
            **given,
        )
        for seed in seeds
    )


def _as_int64(seed: int) -> int:
    """The seed, where those above the largest int64 continue with the smallest."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)


def _biases(body: SamplingRequest, vocab_size: int) -> dict[int, float]:
    biases: dict[int, float] = {}
    for text, bias in (body.logit_bias or {}).items():
        if not (text.isascii() and text.isdigit()) or len(text) > _MAX_ID_DIGITS:
            raise SamplingParamsError(
                "logit_bias", f"logit_bias has the key {text[:32]!r}; keys must be token ids"
            )
        _check_token("logit_bias", int(text), vocab_size)
        biases[int(text)] = bias
    return biases


def _check_token(param: str, token_id: int, vocab_size: int) -> None:
    if not 0 <= token_id < vocab_size:
        raise SamplingParamsError(
            param, f"token id {token_id} is not in the vocabulary of {vocab_size}"
        )
