"""What each token of a vocabulary does in a JSON text. Torch-free.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLOSERS = frozenset(b"}]")
_NUMBER = frozenset(b"0123456789+-.eE")
# Simplest first; the first of several equal ones.
_OUTSIDE = (
    (b"}", b"]"), (b",", b":", b" "), (b'""', b"[]", b"{}"), (b"n", b"0", b"1", b"t", b"f"),
    (b'"',), (b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"), (b"-",), (b"[",), (b"{",),
)  # fmt: skip
# One of each kind that patterns tell apart, and separators before them.
_INSIDE = (
    b"@.-:/aA0_ TZzx,;+9bcdefghijklmnopqrstuvwy12345678BCDEFGHIJKLMNOPQRSUVWXY#$%&'*=?^|~!()[]{}<>`"
)
_OTHER = 200


class JsonTokens:
    """Tables over V tokens.

    Attributes:
        pieces: the bytes of each token.
        ends_string: (V,) whether it begins with a quote.
        continues_number: (V,) whether it begins with a character of a number.
        risk_outside, risk_inside: (V,) how many properties, items or values the token begins,
            outside and inside a string.
        max_risk: the highest of them.
        partial: (V,) whether a string cannot end after it: it is a part of a character or escape.
        partial_number: (V,) whether a number cannot end after it.
    """

    def __init__(self, pieces: Sequence[bytes], eos_token_ids: Sequence[int]) -> None:
        self.pieces, self.eos_token_ids = list(pieces), frozenset(eos_token_ids)
        first = [piece[:1] for piece in self.pieces]
        self.ends_string = _table(byte == b'"' for byte in first)
        self.continues_number = _table(bool(byte) and byte[0] in _NUMBER for byte in first)
        self.risk_outside = np.array([_risk(piece, False) for piece in self.pieces], np.int32)
        self.risk_inside = np.array([_risk(piece, True) for piece in self.pieces], np.int32)
        self.max_risk = int(max(self.risk_outside.max(), self.risk_inside.max(), 1))
        self.partial = _table(map(_is_partial, self.pieces))
        self.partial_number = self.continues_number & _table(
            piece[-1:] in (b"-", b"+", b".", b"e", b"E") for piece in self.pieces
        )
        self._outside = np.array([_outside_rank(piece) for piece in self.pieces], np.int32)
        self._inside = np.array([_inside_rank(piece) for piece in self.pieces], np.int32)

    def simplest(self, allowed: NDArray[Any], in_string: bool, used: dict[int, int]) -> int:
        """The allowed token that ends the text soonest, as far as can be told from the token.

        Inside a string, `used` counts the tokens chosen before; it is updated.
        """
        ranks = self._inside if in_string else self._outside
        candidates = np.flatnonzero(allowed)
        ranked = ranks[candidates]
        if in_string and used:
            for token, count in used.items():
                ranked[candidates == token] += _OTHER * count
        chosen = int(candidates[ranked.argmin()])
        if in_string and not self.ends_string[chosen]:
            used[chosen] = used.get(chosen, 0) + 1
        return chosen


def _table(values: Any) -> NDArray[Any]:
    return np.fromiter(values, bool)


def _risk(piece: bytes, in_string: bool) -> int:
    """Openings in the token: `{`, `[`, `,` and opening quotes."""
    if in_string and piece[:1] != b'"':
        return 0
    found = 0
    for byte in piece:
        if byte == 0x22:
            found += not in_string
            in_string = not in_string
        elif not in_string:
            found += byte in b"{[,"
    return found


def _is_partial(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return b"\\u" in piece or (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 1


def _outside_rank(piece: bytes) -> int:
    for rank, beginnings in enumerate(_OUTSIDE):
        if piece.startswith(beginnings):
            # `]}` before `]`, but `"` before `"a`.
            longer = len(piece) - 1
            return 100 * rank - min(longer, 50) if rank == 0 else 100 * rank + min(longer, 50)
    return 100 * len(_OUTSIDE)


def _inside_rank(piece: bytes) -> int:
    if piece[:1] == b'"':
        rest = piece[1:]
        return (0 if not rest else -1 if set(rest) <= _CLOSERS else 1 + _risk(piece, True)) - 100
    if len(piece) == 1 and piece in _INSIDE:
        return _INSIDE.index(piece)
    return _OTHER if piece else 10 * _OTHER
