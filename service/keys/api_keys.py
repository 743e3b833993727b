"""API keys: read from a setting and a file, kept as digests, compared in constant time.

Neither a key nor a part of one is ever logged or put into an error.

`LAMM_API_KEYS` is a comma-separated list of `KEY` or `ROLE:KEY`. `LAMM_API_KEYS_FILE` has one key
per line, in columns separated by white space. All columns but the first are optional, and lines
that begin with `#` are comments:

    KEY [user|admin|metrics] [NAME] [max_concurrent=N] [tokens_per_minute=N]
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

logger = logging.getLogger(__name__)

_MAX_LIMIT_DIGITS = 15


class Role(StrEnum):
    """What a key may be used for: inference, scraping, or everything."""

    USER = "user"
    ADMIN = "admin"
    METRICS = "metrics"

    def may_act_as(self, needed: Role) -> bool:
        """Whether this role covers another: an admin may do everything."""
        return self in (Role.ADMIN, needed)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Concurrent requests and tokens per minute of one key; None is without limit."""

    max_concurrent: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key by its SHA-256 digest; `name` identifies it in logs and messages."""

    name: str
    role: Role
    digest: bytes
    limits: KeyLimits


class ApiKeys:
    """The operator's keys; the file is read again when it changes."""

    def __init__(
        self, listed: str | None, file: Path | None, defaults: KeyLimits | None = None
    ) -> None:
        """
        Args:
            listed: comma-separated keys, see the module.
            file: one key per line, see the module.
            defaults: limits of keys without their own.

        Raises:
            OSError: the file cannot be read.
            ValueError: a line is malformed, a key or a name occurs twice, or keys are configured
                but none was found.
        """
        self._listed, self._file = listed, file
        self._defaults = defaults or KeyLimits()
        self._version: tuple[int, ...] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        if self.required:
            self._keys = self._read()
            if not self._keys:
                raise ValueError("API keys are configured, but no key was found in them")

    @property
    def required(self) -> bool:
        """Whether requests need a key: keys are configured, even if the file is empty now."""
        return self._listed is not None or self._file is not None

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, presented: str) -> ApiKey | None:
        """The key with that text, if there is one; takes the same time for all keys."""
        digest = _digest(presented)
        found: ApiKey | None = None
        for key in self._keys:
            # No early exit: the position of the match would show in the time.
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def stands_for(self, owner: str) -> bool:
        """Whether work of a key, by its hexadecimal digest, may go on: it is still a user's key.

        "" is anonymous work, which may go on as long as no keys are required.
        """
        if not self.required:
            return True
        users = [key for key in self._keys if key.role.may_act_as(Role.USER)]
        return any(hmac.compare_digest(owner, key.digest.hex()) for key in users)

    def reload(self, force: bool = False) -> bool:
        """Reads the file again if it has changed or `force` is set; returns whether it was applied.

        A file that cannot be read or parsed changes nothing, and is logged. An empty file is valid:
        it refuses everyone.
        """
        try:
            if not self.required or (not force and self._file_version() == self._version):
                return False
            self._keys = self._read()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            logger.error("the API keys are unchanged: %s", reason)
            return False
        logger.info("reloaded the API keys: %d found", len(self._keys))
        return True

    def _read(self) -> tuple[ApiKey, ...]:
        # Noted before reading, so that a write meanwhile counts as a change.
        self._version = self._file_version()
        keys = _read_list(self._listed or "", self._defaults)
        if self._file is not None:
            # Some editors begin a file with a byte order mark, which would become part of the first
            # key.
            text = self._file.read_text(encoding="utf-8-sig")
            try:
                keys += _read_lines(text.splitlines(), self._defaults, len(keys))
            except ValueError as error:
                raise ValueError(f"{self._file}: {error}") from None
        _check_unique(keys)
        return tuple(keys)

    def _file_version(self) -> tuple[int, ...] | None:
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return ()  # reading it says why, once
        return status.st_ino, status.st_mtime_ns, status.st_size


def _read_list(text: str, limits: KeyLimits) -> list[ApiKey]:
    keys: list[ApiKey] = []
    for number, entry in enumerate((part.strip() for part in text.split(",")), 1):
        if not entry:
            continue
        role, colon, rest = entry.partition(":")
        known = colon and role in set(Role)
        if known and not rest:
            raise ValueError(f"entry {number} of the API keys has a role but no key")
        _check_characters(entry, f"entry {number} of the API keys")
        name = f"key-{len(keys) + 1}"
        if known:
            keys.append(ApiKey(name, Role(role), _digest(rest), limits))
        else:
            keys.append(ApiKey(name, Role.USER, _digest(entry), limits))
    return keys


def _read_lines(lines: Sequence[str], limits: KeyLimits, before: int) -> list[ApiKey]:
    keys: list[ApiKey] = []
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if columns and not columns[0].startswith("#"):
            keys.append(_read_line(columns, number, limits, f"key-{before + len(keys) + 1}"))
    return keys


def _read_line(columns: Sequence[str], number: int, limits: KeyLimits, name: str) -> ApiKey:
    # Never quotes a column: if the order is wrong, it may be the key.
    words = [column for column in columns[1:] if "=" not in column]
    role = words[0] if words else Role.USER
    if role not in set(Role):
        raise ValueError(f"line {number}: the role after the key must be one of {', '.join(Role)}")
    _check_characters(columns[0], f"line {number}")
    if len(words) > 2:
        raise ValueError(f"line {number} has more columns than KEY ROLE NAME and limits")
    name = words[1] if len(words) > 1 else name
    for column in columns[1:]:
        if "=" in column:
            limits = _with_limit(limits, column, number)
    return ApiKey(name[:64], Role(role), _digest(columns[0]), limits)


def _with_limit(limits: KeyLimits, column: str, number: int) -> KeyLimits:
    field, _, value = column.partition("=")
    positive = value.isascii() and value.isdigit() and len(value) <= _MAX_LIMIT_DIGITS
    if field not in ("max_concurrent", "tokens_per_minute") or not positive or int(value) < 1:
        raise ValueError(
            f"line {number}: a limit must be max_concurrent=N or tokens_per_minute=N with N >= 1"
        )
    return replace(limits, **{field: int(value)})


def _check_characters(key: str, where: str) -> None:
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"{where}: the key contains a character that clients encode in different "
            "ways; use ASCII letters, digits and punctuation"
        )


def _check_unique(keys: Sequence[ApiKey]) -> None:
    for values, what in (([k.digest for k in keys], "key"), ([k.name for k in keys], "name")):
        if len(set(values)) != len(values):
            raise ValueError(f"the API keys contain the same {what} twice")


def _digest(key: str) -> bytes:
    # Digests have equal lengths, so comparing them takes the same time for all keys.
    return hashlib.sha256(key.encode("utf8", "surrogateescape")).digest()
