"""What one API key may use: so many requests at once, so many tokens a minute.

Entered by `auth` around each request that makes the engine work, charged by `generation`. Used from
the event loop alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.exceptions import RateLimitedError
from service.keys.api_keys import ApiKey

_MINUTE_S = 60.0


class LeakyBucket:
    """Holds what was used and leaks it evenly: a full bucket is empty again after a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._level, self._read_at = 0.0, clock()

    @property
    def level(self) -> float:
        """What is in it now."""
        now = self._clock()
        leaked = (now - self._read_at) * self.per_minute / _MINUTE_S
        self._level, self._read_at = max(self._level - leaked, 0.0), now
        return self._level

    def seconds_until_room(self, amount: int) -> float:
        """How long until `amount` fits; 0 if it does. More than the whole waits for emptiness."""
        over = self.level - max(self.per_minute - amount, 0)
        return max(over, 0.0) * _MINUTE_S / self.per_minute

    def add(self, amount: float) -> None:
        """Puts `amount` in, or takes it back if it is negative; never below empty."""
        self._level = max(self.level + amount, 0.0)


class KeyAccount:
    """The running use of one key."""

    def __init__(self, key: ApiKey, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._bucket: LeakyBucket | None = None
        self.renew(key)

    def renew(self, key: ApiKey) -> None:
        """Takes over the limits of the key as it was read last; what was used stays used."""
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
        """Counts one request for as long as it runs.

        Raises:
            RateLimitedError: as many run as the key may have, or its tokens are used up.
        """
        limit = self._limits.max_concurrent
        if limit is not None and self._running >= limit:
            raise RateLimitedError(
                f"key {self._name!r} has {self._running} requests running; "
                f"its limit is {limit} at once",
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
        """Charges what a request may take at most; `settle` gives back what it did not.

        Raises:
            RateLimitedError: it does not fit what is left of the minute. What is larger than the
                whole minute's allowance fits while none of it is in use.
        """
        self._check(tokens)
        if self._bucket is not None:
            self._bucket.add(tokens)

    def settle(self, reserved: int, used: int) -> None:
        """The request has ended with `used` of its `reserved` tokens."""
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
                f"key {self._name!r} uses {used} of its {limit} tokens a minute and this request "
                f"may take {tokens} more; there is room in {retry_after_s} s",
                retry_after_s=retry_after_s,
                reason="key_tokens",
            )


class KeyAccounts:
    """One account a key, kept while the keys are read again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[bytes, tuple[ApiKey, KeyAccount]] = {}

    def of(self, key: ApiKey) -> KeyAccount:
        """The key's account, under the key's present limits."""
        known, account = self._accounts.get(key.digest, (None, None))
        if account is None:
            account = KeyAccount(key, self._clock)
        elif known is not key:
            account.renew(key)
        self._accounts[key.digest] = (key, account)
        return account
