"""Which callers share cached prompts and media.

`cached_tokens` and `Server-Timing` tell a caller what was cached. A caller who shares a cache with
others can therefore test guesses of their prompts and media.
"""

from __future__ import annotations

import hashlib
from typing import Literal


class CacheSalts:
    """The cache salt of each owner; requests with different salts share no cache entry."""

    def __init__(self, scope: Literal["key", "all"] | None, keys_required: bool) -> None:
        """`scope` None is `key` if keys are required, otherwise `all`.

        Raises:
            ValueError: the scope is `key`, but no keys tell callers apart.
        """
        if scope == "key" and not keys_required:
            raise ValueError(
                "--cache-scope key needs API keys; without them, callers cannot be told apart"
            )
        self._by_key = keys_required and scope != "all"

    def of(self, owner: str) -> str | None:
        """The salt of an owner (a key's hexadecimal digest); None is shared by all.

        The same at each start and in each replica, so that a vLLM server that several share still
        finds an owner's prompts.
        """
        if not self._by_key:
            return None
        return hashlib.sha256(f"cache salt|{owner}".encode()).hexdigest()
