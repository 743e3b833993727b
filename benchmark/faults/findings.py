"""What was seen under one fault, and whether it is what was promised. Filled by the faults."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """Facts in the order in which they were seen; one that does not hold breaks the promise."""

    facts: list[tuple[str, bool]] = field(default_factory=list)

    def note(self, said: str, holds: bool = True) -> None:
        """One more fact."""
        self.facts.append((said, holds))

    @property
    def seen(self) -> str:
        """All facts, those that do not hold marked."""
        return "; ".join(
            said if holds else f"NOT AS PROMISED: {said}" for said, holds in self.facts
        )

    @property
    def kept(self) -> bool:
        """Whether something was seen, and all of it holds."""
        return bool(self.facts) and all(holds for _, holds in self.facts)
