"""Observations under one fault, and whether they keep the promise."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """Observations in order; one that does not hold breaks the promise."""

    facts: list[tuple[str, bool]] = field(default_factory=list)

    def note(self, said: str, holds: bool = True) -> None:
        """Adds an observation."""
        self.facts.append((said, holds))

    @property
    def seen(self) -> str:
        """All observations; those that do not hold are marked."""
        return "; ".join(
            said if holds else f"NOT AS PROMISED: {said}" for said, holds in self.facts
        )

    @property
    def kept(self) -> bool:
        """Whether there are observations and all of them hold."""
        return bool(self.facts) and all(holds for _, holds in self.facts)
