"""What a traced run did, by stage: operators, copies between host and device, waits, refusals."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
_ROOMS = tuple(f"{ROOT / room}/" for room in ("lamm_model", "service"))

# Every upload of a step passes there; its caller says more.
_UPLOAD = str(ROOT / "lamm_model/decoder/upload.py")


class Event(StrEnum):
    """Operators that cost more than their kernel."""

    UPLOAD = "upload"  # host to device, from pageable memory: the host waits for its copy
    PINNED_UPLOAD = "pinned upload"  # from page-locked memory: the host goes on
    DOWNLOAD = "download"  # device to host
    SYNC = "sync"  # the host waits for the device


@dataclass
class Stage:
    """Counts of one stage over `calls` runs of it."""

    calls: int = 0
    ops: int = 0
    events: Counter[Event] = field(default_factory=Counter)
    places: Counter[tuple[Event, str, str]] = field(default_factory=Counter)


class Record:
    """Stages by name; `refused` lists what a GPU would refuse, `unchecked` counts the
    operators whose devices the trace compares itself, because torch cannot check them, `kernels`
    the launches of kernels that are not torch's.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.refused: list[str] = []
        self.unchecked: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self._current: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what follows in this stage; within another one, in the inner one only."""
        stage = self.stages.setdefault(name, Stage())
        stage.calls += 1
        self._current.append(stage)
        try:
            yield
        finally:
            self._current.pop()

    def op(self) -> None:
        """An operator ran on the device."""
        if self._current:
            self._current[-1].ops += 1

    def note(self, event: Event, op: str) -> None:
        """An operator copied or waited."""
        if self._current:
            self._current[-1].events[event] += 1
            self._current[-1].places[event, op, place()] += 1

    def refuse(self, message: str) -> None:
        """A GPU would refuse this."""
        self.refused.append(f"{place()}: {message}")

    def table(self) -> str:
        """Averages per call, then each place that copies or waits."""
        head = f"{'stage':<34}{'calls':>6}{'ops':>8}" + "".join(f"{e.value:>15}" for e in Event)
        lines = [f"{head}    (per call)"]
        for name, stage in self.stages.items():
            counts = "".join(f"{stage.events[event] / stage.calls:>15.1f}" for event in Event)
            lines.append(f"{name:<34}{stage.calls:>6}{stage.ops / stage.calls:>8.0f}{counts}")
        for name, stage in self.stages.items():
            if stage.places:
                lines.append(f"\n{name}:")
            for (event, op, where), count in stage.places.most_common():
                lines.append(f"  {count / stage.calls:>7.1f}  {event.value:<14} {op:<24} {where}")
        return "\n".join(lines)


def place() -> str:
    """The innermost line of the project that is running, as path:line function."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_ROOMS) and name != _UPLOAD:
            function = frame.f_code.co_name
            return f"{Path(name).relative_to(ROOT)}:{frame.f_lineno} {function}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "?"
