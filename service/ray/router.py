"""Ray Serve's request router of the replicas: the same medium goes to the same replica.

Named by `service.ray_app` in the deployment's `RequestRouterConfig`; Ray makes one in each process
that sends requests. It is sent there as source, so it imports nothing of this project.

Rendezvous hashing (Thaler and Ravishankar, 1998): every replica has a weight of its own for each
key, and the heaviest takes it. A replica that comes or goes moves its own keys alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

T = TypeVar("T")


class MediaAffinityRouter(RequestRouter):  # type: ignore[misc] # Ray's types are not read
    """By key, the request's `session_id`, where it has one; otherwise by load."""

    _busy_at = 1

    def initialize_state(self, busy_at: int) -> None:
        """Args:
        busy_at: requests at a replica from which on its keys go to the next one in their order.
        """
        self._busy_at = busy_at

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas, the best first; Ray takes the first one with room."""
        key = ""
        if pending_request is not None:
            # Where none has room the next round waits a little.
            pending_request.routing_context.should_backoff = True
            key = pending_request.metadata.session_id
        if not key:
            return by_load(candidate_replicas)
        order = by_weight(key, candidate_replicas, lambda replica: replica.replica_id.unique_id)
        return [[replica] for replica in spilled(order, self._load, self._busy_at)]

    def _load(self, replica: RunningReplica) -> int:
        """Requests there, as far as known; Ray asks a replica that nothing is known of."""
        return self.replica_queue_len_cache.get(replica.replica_id) or 0


def by_weight(key: str, members: Sequence[T], name: Callable[[T], str]) -> list[T]:
    """The members in the order in which they should have `key`, the same in every process."""

    def weight(member: T) -> bytes:
        return hashlib.blake2b(f"{name(member)}|{key}".encode(), digest_size=8).digest()

    return sorted(members, key=weight, reverse=True)


def spilled(order: Sequence[T], load: Callable[[T], int], busy_at: int) -> list[T]:
    """Those with a load below `busy_at` in their order, then the others, the least loaded first."""
    loads = [(load(member), member) for member in order]
    free = [member for count, member in loads if count < busy_at]
    busy = sorted((one for one in loads if one[0] >= busy_at), key=lambda one: one[0])
    return [*free, *(member for _, member in busy)]


def by_load(members: Sequence[T]) -> list[list[T]]:
    """Two of them by chance, of which the caller takes the less loaded one, then all others.

    Of all, the least loaded would get everyone's next request: what is known of loads is old.
    """
    pair = random.sample(members, min(2, len(members)))
    return [pair, [member for member in members if member not in pair]]
