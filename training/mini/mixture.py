"""Shares of the kinds of conversation in lamm-mini's training data."""

from __future__ import annotations

from dataclasses import dataclass

# Shares of the conversations that are neither look-ups nor about words.
TALK, CLOUD, ALONE = 0.04, 0.26, 0.11


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the kinds of conversation.

    `look_ups` of all conversations only look up facts by name. `words` of the others are about a
    picture of a word. `drawn` of the rest are about a drawing (faces, people, land). Clouds, single
    products and small talk have fixed shares of that rest; scenes of products are the remainder.

    Raises:
        ValueError: a share is out of range.
    """

    words: float = 0.17
    look_ups: float = 0.3
    drawn: float = 0.09

    def __post_init__(self) -> None:
        most = {"words": 1.0, "look_ups": 1.0, "drawn": 1 - TALK - CLOUD - ALONE}
        for name, limit in most.items():
            share = getattr(self, name)
            if not 0 <= share <= limit:
                raise ValueError(f"the share of {name} is {share}; it must be 0 to {limit:.2f}")


MIXTURE = Mixture()
