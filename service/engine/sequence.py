"""The mutable record of a request; only the scheduler changes it. Torch-free."""

from __future__ import annotations

import hashlib
from array import array
from enum import StrEnum

from service.engine.base import GenerationRequest
from service.engine.grammar.state import Grammar


class SequenceStatus(StrEnum):
    """States of a sequence; it is in the queue of that name and in no other."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Sequence:
    """A request, its tokens so far, and how many of them have their K and V in the cache.

    `token_ids` is the prompt and then the output; of a scoring request, the prompt and the
    continuation without its last token, of which only the probability is needed. `arrival` numbers
    requests in order of arrival. `seed` is the request's own, or a random one. Times are
    `time.monotonic()` seconds, None before the event. Each level of priority equals
    `priority_ageing_s` seconds of waiting. `grammar` is the request's, compiled.
    """

    def __init__(
        self,
        request: GenerationRequest,
        arrival: int,
        seed: int,
        arrived_at: float,
        priority_ageing_s: float,
        grammar: Grammar | None = None,
    ) -> None:
        self.request = request
        self.grammar = grammar
        self.arrival = arrival
        self.seed = seed
        self.token_ids = [*request.prompt_token_ids, *request.continuation_token_ids[:-1]]
        self.num_prompt_tokens = len(request.prompt_token_ids)
        self.num_given_tokens = len(self.token_ids)
        self.continuation_logprobs: list[float] = []
        self.num_computed_tokens = 0
        self.cached_tokens: int | None = None
        self.slot: int | None = None
        self.status = SequenceStatus.WAITING
        self.arrived_at = arrived_at
        # Waiting compensates for priority at the same rate for all. So the order of any two
        # sequences never changes, and the queues need no re-sorting.
        self._order = (arrived_at + request.priority * priority_ageing_s, arrival)
        self.scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self._block_hashes: list[bytes] = []

    @property
    def order(self) -> tuple[float, int]:
        """Sort key of all queues: time of arrival plus a delay for priority, then arrival."""
        return self._order

    @property
    def output_token_ids(self) -> list[int]:
        """Tokens generated so far."""
        return self.token_ids[self.num_given_tokens :]

    @property
    def num_output_tokens(self) -> int:
        """Number of tokens generated so far."""
        return len(self.token_ids) - self.num_given_tokens

    @property
    def is_scoring(self) -> bool:
        """Whether a given continuation is scored instead of generating."""
        return bool(self.request.continuation_token_ids)

    @property
    def is_scored(self) -> bool:
        """Whether every token of the continuation has its log-probability."""
        return len(self.continuation_logprobs) == len(self.request.continuation_token_ids)

    @property
    def first_logit_position(self) -> int:
        """The first position whose logits are needed; it is computed even if it is cached.

        A scoring sequence needs all positions from there on, any other only the last one.
        """
        if self.is_scoring:
            return self.num_prompt_tokens - 1 + len(self.continuation_logprobs)
        return len(self.token_ids) - 1

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens whose K and V are not in the cache; 1 while decoding."""
        return len(self.token_ids) - self.num_computed_tokens

    def block_hashes(self, count: int, block_size: int) -> list[bytes]:
        """Hashes of the first `count` full blocks; each covers everything before it.

        A block's hash covers its token ids, the digests of the media whose placeholders it contains
        (placeholders are equal for all pictures) and the previous block's hash; the first one
        covers the request's cache salt, and the model's name, whose adapter affects every K and V.
        SHA-256, so that no prompt can be crafted to match another's blocks.
        """
        while len(self._block_hashes) < count:
            start = len(self._block_hashes) * block_size
            digest = hashlib.sha256(self._block_hashes[-1] if self._block_hashes else self._salt())
            digest.update(array("q", self.token_ids[start : start + block_size]).tobytes())
            for span in self.request.media:
                if span.offset < start + block_size and start < span.offset + span.num_tokens:
                    digest.update(f"|{span.offset - start}:{span.media.digest}".encode())
            self._block_hashes.append(digest.digest())
        return self._block_hashes[:count]

    def _salt(self) -> bytes:
        # Digests have one length, so that no model's name can act as a salt.
        parts = (self.request.cache_salt, self.request.model)
        return b"|".join(
            b"" if part is None else hashlib.sha256(part.encode()).digest() for part in parts
        )
