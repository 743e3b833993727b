"""Sampling parameters of a request, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16


class SamplingParamsError(ValueError):
    """A sampling value is out of range; `param` names the field for the API error."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling of one sequence, validated on construction.

    `temperature == 0` and `top_p == 0` are greedy and exact. `top_k == 0` keeps the whole
    vocabulary. `logprobs` is the number of alternatives per token (0: only the chosen token; None:
    no log-probabilities).
    `max_tokens` counts generated tokens. Penalties follow OpenAI (frequency, presence) and CTRL
    (repetition, arXiv:1909.05858) and ignore media placeholders.

    Raises:
        SamplingParamsError: a value is out of range; the message states the value and the limit.
    """

    max_tokens: int = 256
    min_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        _within("max_tokens", self.max_tokens, 1, 1 << 20)
        _within("min_tokens", self.min_tokens, 0, self.max_tokens)
        _within("temperature", self.temperature, 0.0, 2.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        _within("top_k", self.top_k, 0, 1 << 20)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("repetition_penalty", self.repetition_penalty, 0.01, 10.0)
        _within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _within("presence_penalty", self.presence_penalty, -2.0, 2.0)
        if self.seed is not None:
            _within("seed", self.seed, -(1 << 63), (1 << 63) - 1)
        if self.logprobs is not None:
            _within("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        if len(self.stop) > MAX_STOP_STRINGS or any(not s for s in self.stop):
            raise SamplingParamsError(
                "stop",
                f"stop has {len(self.stop)} strings; "
                f"expected at most {MAX_STOP_STRINGS}, none empty",
            )
        for token, bias in self.logit_bias.items():
            if not -100.0 <= bias <= 100.0:
                raise SamplingParamsError(
                    "logit_bias", f"logit_bias of token {token} is {bias}; expected -100 to 100"
                )

    @property
    def greedy(self) -> bool:
        """Whether every step takes the most likely token."""
        return self.temperature == 0.0 or self.top_p == 0.0


def _within(name: str, value: float, low: float, high: float) -> None:
    # `not (low <= value <= high)` is also true for NaN.
    if not low <= value <= high:
        raise SamplingParamsError(name, f"{name} is {value}; expected {low} to {high}")
