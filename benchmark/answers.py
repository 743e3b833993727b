"""Answers on disk, each written once as it comes, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one item; `key` is the item's (`suite.Item.key`)."""

    key: str
    row: str
    id: str
    text: str
    finish_reason: str | None
    model: str
    fingerprint: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class AnswerStore:
    """An append-only JSONL file of answers. `broken_lines` counts what a kill cut short."""

    def __init__(self, path: Path) -> None:
        self.broken_lines = 0
        self._path = path
        self._answers: dict[str, Answer] = {}
        if path.is_file():
            self._load()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a", encoding="utf8")
        if self._stream.tell() and not path.read_bytes().endswith(b"\n"):
            self._stream.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def get(self, key: str) -> Answer | None:
        """The stored answer, or None."""
        return self._answers.get(key)

    def add(self, answer: Answer) -> None:
        """Stores a new answer on disk before it counts; the first of a key stays."""
        if answer.key in self._answers:
            return
        self._stream.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")
        self._stream.flush()
        self._answers[answer.key] = answer

    def _load(self) -> None:
        for line in self._path.read_text(encoding="utf8", errors="replace").split("\n"):
            if not line.strip():
                continue
            try:
                answer = Answer(**json.loads(line))
            except (ValueError, TypeError):
                self.broken_lines += 1
                continue
            self._answers.setdefault(answer.key, answer)


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is either the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf8")
    os.replace(temporary, path)
