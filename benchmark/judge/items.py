"""The answers of two runs, joined by row and id."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.report.files import ITEMS_FILE, RUN_FILE, SCORES_FILE, read_label


class AnsweredItem(BaseModel):
    """The fields of a line of items.jsonl that a judge needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    row: str
    id: str
    question: str
    reference: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One question that both systems answered."""

    row: str
    id: str
    question: str
    reference: str
    answers: tuple[str, str]

    @property
    def identical(self) -> bool:
        """Whether both answers are the same, ignoring surrounding spaces."""
        return self.answers[0].strip() == self.answers[1].strip()


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs to judge. `left_out` counts items without a pair by reason."""

    systems: tuple[str, str]
    pairs: tuple[Pair, ...]
    left_out: Counter[str]


def read_pairs(given: tuple[str, str], limit: int | None, seed: int) -> Pairs:
    """Joins two runs, each `DIR` or `LABEL=DIR`; `limit` samples that many pairs with `seed`.

    Raises:
        BenchmarkError: a directory has no items, the labels are equal, or no items match.
    """
    labels, items = zip(*(_read(one) for one in given), strict=True)
    systems = (labels[0], labels[1])
    if systems[0] == systems[1]:
        raise BenchmarkError(
            f"both systems have the label {systems[0]!r}; use --answers A={given[0]} "
            f"--answers B={given[1]}"
        )
    first: dict[tuple[str, str], AnsweredItem] = items[0]
    second: dict[tuple[str, str], AnsweredItem] = items[1]
    pairs = []
    left_out: Counter[str] = Counter()
    for key in (*first, *(key for key in second if key not in first)):
        a, b = first.get(key), second.get(key)
        if a is None or b is None:
            left_out[f"answered by {systems[0] if a else systems[1]} only"] += 1
        elif (a.question, a.reference) != (b.question, b.reference):
            left_out["different question or reference under the same id"] += 1
        else:
            pairs.append(Pair(a.row, a.id, a.question, a.reference, (a.text, b.text)))
    if not pairs:
        raise BenchmarkError(f"{given[0]} and {given[1]} have no answered items in common")
    if limit is not None and limit < len(pairs):
        drawn = sorted(random.Random(seed).sample(range(len(pairs)), limit))
        left_out["not sampled"] += len(pairs) - limit
        pairs = [pairs[index] for index in drawn]
    return Pairs(systems, tuple(pairs), left_out)


def _read(given: str) -> tuple[str, dict[tuple[str, str], AnsweredItem]]:
    label, directory = read_label(given)
    path = directory / ITEMS_FILE
    try:
        # Not `splitlines`: answers may contain U+2028 and other line separators.
        lines = path.read_text(encoding="utf8").split("\n")
    except OSError:
        raise BenchmarkError(
            f"{directory} has no {ITEMS_FILE}; `lamm bench quality --rescore` writes it"
        ) from None
    found: dict[tuple[str, str], AnsweredItem] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = AnsweredItem.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise BenchmarkError(f"{path}:{number}: {first['msg']}") from None
        found[item.row, item.id] = item
    return label or _name(directory), found


def _name(directory: Path) -> str:
    """The id of the scored model, or the name of the directory.

    scores.json comes first: run.json may be from a later run that was interrupted.
    """
    for name in (SCORES_FILE, RUN_FILE):
        try:
            told = json.loads((directory / name).read_text(encoding="utf8"))["model"]
            return str(told["model"] if isinstance(told, dict) else told)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return directory.resolve().name
