"""Answers on disk, each written once as it comes, so that a killed run goes on where it stopped.

Written by `quality`; read by it and by whatever scores or shows kept answers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmark.errors import BenchmarkError
from benchmark.line_file import LineFile
from benchmark.text import spellable


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one item; `key` says who was asked what, and how (`Item.key`).

    `options` are the options' log-probabilities where they decided, as the server gave them.
    """

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
    options: Sequence[Mapping[str, Any]] | None = None


_FIELDS = tuple(field.name for field in fields(Answer))


class KeptAnswers:
    """The answers that a file holds, without touching it.

    `broken_lines` counts what a kill cut short; of two answers to a key the first counts.
    """

    def __init__(self, path: Path) -> None:
        self.broken_lines = 0
        self._answers: dict[str, Answer] = {}
        if not path.is_file():
            return
        with path.open(encoding="utf8", errors="replace", newline="\n") as lines:
            for line in lines:
                self._read(line)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """The stored answer, or None."""
        return self._answers.get(key)

    def holds_any_of(self, fingerprint: str) -> bool:
        """Whether the model of this fingerprint has answered anything here."""
        return any(answer.fingerprint == fingerprint for answer in self._answers.values())

    def _read(self, line: str) -> None:
        if not line.strip():
            return
        try:
            answer = Answer(**json.loads(line))
            answer = replace(answer, text=spellable(answer.text))
        except (ValueError, TypeError, AttributeError):
            self.broken_lines += 1
            return
        self._answers.setdefault(answer.key, answer)


class AnswerStore(KeptAnswers):
    """An append-only JSONL file of answers, open to one writer at a time.

    Raises:
        BenchmarkError: another run is writing to the file, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)
        super().__init__(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, answer: Answer) -> None:
        """Stores a new answer on disk before it counts; the first of a key stays.

        Raises:
            BenchmarkError: it cannot be written; nothing that is not kept may count as asked.
        """
        if answer.key in self._answers:
            return
        # Not `asdict`, which copies every value of every answer.
        line = json.dumps({name: getattr(answer, name) for name in _FIELDS}, ensure_ascii=False)
        self._file.append(line)
        self._answers[answer.key] = answer


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is either the old or the new one, never half of it.

    Raises:
        BenchmarkError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf8")
        os.replace(temporary, path)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be written: {error.strerror}") from None


def require_writable(directory: Path) -> None:
    """Makes a folder for results, before minutes are spent on what shall stand in it.

    Raises:
        BenchmarkError: it cannot be made, or nothing can be written to it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"{directory} cannot be made: {error.strerror}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BenchmarkError(f"nothing can be written to {directory}")
