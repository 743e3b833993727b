"""Limits of one API key: concurrent requests and tokens per minute. Used on the event loop only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.exceptions import RateLimitedError
from service.keys.api_keys import ApiKey

_MINUTE_S = 60.0


class LeakyBucket:
    """A leaky bucket: a full one is empty after a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._level, self._read_at = 0.0, clock()

    @property
    def level(self) -> float:
        """Its content now."""
        now = self._clock()
        leaked = (now - self._read_at) * self.per_minute / _MINUTE_S
        self._level, self._read_at = max(self._level - leaked, 0.0), now
        return self._level

    def seconds_until_room(self, amount: int) -> float:
        """Seconds until `amount` fits, 0 if it does. More than the capacity waits until it is
        empty.
        """
        over = self.level - max(self.per_minute - amount, 0)
        return max(over, 0.0) * _MINUTE_S / self.per_minute

    def add(self, amount: float) -> None:
        """Adds `amount`, or removes it if negative; never below empty."""
        self._level = max(self.level + amount, 0.0)


class KeyAccount:
    """The current use of one key."""

    def __init__(self, key: ApiKey, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._bucket: LeakyBucket | None = None
        self.renew(key)

    def renew(self, key: ApiKey) -> None:
        """Applies the key's limits as read last; its use is kept."""
        self._name, self._limits = key.name, key.limits
        per_minute = key.limits.tokens_per_minute
        if per_minute is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = LeakyBucket(per_minute, self._clock)
        else:
            self._bucket.per_minute = per_minute

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts one request while it runs.

        Raises:
            RateLimitedError: the key has reached its limit of requests, or of tokens.
        """
        limit = self._limits.max_concurrent
        if limit is not None and self._running >= limit:
            raise RateLimitedError(
                f"key {self._name!r} has {self._running} running requests; its limit is {limit}",
                retry_after_s=1,
                reason="key_concurrency",
            )
        self._check(1)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def reserve(self, tokens: int) -> None:
        """Charges the maximum that a request may use; `settle` refunds the rest.

        Raises:
            RateLimitedError: it exceeds what is left of the minute. A request larger than the whole
                minute's allowance is admitted while none of it is in use.
        """
        self._check(tokens)
        if self._bucket is not None:
            self._bucket.add(tokens)

    def settle(self, reserved: int, used: int) -> None:
        """The request ended and used `used` of its `reserved` tokens."""
        if self._bucket is not None:
            self._bucket.add(used - reserved)

    def _check(self, tokens: int) -> None:
        if self._bucket is None:
            return
        wait_s = self._bucket.seconds_until_room(tokens)
        if wait_s > 0:
            limit, used = self._bucket.per_minute, math.ceil(self._bucket.level)
            retry_after_s = max(math.ceil(wait_s), 1)
            raise RateLimitedError(
                f"key {self._name!r} uses {used} of its {limit} tokens per minute, and this "
                f"request may use {tokens} more; retry in {retry_after_s} s",
                retry_after_s=retry_after_s,
                reason="key_tokens",
            )


class KeyAccounts:
    """One account per key, kept when the keys are reloaded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[bytes, tuple[ApiKey, KeyAccount]] = {}

    def of(self, key: ApiKey) -> KeyAccount:
        """The key's account, with the key's current limits."""
        known, account = self._accounts.get(key.digest, (None, None))
        if account is None:
            account = KeyAccount(key, self._clock)
        elif known is not key:
            account.renew(key)
        self._accounts[key.digest] = (key, account)
        return account
