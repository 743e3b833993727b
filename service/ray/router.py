"""Ray Serve's request router: requests about the same medium go to the same replica.

Ray makes one in each process that sends requests. It is sent there as source, so it must not import
this project.

Rendezvous hashing (Thaler and Ravishankar, 1998): every replica has its own weight for each key,
and the heaviest one gets the request. Adding or removing a replica moves only its own keys.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

T = TypeVar("T")


class MediaAffinityRouter(RequestRouter):  # type: ignore[misc] # Ray's types are not read
    """Routes by the request's `session_id` if it has one, otherwise by load."""

    _busy_at = 1

    def initialize_state(self, busy_at: int) -> None:
        """
        Args:
            busy_at: requests on a replica from which its keys go to the next one in order.
        """
        self._busy_at = busy_at

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas, best first; Ray uses the first one with room."""
        key = ""
        if pending_request is not None:
            # If none has room, the next round waits a little.
            pending_request.routing_context.should_backoff = True
            key = pending_request.metadata.session_id
        if not key:
            return by_load(candidate_replicas)
        order = by_weight(key, candidate_replicas, lambda replica: replica.replica_id.unique_id)
        return [[replica] for replica in spilled(order, self._load, self._busy_at)]

    def _load(self, replica: RunningReplica) -> int:
        """The replica's requests, as far as known; Ray probes a replica with unknown load."""
        return self.replica_queue_len_cache.get(replica.replica_id) or 0


def by_weight(key: str, members: Sequence[T], name: Callable[[T], str]) -> list[T]:
    """The members in the order of their weights for `key`, the same in every process."""

    def weight(member: T) -> bytes:
        return hashlib.blake2b(f"{name(member)}|{key}".encode(), digest_size=8).digest()

    return sorted(members, key=weight, reverse=True)


def spilled(order: Sequence[T], load: Callable[[T], int], busy_at: int) -> list[T]:
    """Members with a load below `busy_at` in order, then the others, least loaded first."""
    loads = [(load(member), member) for member in order]
    free = [member for count, member in loads if count < busy_at]
    busy = sorted((one for one in loads if one[0] >= busy_at), key=lambda one: one[0])
    return [*free, *(member for _, member in busy)]


def by_load(members: Sequence[T]) -> list[list[T]]:
    """Two random members, of which the caller uses the less loaded one, then all others.

    Choosing the least loaded of all would send everyone's next request to it, since known loads are
    old.
    """
    pair = random.sample(members, min(2, len(members)))
    return [pair, [member for member in members if member not in pair]]
