"""Answers on disk. Each is written as it arrives, so a killed run continues where it stopped."""

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
    """A model's answer to one item. `key` identifies model, question and parameters (`Item.key`).

    `options` are the options with their log-probabilities, as the server sent them, if the answer
    was chosen by likelihood. `scores` are the model's confidences in the places of the answer, by
    the path of each place (`objects[0].box`), if the server sent them.
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
    scores: Mapping[str, float] | None = None


_FIELDS = tuple(field.name for field in fields(Answer))


class KeptAnswers:
    """The answers in a file, read only.

    `broken_lines` counts truncated lines. If a key occurs twice, its first answer is used.
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
        """Whether any answer is from the model with this fingerprint."""
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
    """An append-only JSONL file of answers with a single writer.

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
        """Writes a new answer to disk, then counts it. Ignored if the key has an answer already.

        Raises:
            BenchmarkError: the answer cannot be written.
        """
        if answer.key in self._answers:
            return
        # Faster than `asdict`, which copies every value.
        line = json.dumps({name: getattr(answer, name) for name in _FIELDS}, ensure_ascii=False)
        self._file.append(line)
        self._answers[answer.key] = answer


def write_whole(path: Path, text: str) -> None:
    """Replaces a file atomically.

    Raises:
        BenchmarkError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf8")
        os.replace(temporary, path)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror}") from None


def require_writable(directory: Path) -> None:
    """Creates the directory for results, and checks it before minutes are spent on measuring.

    Raises:
        BenchmarkError: the directory cannot be created or is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(f"cannot create {directory}: {error.strerror}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BenchmarkError(f"{directory} is not writable")
