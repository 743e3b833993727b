"""Building blocks of llguidance's Lark grammars: literal texts and numbers."""

from __future__ import annotations

from collections.abc import Sequence

# A share with two decimals, one with three, and metres with two decimals.
SHARE = r"(0\.[0-9]{2}|1\.00)"
FINE_SHARE = r"(0\.[0-9]{3}|1\.000)"
METRES, EXTENT = r"-?(0|[1-9][0-9]{0,2})\.[0-9]{2}", r"(0|[1-9][0-9]{0,2})\.[0-9]{2}"


def any_of(texts: Sequence[str]) -> str:
    """A pattern that matches any one of several literal texts."""
    return f"/{'|'.join(map(escaped, texts))}/"


def escaped(text: str) -> str:
    """A pattern that matches the literal text."""
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def in_order(between: str) -> str:
    """A share, the pattern `between`, and a share that is at least the first."""
    pairs = [rf"1\.00{between}1\.00"]
    for tens in range(10):
        more = rf"1\.00|0\.[{tens + 1}-9][0-9]" if tens < 9 else r"1\.00"
        pairs += [rf"0\.{tens}{ones}{between}({more}|0\.{tens}[{ones}-9])" for ones in range(10)]
    return f"({'|'.join(pairs)})"
